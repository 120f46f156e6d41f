"""SIGHUP: the models of a running server become those that its configuration now says."""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NoReturn

from ..config import ConfigError, Settings
from ..model_store import ModelStoreError
from .assembly import Core

logger = logging.getLogger("diglot.config")

Reread = Callable[[], Settings]
"""Reads the configuration as it was read at the start. Raises ConfigError."""

_RELOADED = {"models", "default_model"}


@contextmanager
def hangups() -> Iterator[asyncio.Event]:
    """An event that is set by every SIGHUP, which would end the process otherwise."""
    loop = asyncio.get_running_loop()
    asked = asyncio.Event()
    loop.add_signal_handler(signal.SIGHUP, asked.set)
    try:
        yield asked
    finally:
        loop.remove_signal_handler(signal.SIGHUP)


async def reloading(
    core: Core, settings: Settings, reread: Reread, asked: asyncio.Event
) -> NoReturn:
    """Reloads as often as it is asked to. `settings` are those of the start."""
    while True:
        await asked.wait()
        asked.clear()
        try:
            await _reload(core, settings, reread())
        except ConfigError as error:
            logger.error(
                "the configuration cannot be used; the old one stays",
                extra={"faults": [str(fault) for fault in error.faults]},
            )
        except ModelStoreError as error:
            logger.error(
                "a model cannot be had; the old configuration stays", extra={"reason": str(error)}
            )
        except Exception:  # a server that runs goes on to run
            logger.exception("the configuration was not reloaded; the old one stays")


async def _reload(core: Core, before: Settings, now: Settings) -> None:
    plan = await core.reload(now)
    logger.info(
        "the configuration is reloaded",
        extra={
            "models": ", ".join(model.name for model in now.models),
            "started": len(plan.started),
            "kept": len(plan.running) - len(plan.started),
            "dropped": len(plan.dropped),
        },
    )
    if waiting := list(_changed(before, now)):
        logger.warning("some of what changed needs a restart", extra={"keys": ", ".join(waiting)})


def _changed(before: Settings, now: Settings) -> Iterator[str]:
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
