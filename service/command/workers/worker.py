"""The program of a worker: the same server as without a parent, on ports that the parent took.

Standard input is its end of the Link. It ends when that does, and with the parent.
"""

from __future__ import annotations

import asyncio
import ctypes
import logging
import os
import signal
import socket
import sys
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import AsyncExitStack
from dataclasses import dataclass
from functools import partial
from typing import Any, NoReturn

import uvloop

from ...config import Address, EmbeddedModel, Settings
from ...embedded.lent import LentProcess, ProcessNews
from ...embedded.process import ModelProcess, key_of
from ...keys import KeyRingError
from ...logs import configure
from ..admin import Exposition, facade_unready, service_unready
from ..arguments import Failure
from ..assembly import Service
from ..garbage import settle
from ..reload import NotReloaded, core_reload
from ..serve import Faces, or_failure, remote_channel
from ..signals import beside, until_stopped
from ..telemetry import Telemetry
from .link import Link, Message, unpacked

PR_SET_PDEATHSIG = 1
COUNTED_EVERY = 1.0
"""Seconds after which what was counted is told: what is not told goes with a worker that is
killed."""

logger = logging.getLogger("diglot.workers")


def main() -> int:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    return uvloop.run(_main())


async def _main() -> int:
    link = await Link.over(socket.socket(fileno=os.dup(0)))
    message = await link.receive()
    if message is None:
        return 0
    order = Order.of(message)
    configure(order.settings.log.format, order.settings.log.level)
    _number_lines(order.index)
    worker = Worker(order, link)
    hearing = asyncio.create_task(worker.hear())
    try:
        await worker.serve()
    except (Failure, KeyRingError) as failure:
        link.send(event="failed", reason=str(failure))
        return 1
    finally:
        hearing.cancel()
        await link.close()
    return 0


@dataclass(frozen=True, slots=True)
class Order:
    """What the parent wants of a worker."""

    index: int
    command: str
    settings: Settings
    sockets: tuple[socket.socket, ...]
    """Listen for HTTP."""
    grpc: Address | None
    serials: dict[str, int]
    """See `lending.Serials`."""
    news: dict[int, ProcessNews]
    """How it stands with each of those processes."""

    @classmethod
    def of(cls, message: Message) -> Order:
        return cls(
            message["index"],
            message["command"],
            unpacked(message["settings"]),
            tuple(socket.socket(fileno=number) for number in message["sockets"]),
            Address.parse(message["grpc"]) if message["grpc"] else None,
            message["serials"],
            {serial: ProcessNews(**news) for serial, news in message["news"]},
        )


class Worker:
    """Serves as it is ordered to, and does what else the parent wants."""

    def __init__(self, order: Order, link: Link) -> None:
        self._order = order
        self._link = link
        self._processes = Borrowed(order.serials, order.news, link)
        self._service: Service | None = None
        self._exposition: Exposition | None = None
        self._unready: Callable[[], Awaitable[str | None]] = _not_started
        self._begun = asyncio.Event()
        self._answering: set[asyncio.Task[None]] = set()

    async def serve(self) -> None:
        """Until it is told to stop. Raises Failure and KeyRingError."""
        order = self._order
        async with AsyncExitStack() as running, until_stopped() as stopped:
            running.callback(self._count_up)
            if order.settings.admin.address is not None:
                await running.enter_async_context(beside(self._keep_counting()))
            if order.command == "facade":
                channel = remote_channel(order.settings)
                running.push_async_callback(channel.close)
                telemetry = Telemetry(order.settings)
                running.push_async_callback(telemetry.close)
                faces = Faces(order.settings, order.sockets, telemetry.http_watch)
                running.push_async_callback(faces.stop)
                self._exposition = Exposition(telemetry)
                self._unready = partial(facade_unready, channel.Check, faces)
                await faces.serve_http(channel)
                self._link.send(event="listening")
            else:
                service = Service(order.settings, self._processes.lend, shared_port=True)
                running.push_async_callback(service.close)
                faces = Faces(order.settings, order.sockets, service.telemetry.http_watch)
                running.push_async_callback(faces.stop)
                self._exposition = Exposition(service.telemetry, service)
                self._unready = partial(service_unready, service, faces)
                # Before there are faces: who takes the place of one that answered shall do so, too.
                await or_failure(service.begin())
                await faces.serve_grpc(service, order.grpc)
                if order.command == "serve":
                    await faces.serve_http(service.in_process())
                self._service = service
                self._begun.set()
                self._link.send(event="listening")
                if not await stopped(or_failure(service.ready())):
                    return
            self._link.send(
                event="ready", not_ready=self._service.not_ready if self._service else {}
            )
            settle()
            await stopped(asyncio.get_running_loop().create_future())

    async def hear(self) -> NoReturn:
        """Does what the parent says, until it says no more."""
        while (message := await self._link.receive()) is not None:
            match message["do"]:
                case "process":
                    self._processes.hear(message["serial"], ProcessNews(**message["news"]))
                case "reload":
                    self._answer(message, self._reload)
                case "pulse":
                    self._link.send(event="answer", id=message["id"])
                case "readiness":
                    self._answer(message, self._readiness)
                case "metrics":
                    self._answer(message, self._metrics)
        # Whoever would start us again, and hold the ports, is gone.
        os._exit(1)

    def _answer(
        self, message: Message, work: Callable[[Message], Coroutine[None, None, Message]]
    ) -> None:
        async def answer() -> None:
            self._link.send(event="answer", id=message["id"], **await work(message))

        task = asyncio.create_task(answer())
        self._answering.add(task)
        task.add_done_callback(self._answering.discard)

    async def _readiness(self, message: Message) -> Message:
        return {"unready": await self._unready()}

    async def _metrics(self, message: Message) -> Message:
        return {"text": self._exposition.text() if self._exposition else ""}

    async def _keep_counting(self) -> None:
        told = 0
        while True:
            await asyncio.sleep(COUNTED_EVERY)
            if self._exposition is not None and (ended := self._exposition.ended) != told:
                told = ended
                self._count_up()

    def _count_up(self) -> None:
        """Tells what was counted since somebody asked."""
        if self._exposition is not None and self._order.settings.admin.address is not None:
            self._link.send(event="counted", text=self._exposition.text())

    async def _reload(self, message: Message) -> Message:
        await self._begun.wait()
        assert self._service is not None, "a façade has no models"
        self._processes.serials = message["serials"]
        try:
            came_to = await core_reload(self._service)(unpacked(message["settings"]))
        except NotReloaded as error:
            return {"refused": str(error)}
        except Exception as error:
            logger.exception("the configuration was not reloaded")
            return {"refused": f"a worker failed to ({type(error).__name__})"}
        return {"came_to": came_to}


class Borrowed:
    """The embedded models' processes, which are the parent's."""

    def __init__(self, serials: dict[str, int], news: dict[int, ProcessNews], link: Link) -> None:
        self.serials = serials
        self._news = news
        self._link = link
        self._lent: dict[int, list[LentProcess]] = {}

    def lend(self, model: EmbeddedModel, name: str) -> ModelProcess:
        serial = self.serials[key_of(model, name)]
        users = self._lent.setdefault(serial, [])

        def returned(process: LentProcess) -> None:
            users.remove(process)
            if not users and self._lent.get(serial) is users:
                del self._lent[serial]
                self._link.send(event="returned", serial=serial)

        process = LentProcess(returned)
        users.append(process)
        if news := self._news.get(serial):
            process.hear(news)
        return process

    def hear(self, serial: int, news: ProcessNews) -> None:
        self._news[serial] = news
        for process in self._lent.get(serial, ()):
            process.hear(news)


async def _not_started() -> str:
    return "it is being started"


def _number_lines(index: int) -> None:
    """Every line of the log says which worker wrote it."""
    plain = logging.getLogRecordFactory()

    def numbered(*args: Any, **kwargs: Any) -> logging.LogRecord:
        record = plain(*args, **kwargs)
        record.worker = index
        return record

    logging.setLogRecordFactory(numbered)


if __name__ == "__main__":
    sys.exit(main())
