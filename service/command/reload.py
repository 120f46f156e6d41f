"""SIGHUP: the models of a running server become those that its configuration now says."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterator, Mapping
from typing import TYPE_CHECKING, NoReturn

from ..config import ConfigError, Settings
from ..model_store import ModelStoreError

if TYPE_CHECKING:
    from .assembly import Core

logger = logging.getLogger("diglot.config")

Reread = Callable[[], Settings]
"""Reads the configuration as it was read at the start. Raises ConfigError."""

Reload = Callable[[Settings], Awaitable[Mapping[str, object] | None]]
"""Makes other settings hold, and says for the log what that came to; None where there is nothing
that could change without a restart. Raises NotReloaded."""

_RELOADED = {"models", "default_model"}


class NotReloaded(Exception):
    """Everything is as it was; the text says why."""


async def reloading(
    reload: Reload, held: Callable[[], Settings], reread: Reread, asked: asyncio.Event
) -> NoReturn:
    """Reloads as often as it is asked to. `held` gives the settings that hold, the models apart."""
    while True:
        await asked.wait()
        asked.clear()
        if (now := again(reread)) is None:
            continue
        try:
            came_to = await reload(now)
        except NotReloaded as error:
            logger.error(
                "a model cannot be had; the old configuration stays", extra={"reason": str(error)}
            )
        except Exception:  # a server that runs goes on to run
            logger.exception("the configuration was not reloaded; the old one stays")
        else:
            waiting = list(changed(held(), now))
            if came_to is not None:
                logger.info("the configuration is reloaded", extra=dict(came_to))
            elif not waiting:
                logger.info("the configuration is as it was")
            if waiting:
                logger.warning(
                    "some of what changed needs a restart", extra={"keys": ", ".join(waiting)}
                )


def again(reread: Reread) -> Settings | None:
    """The configuration as it is now; None if it cannot be used, which is then in the log."""
    try:
        return reread()
    except ConfigError as error:
        logger.error(
            "the configuration cannot be used; the old one stays",
            extra={"faults": [str(fault) for fault in error.faults]},
        )
    except Exception:
        logger.exception("the configuration was not read; the old one stays")
    return None


def core_reload(core: Core) -> Reload:
    """For a core in this process."""

    async def reload(now: Settings) -> Mapping[str, object]:
        try:
            plan = await core.reload(now)
        except ModelStoreError as error:
            raise NotReloaded(str(error)) from error
        return {
            "models": ", ".join(model.name for model in now.models),
            "started": len(plan.started),
            "kept": len(plan.running) - len(plan.started),
            "dropped": len(plan.dropped),
        }

    return reload


async def nothing_to_reload(now: Settings) -> None:
    """For a façade on its own, which has no models."""


def changed(before: Settings, now: Settings) -> Iterator[str]:
    """The keys that are read at the start only, and are different now."""
    for section in Settings.model_fields:
        was, is_now = getattr(before, section), getattr(now, section)
        if section in _RELOADED or was == is_now:
            continue
        keys = [
            key
            for key in getattr(type(was), "model_fields", ())
            if getattr(was, key) != getattr(is_now, key)
        ]
        # Without keys of its own, or another secret behind the same key.
        yield from (f"{section}.{key}" for key in keys) if keys else (section,)
