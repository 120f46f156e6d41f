"""The parent: takes what there is once, starts the workers, and passes on what signals ask."""

from __future__ import annotations

import asyncio
import logging
import signal
import time
from contextlib import AsyncExitStack
from functools import partial
from typing import NoReturn

import uvloop

from ...config import Settings
from .. import announcement
from ..admin import admin_port
from ..key_ring import keys_of
from ..reload import NotReloaded, Reread, again, changed, reloading
from ..signals import asked_by, beside, until_stopped
from .crew import Command, Crew
from .lending import own_process
from .ports import Ports

logger = logging.getLogger("diglot")

_NEVER_RENEWED = {
    *("state", "workers", "hang_seconds"),
    *("http.address", "grpc.address", "admin.address"),
}


def run_workers(command: Command, settings: Settings, reread: Reread | None) -> int:
    """Serves in `settings.workers` processes."""
    uvloop.run(_run(command, settings, reread))
    return 0


async def _run(command: Command, settings: Settings, reread: Reread | None) -> None:
    began = time.perf_counter()
    http = settings.http.address if command != "service" else None
    grpc = settings.grpc.address if command != "facade" else None
    async with AsyncExitStack() as running, until_stopped() as stopped:
        hangup = running.enter_context(asked_by(signal.SIGHUP)) if reread else None
        renewal = running.enter_context(asked_by(signal.SIGUSR2))
        ports = Ports(http, grpc)
        running.callback(ports.close)
        first_key = announcement.first_key(keys_of(settings)) if grpc else None
        crew = Crew(command, settings, ports, partial(own_process, settings))
        await running.enter_async_context(admin_port(settings, crew.gather, crew.unready))
        running.push_async_callback(crew.stop)
        if await stopped(crew.start()):
            _say_listening(settings, ports, first_key)
            if await stopped(crew.fetched()):
                if reread and hangup:
                    # From here on: where no model gets ready, another configuration may help.
                    await running.enter_async_context(
                        beside(reloading(crew.reload, lambda: crew.settings, reread, hangup))
                    )
                if await stopped(crew.ready()):
                    seconds = time.perf_counter() - began
                    if grpc:
                        announcement.ready(
                            crew.settings, ports.http, first_key, seconds, crew.not_ready
                        )
                    await stopped(_renewing(crew, reread, renewal))
        logger.info("stopping")


async def _renewing(crew: Crew, reread: Reread | None, asked: asyncio.Event) -> NoReturn:
    """Renews the workers as often as it is asked to."""
    while True:
        await asked.wait()
        asked.clear()
        now = again(reread) if reread else crew.settings
        if now is None:
            continue
        before = crew.settings
        try:
            await crew.renew(now)
        except NotReloaded as error:
            logger.error("the workers are not replaced", extra={"reason": str(error)})
        except Exception:  # a server that runs goes on to run
            logger.exception("the workers are not replaced")
        else:
            logger.info("all workers are replaced")
            if kept := [key for key in changed(before, now) if key in _NEVER_RENEWED]:
                logger.warning(
                    "some of what changed needs a restart", extra={"keys": ", ".join(kept)}
                )


def _say_listening(settings: Settings, ports: Ports, first_key: str | None) -> None:
    if ports.grpc is not None:
        announcement.listening(settings, ports.http, ports.grpc, first_key)
    elif ports.http is not None:
        announcement.facade_listening(settings, ports.http)
