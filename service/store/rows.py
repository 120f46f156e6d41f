"""Completions to rows and back: all of the SQL."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence

from sqlalchemy import Connection, Row, Select, delete, insert, or_, select, tuple_

from diglot.v1.chat_pb2 import CreateChatCompletionRequest
from diglot.v1.completion_pb2 import ChatCompletion

from .query import Query
from .tables import COMPLETIONS, DELETIONS, METADATA
from .transactions import Transactions

REMEMBERED = 86_400
"""Seconds for which it is known where a completion was that is deleted."""

_c = COMPLETIONS.c


class Rows:
    """The completions of all owners. Each call says whose it is about, and sees no others."""

    def __init__(self, transactions: Transactions) -> None:
        self._read = transactions.read
        self._write = transactions.write

    async def add(
        self, owner: str, request: CreateChatCompletionRequest, completion: ChatCompletion
    ) -> None:
        def work(connection: Connection) -> None:
            bare = ChatCompletion()
            bare.CopyFrom(completion)
            bare.ClearField("metadata")
            values = {
                "id": completion.id,
                "owner": owner,
                "created": completion.created,
                "asked_model": request.model,
                "model": completion.model,
                "completion": bare.SerializeToString(),
                "request": request.SerializeToString(),
            }
            added = connection.execute(insert(COMPLETIONS), values)
            assert added.inserted_primary_key is not None
            _add_metadata(connection, added.inserted_primary_key[0], completion.metadata)

        await self._write(work)

    async def get(self, owner: str, completion_id: str) -> ChatCompletion | None:
        def work(connection: Connection) -> ChatCompletion | None:
            found = connection.execute(_selected(owner, completion_id)).all()
            return next(iter(_completions(connection, found)), None)

        return await self._read(work)

    async def get_request(
        self, owner: str, completion_id: str
    ) -> CreateChatCompletionRequest | None:
        statement = select(_c.request).where(_c.owner == owner, _c.id == completion_id)

        def work(connection: Connection) -> CreateChatCompletionRequest | None:
            stored = connection.execute(statement).scalar_one_or_none()
            return None if stored is None else CreateChatCompletionRequest.FromString(stored)

        return await self._read(work)

    async def list(self, owner: str, query: Query) -> tuple[list[ChatCompletion], bool] | None:
        """Those that match, and whether there are more. None if there is no `after`, and was none
        that has been deleted of late."""

        def work(connection: Connection) -> tuple[list[ChatCompletion], bool] | None:
            statement = _matching(owner, query)
            if query.after is not None:
                cursor = _place(connection, owner, query.after)
                if cursor is None:
                    return None
                here, there = tuple_(_c.created, _c.seq), tuple_(*cursor)
                statement = statement.where(here < there if query.descending else here > there)
            # One more than asked for tells whether there are more.
            found = connection.execute(statement.limit(query.limit + 1)).all()
            return _completions(connection, found[: query.limit]), len(found) > query.limit

        return await self._read(work)

    async def update(
        self, owner: str, completion_id: str, metadata: Mapping[str, str]
    ) -> ChatCompletion | None:
        """Replaces the metadata."""

        def work(connection: Connection) -> ChatCompletion | None:
            # Locked: two updates at once must not mix their pairs.
            locked = _selected(owner, completion_id).with_for_update()
            row = connection.execute(locked).one_or_none()
            if row is None:
                return None
            connection.execute(delete(METADATA).where(METADATA.c.seq == row.seq))
            _add_metadata(connection, row.seq, metadata)
            return _completions(connection, [row])[0]

        return await self._write(work)

    async def delete(self, owner: str, completion_id: str) -> bool:
        """Whether there was one."""
        statement = delete(COMPLETIONS).where(_c.owner == owner, _c.id == completion_id)
        now = int(time.time())

        def work(connection: Connection) -> bool:
            place = connection.execute(statement.returning(_c.created, _c.seq)).one_or_none()
            if place is None:
                return False
            old = or_(DELETIONS.c.deleted < now - REMEMBERED, DELETIONS.c.id == completion_id)
            connection.execute(delete(DELETIONS).where(old))
            row = {"id": completion_id, "owner": owner, "deleted": now, **place._mapping}
            connection.execute(insert(DELETIONS), row)
            return True

        return await self._write(work)


_Found = Row[int, bytes]


def _selected(owner: str, completion_id: str) -> Select[int, bytes]:
    return select(_c.seq, _c.completion).where(_c.owner == owner, _c.id == completion_id)


def _place(connection: Connection, owner: str, completion_id: str) -> Row[int, int] | None:
    """Where it is in the lists, or was."""
    for table in (COMPLETIONS, DELETIONS):
        place = select(table.c.created, table.c.seq)
        mine = place.where(table.c.owner == owner, table.c.id == completion_id)
        if found := connection.execute(mine).one_or_none():
            return found
    return None


def _matching(owner: str, query: Query) -> Select[int, bytes]:
    statement = select(_c.seq, _c.completion).where(_c.owner == owner)
    if query.model is not None:
        statement = statement.where(or_(_c.asked_model == query.model, _c.model == query.model))
    for key, value in query.metadata.items():
        # A join for each pair, and not EXISTS: so the planner may begin with a rare pair.
        pair = METADATA.alias()
        statement = statement.join(pair, pair.c.seq == _c.seq).where(
            pair.c.key == key, pair.c.value == value
        )
    if query.descending:
        return statement.order_by(_c.created.desc(), _c.seq.desc())
    return statement.order_by(_c.created, _c.seq)


def _add_metadata(connection: Connection, seq: int, metadata: Mapping[str, str]) -> None:
    if metadata:
        pairs = [{"seq": seq, "key": key, "value": value} for key, value in metadata.items()]
        connection.execute(insert(METADATA), pairs)


def _completions(connection: Connection, rows: Sequence[_Found]) -> list[ChatCompletion]:
    """The rows' completions, in their order, each with its metadata as it is now."""
    completions = {row.seq: ChatCompletion.FromString(row.completion) for row in rows}
    pairs = select(METADATA.c.seq, METADATA.c.key, METADATA.c.value)
    found = connection.execute(pairs.where(METADATA.c.seq.in_(completions)))
    for seq, key, value in found:
        completions[seq].metadata[key] = value
    return list(completions.values())
