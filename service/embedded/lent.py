"""A model's process that another process of ours keeps alive, and tells us about."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from ..readiness import Readiness


@dataclass(frozen=True, slots=True)
class ProcessNews:
    """How it stands with a model's process."""

    ready: bool
    reason: str
    """Why it is not ready; empty if it is."""
    base_url: str = ""
    api_key: str = field(default="", repr=False)
    pid: int | None = None


class LentProcess:
    """Used like one's own; `returned` is called when it is needed no more."""

    def __init__(self, returned: Callable[[LentProcess], None]) -> None:
        self.readiness = Readiness()
        self.base_url = ""
        self.api_key = ""
        self.pid: int | None = None
        self._returned = returned
        self._closed = False

    def hear(self, news: ProcessNews) -> None:
        if self._closed:
            return
        self.base_url, self.api_key, self.pid = news.base_url, news.api_key, news.pid
        if news.ready:
            self.readiness.up()
        else:
            self.readiness.down(news.reason)

    async def start(self) -> None:
        """It is started elsewhere."""

    async def close(self) -> None:
        if not self._closed:
            self._closed = True
            self.readiness.down("closed")
            self._returned(self)
