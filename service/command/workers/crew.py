"""The workers: as many as there shall be, each started again when it ends."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import asdict
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

from ...config import Settings
from ...embedded.lent import ProcessNews
from ...model_store import ModelStoreError
from ..arguments import Failure
from ..reload import NotReloaded
from .census import Census
from .lending import Lending, Loans, Make, Serials
from .link import Message, packed
from .ports import Ports
from .process import WorkerEndedError, WorkerProcess
from .slot import NotStartedError, Slot

if TYPE_CHECKING:
    from prometheus_client.registry import Collector

logger = logging.getLogger("diglot.workers")

Command = Literal["serve", "service", "facade"]

FAREWELL = 10.0
"""Seconds that a worker has to end after the time that it gives its calls."""
RELOADED_WITHIN = 90.0
"""Seconds that a worker has to take on other models, which may have to be loaded."""


class Crew:
    """`settings.workers` processes that do the same.

    What happens to one happens to no other: they share ports, the database, and the embedded
    models' processes, and no memory.
    """

    def __init__(self, command: Command, settings: Settings, ports: Ports, make: Make) -> None:
        self._command = command
        self._settings = settings
        self._hang_seconds = settings.hang_seconds
        self._ports = ports
        self._lending = Lending(self._tell_of_process, make)
        self._slots = [Slot(index) for index in range(1, settings.workers + 1)]
        self._alive: dict[WorkerProcess, asyncio.Task[None]] = {}
        self._keeping: list[asyncio.Task[None]] = []
        self._fault: asyncio.Future[Failure] = asyncio.get_running_loop().create_future()
        """Why the server cannot even start."""
        self._fetching: asyncio.Task[None] | None = None
        self._begun = False
        self._stopping = False
        self._changing = asyncio.Lock()
        self.not_ready: Mapping[str, str] = {}
        """The models that could not answer when `ready` returned, each with the reason."""
        self._census = Census(counting=settings.admin.address is not None)

    @property
    def settings(self) -> Settings:
        """Those that hold."""
        return self._settings

    @property
    def workers(self) -> list[WorkerProcess]:
        """Those that are there now."""
        return [slot.worker for slot in self._slots if slot.worker is not None]

    async def start(self) -> None:
        """Returns once all of them listen. Raises Failure if one says that it cannot."""
        loans = self._lending.plan(self._settings)
        self._lending.commit(loans)
        self._fetching = asyncio.create_task(self._lending.start(loans))
        self._keeping = [asyncio.create_task(slot.keep(self._start)) for slot in self._slots]
        await self._unless_failed(lambda slot: slot.listens)

    async def fetched(self) -> None:
        """Returns once the embedded models are there. Raises Failure."""
        assert self._fetching is not None, "start comes first"
        try:
            await _first(self._fetching, self._fault)
            if self._fetching.done():
                await self._fetching
        except ModelStoreError as error:
            raise Failure(str(error)) from error

    async def ready(self) -> None:
        """Returns once all of them can answer. Raises Failure."""
        await self._unless_failed(lambda slot: slot.ready)
        self._begun = True

    async def reload(self, now: Settings) -> Mapping[str, object] | None:
        """Serves the models of these settings from now on, in the same processes. See `Reload`.

        Raises NotReloaded if a model cannot be had, or a worker cannot serve them: then all serve
        what they did.
        """
        if self._command == "facade":
            return None
        now = now.model_copy(update={"workers": self._settings.workers})
        async with AsyncExitStack() as held:
            await held.enter_async_context(self._changing)
            loans = await self._borrowed(now)
            # Who is started in the meantime shall have the old settings or the new ones, and be
            # known to have them.
            for slot in self._slots:
                await held.enter_async_context(slot.changing)
            answers = await asyncio.gather(
                *(self._reloaded(worker, now, loans) for worker in self.workers)
            )
            refusals = [answer["refused"] for answer in answers if "refused" in answer]
            if refusals:
                before = Loans(self._lending.current, ())
                await asyncio.gather(
                    *(self._reloaded(worker, self._settings, before) for worker in self.workers)
                )
                self._lending.abandon(loans)
                raise NotReloaded(refusals[0])
            self._settings = self._settings.model_copy(
                update={"models": now.models, "default_model": now.default_model}
            )
            self._lending.commit(loans)
        return next((answer["came_to"] for answer in answers if "came_to" in answer), {})

    async def renew(self, now: Settings) -> None:
        """Replaces one worker after the other: the new one is ready before the old one is told
        to finish what it has.

        Raises NotReloaded if a new one does not get ready: then it is ended, and the old ones
        that are left stay.
        """
        now = now.model_copy(update={"workers": self._settings.workers})
        async with self._changing:
            loans = await self._borrowed(now)
            start = partial(self._started, settings=now, serials=loans.serials)
            for slot in self._slots:
                try:
                    old = await slot.replace(start)
                except NotStartedError as error:
                    if now is not self._settings:
                        self._lending.abandon(loans)
                    why = f"worker {slot.index} did not get ready: {error}"
                    raise NotReloaded(why) from error
                if now is not self._settings:  # they have proved to be of use
                    self._settings = now
                    self._lending.commit(loans)
                if old is not None:
                    await _drained([old], now.grace_seconds + FAREWELL)

    async def gather(self) -> Collector:
        """What all workers have counted, those included that have ended."""
        answering = {slot.index: slot.answers for slot in self._slots}
        return await self._census.metrics(self._alive, answering)

    async def unready(self) -> str | None:
        """Why no call would be answered now; None if a worker would."""
        return "stopping" if self._stopping else await self._census.unready(self.workers)

    async def stop(self) -> None:
        """Has them finish what they have; none is left when this returns."""
        self._stopping = True
        tasks = [*self._keeping, *([self._fetching] if self._fetching else ())]
        for task in tasks:
            task.cancel()
        self._ports.close()  # who comes now is refused, and does not wait for nobody
        try:
            await _drained(list(self._alive), self._settings.grace_seconds + FAREWELL)
        finally:
            await asyncio.gather(*tasks, return_exceptions=True)
            await self._lending.close()

    async def _unless_failed(self, event: Callable[[Slot], asyncio.Event]) -> None:
        async def all_did() -> None:
            for slot in self._slots:
                await event(slot).wait()

        waiting = asyncio.create_task(all_did())
        try:
            await _first(waiting, self._fault)
            if self._fault.done():
                raise self._fault.result()
        finally:
            waiting.cancel()

    async def _borrowed(self, settings: Settings) -> Loans:
        loans = self._lending.plan(settings)
        try:
            await self._lending.start(loans)
        except BaseException as error:
            self._lending.abandon(loans)
            if isinstance(error, ModelStoreError):
                raise NotReloaded(str(error)) from error
            raise
        return loans

    async def _reloaded(self, worker: WorkerProcess, now: Settings, loans: Loans) -> Message:
        news = self._lending.lend(loans.serials, worker)
        for serial, each in news:
            worker.tell("process", serial=serial, news=asdict(each))
        try:
            async with asyncio.timeout(RELOADED_WITHIN):
                return await worker.ask("reload", settings=packed(now), serials=dict(loans.serials))
        except TimeoutError:
            logger.error("a worker does not answer", extra={"worker": worker.index})
            worker.kill()
        except WorkerEndedError:
            pass
        return {}  # its successor is given what holds then

    async def _start(self, index: int) -> WorkerProcess:
        """One that serves as the others do. Raises OSError."""
        return await self._started(index, self._settings, self._lending.current)

    async def _started(self, index: int, settings: Settings, serials: Serials) -> WorkerProcess:
        worker = await WorkerProcess.started(
            index, self._ports.sockets, self._heard, self._hang_seconds
        )
        self._alive[worker] = asyncio.create_task(self._buried(worker))
        news = self._lending.lend(serials, worker)
        worker.tell(
            "serve",
            index=index,
            command=self._command,
            settings=packed(settings),
            sockets=[each.fileno() for each in self._ports.sockets],
            grpc=str(self._ports.grpc) if self._ports.grpc else None,
            serials=dict(serials),
            news=[(serial, asdict(each)) for serial, each in news],
        )
        return worker

    async def _buried(self, worker: WorkerProcess) -> None:
        await worker.ended()
        del self._alive[worker]
        self._census.bury(worker)
        self._lending.ended(worker)

    def _heard(self, worker: WorkerProcess, message: Message) -> None:
        slot = self._slots[worker.index - 1]
        match message["event"]:
            case "listening":
                slot.listens.set()
            case "ready":
                self.not_ready = message["not_ready"]
                slot.ready.set()
            case "failed":
                if not self._begun and not self._fault.done():
                    self._fault.set_result(Failure(message["reason"]))
                    for keeping in self._keeping:
                        keeping.cancel()  # the next one would say the same
            case "returned":
                self._lending.returned(message["serial"], worker)
            case "counted":
                self._census.hear(worker, message["text"])

    def _tell_of_process(self, serial: int, news: ProcessNews) -> None:
        for worker in self._alive:
            worker.tell("process", serial=serial, news=asdict(news))


async def _drained(workers: Sequence[WorkerProcess], seconds: float) -> None:
    """Ends them: within this time, if they have calls, and not without."""
    ended = [asyncio.create_task(worker.ended()) for worker in workers]
    try:
        for worker in workers:
            worker.drain()
        if ended:
            await asyncio.wait(ended, timeout=seconds)
    finally:
        for worker in workers:
            worker.kill()
        await asyncio.gather(*ended)


async def _first(*futures: asyncio.Future[Any]) -> None:
    await asyncio.wait(futures, return_when=asyncio.FIRST_COMPLETED)
