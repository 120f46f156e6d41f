"""Callers who are not let in, counted: their calls never come to the core."""

from __future__ import annotations

from ..entrance import Authenticator
from ..errors import ChatError, name_of
from ..keys import Caller
from .metrics import NO_MODEL, Metrics


class CountedAuthenticator:
    """As the other one, whose refusals become numbers."""

    def __init__(self, authenticator: Authenticator, metrics: Metrics) -> None:
        self._authenticator = authenticator
        self._metrics = metrics

    def authenticate(self, authorization: str | None) -> Caller:
        try:
            return self._authenticator.authenticate(authorization)
        except ChatError as error:
            self._metrics.models[NO_MODEL].outcomes[name_of(error).lower()] += 1
            raise
