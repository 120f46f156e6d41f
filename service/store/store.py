"""The store as the core sees it: opened in the background, and one error for all that fails."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Any, TypeVar

from diglot.v1.chat_pb2 import CreateChatCompletionRequest
from diglot.v1.completion_pb2 import ChatCompletion

from ..errors import StoreUnavailable
from .database import Database
from .errors import StoreError
from .query import Query
from .version import is_current

if TYPE_CHECKING:
    from .opening import Opened
    from .rows import Rows

logger = logging.getLogger("diglot.store")

T = TypeVar("T")

_LEAVE = 5.0
"""Seconds that calls in flight have to leave the database when the store is closed."""


class CompletionStore:
    """Keeps completions with their requests, each for its owner.

    Calls wait until the database is open. They raise StoreUnavailable if it cannot be used; a
    call that is cancelled leaves nothing half done, and at once: what is left to do in the
    database is done in the background.
    """

    def __init__(self, database: Database, connections: int = 10) -> None:
        self.database = database
        self._connections = connections
        self._opening: asyncio.Task[Opened | StoreError] | None = None
        self._working: set[asyncio.Task[Any]] = set()

    def start(self) -> None:
        """Begins to open the database, and does not wait for it."""
        self._opening = asyncio.get_running_loop().create_task(self._open())

    async def opened(self) -> None:
        """Returns once it is sure that the database can be used, its tables up to date.

        Raises StoreError, which says why it cannot.
        """
        assert self._opening is not None, "start comes first"
        if is_current(self.database):
            return
        await asyncio.wait((self._opening,))
        outcome = self._opening.result()
        if isinstance(outcome, StoreError):
            raise outcome

    async def close(self) -> None:
        """Ends calls in flight. Safe at any time, also before `start`."""
        if self._opening is None:
            return
        tasks = {self._opening, *self._working}
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks, timeout=_LEAVE)
        opening, self._opening = self._opening, None
        if opening.done() and not opening.cancelled() and opening.exception() is None:
            outcome = opening.result()
            if not isinstance(outcome, StoreError):
                await outcome.transactions.close()

    async def add(
        self, owner: str, request: CreateChatCompletionRequest, completion: ChatCompletion
    ) -> None:
        """Returns once the completion would survive a crash."""
        await self._run(lambda rows: rows.add(owner, request, completion))

    async def get(self, owner: str, completion_id: str) -> ChatCompletion | None:
        return await self._run(lambda rows: rows.get(owner, completion_id))

    async def get_request(
        self, owner: str, completion_id: str
    ) -> CreateChatCompletionRequest | None:
        return await self._run(lambda rows: rows.get_request(owner, completion_id))

    async def list(self, owner: str, query: Query) -> tuple[list[ChatCompletion], bool] | None:
        """Those that match, and whether there are more. None if there is no `after`, and was none
        that has been deleted of late."""
        return await self._run(lambda rows: rows.list(owner, query))

    async def update(
        self, owner: str, completion_id: str, metadata: Mapping[str, str]
    ) -> ChatCompletion | None:
        """Replaces the metadata."""
        return await self._run(lambda rows: rows.update(owner, completion_id, metadata))

    async def delete(self, owner: str, completion_id: str) -> bool:
        """Whether there was one."""
        return await self._run(lambda rows: rows.delete(owner, completion_id))

    async def _open(self) -> Opened | StoreError:
        # In a thread: the import takes a fifth of a second.
        opening = await asyncio.to_thread(import_module, ".opening", __package__)
        try:
            opened: Opened = await opening.open_database(self.database, self._connections)
        except StoreError as error:
            return error
        logger.info("store is open", extra={"database": str(self.database)})
        return opened

    async def _run(self, work: Callable[[Rows], Coroutine[Any, Any, T]]) -> T:
        task = asyncio.get_running_loop().create_task(self._work(work))
        self._working.add(task)
        task.add_done_callback(self._done)
        try:
            await asyncio.wait((task,))
        except asyncio.CancelledError:
            # Not awaited: a database that hangs would keep whoever wants to leave.
            task.cancel()
            raise
        return task.result()

    def _done(self, task: asyncio.Task[Any]) -> None:
        self._working.discard(task)
        if not task.cancelled():
            task.exception()  # seen, also if nobody waits for it any more

    async def _work(self, work: Callable[[Rows], Coroutine[Any, Any, T]]) -> T:
        opening = self._opening
        if opening is None:
            raise _unavailable()
        await asyncio.wait((opening,))
        outcome = opening.result()
        if isinstance(outcome, StoreError):
            logger.error("the store is not open", extra={"fault": str(outcome)})
            if self._opening is opening:
                self.start()  # for the calls that follow
            raise _unavailable()
        try:
            return await work(outcome.rows)
        except outcome.transactions.faults as error:
            logger.error("the store failed", extra={"fault": outcome.describe(error)})
            raise _unavailable() from None


def _unavailable() -> StoreUnavailable:
    return StoreUnavailable(
        "The database of stored completions cannot be used at the moment. Please try again.",
        retry_after=1,
    )
