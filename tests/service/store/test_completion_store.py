"""Stored completions, in SQLite and in a real PostgreSQL: the same of both."""

from __future__ import annotations

import asyncio
import json
import logging
from pathlib import Path

import pytest
from databases import fill_up, locked, opened, put, rows

from diglot.service.errors import StoreUnavailable
from diglot.service.store import CompletionStore, Query, SqliteFile
from diglot.v1.chat_pb2 import CreateChatCompletionRequest
from diglot.v1.completion_pb2 import FINISH_REASON_STOP, ChatCompletion
from diglot.v1.message_pb2 import ROLE_ASSISTANT, ROLE_USER, ImagePart

# What SQL, JSON, LIKE or C could take for something else.
ODD = [
    "",
    " ",
    "%",
    "_",
    "'",
    '"',
    "a'; DROP TABLE x; --",
    "\\",
    "\\0",
    "\0",
    "a\0b",
    "日本語👩‍👩‍👧",
]


async def listed(store: CompletionStore, owner: str = "me", **query: object) -> list[str]:
    found = await store.list(owner, Query(**{"limit": 100, **query}))  # type: ignore[arg-type]
    assert found is not None
    return [completion.id for completion in found[0]]


async def test_what_is_kept_comes_back_whole(database_url: str) -> None:
    completion = ChatCompletion(
        id="chatcmpl-1",
        created=2**40,
        model="gpt\0\\0",
        service_tier="default",
        metadata={f"key {text}": text for text in ODD},
    )
    completion.usage.prompt_tokens = 3
    choice = completion.choices.add(finish_reason=FINISH_REASON_STOP)
    choice.message.role = ROLE_ASSISTANT
    choice.message.content = "a\0b" * 10_000
    choice.logprobs.content.add(token="a", logprob=-0.1, bytes=b"\xff\0")
    request = CreateChatCompletionRequest(model="gpt", store=True, extra_json=json.dumps({"k": 1}))
    question = request.messages.add(role=ROLE_USER)
    question.parts.add(image_url=ImagePart(url="data:image/png;base64," + "A" * 2_000_000))
    async with opened(database_url) as store:
        await store.add("me", request, completion)
    async with opened(database_url) as store:
        assert await store.get("me", "chatcmpl-1") == completion
        assert await store.get_request("me", "chatcmpl-1") == request


async def test_nobody_sees_or_changes_what_is_anothers(database_url: str) -> None:
    async with opened(database_url) as store:
        mine = await put(store, "a", metadata={"k": "v"})
        await put(store, "b", owner="you")
        assert await store.get("you", "a") is None
        assert await store.get_request("you", "a") is None
        assert await store.update("you", "a", {}) is None
        assert not await store.delete("you", "a")
        assert await listed(store, "you") == ["b"]
        assert await store.list("you", Query(limit=1, after="a")) is None
        assert await store.get("me", "a") == mine


@pytest.mark.parametrize("name", ODD)
async def test_any_id_is_looked_for_and_not_found(database_url: str, name: str) -> None:
    async with opened(database_url) as store:
        assert await store.get("me", name) is None
        assert await store.get_request("me", name) is None
        assert await store.update("me", name, {"k": "v"}) is None
        assert not await store.delete("me", name)
        assert await store.list("me", Query(limit=1, after=name)) is None


async def test_the_order_is_by_time_and_then_by_insertion(database_url: str) -> None:
    async with opened(database_url) as store:
        for name, created in [("c", 2), ("a", 1), ("b", 1), ("d", 2), ("0", 3)]:
            await put(store, name, created=created)
        assert await listed(store) == ["a", "b", "c", "d", "0"]
        assert await listed(store, descending=True) == ["0", "d", "c", "b", "a"]


@pytest.mark.parametrize("descending", [False, True])
@pytest.mark.parametrize("limit", [1, 2, 3, 4, 6, 7])
async def test_pages_have_each_completion_once_and_say_when_they_end(
    database_url: str, descending: bool, limit: int
) -> None:
    async with opened(database_url) as store:
        names = [(await put(store, f"c{place}", created=place // 2)).id for place in range(6)]
        await put(store, "not mine", owner="you", created=1)
        found: list[str] = []
        has_more = True
        while has_more:
            after = found[-1] if found else None
            page = await store.list("me", Query(limit=limit, after=after, descending=descending))
            assert page is not None
            completions, has_more = page
            assert len(completions) <= limit
            found += [completion.id for completion in completions]
        assert found == (names[::-1] if descending else names)


@pytest.mark.parametrize("descending", [False, True])
async def test_who_deletes_what_is_listed_comes_to_the_end_of_it(
    database_url: str, descending: bool
) -> None:
    """Page by page, as OpenAI's clients turn them: with the id of the last one, which is gone."""
    async with opened(database_url) as store:
        names = [(await put(store, f"c{place}", created=place // 2)).id for place in range(5)]
        await put(store, "not mine", owner="you", created=1)
        found: list[str] = []
        while True:
            after = found[-1] if found else None
            page = await store.list("me", Query(limit=2, after=after, descending=descending))
            assert page is not None
            for completion in page[0]:
                assert await store.delete("me", completion.id)
                found.append(completion.id)
            if not page[1]:
                break
        assert found == (names[::-1] if descending else names)
        assert await listed(store) == []
        assert await listed(store, "you") == ["not mine"]


async def test_a_place_that_was_anothers_is_none(database_url: str) -> None:
    async with opened(database_url) as store:
        await put(store, "a")
        assert await store.delete("me", "a")
        assert await store.list("you", Query(limit=1, after="a")) is None
        assert await store.list("me", Query(limit=1, after="a")) == ([], False)
        assert await store.get("me", "a") is None


async def test_where_it_was_is_forgotten_in_time(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And nothing is kept of what was said."""
    table = "stored_completion_deletions"
    async with opened(database_url) as store:
        for name in ("a", "b"):
            await put(store, name)
            assert await store.delete("me", name)
        await put(store, "b")
        assert await store.delete("me", "b")
        assert await rows(database_url, table) == 2
        monkeypatch.setattr("diglot.service.store.rows.REMEMBERED", -1)
        await put(store, "c")
        assert await store.delete("me", "c")
        assert await rows(database_url, table) == 1
        assert await store.list("me", Query(limit=1, after="a")) is None


async def test_a_model_is_what_was_asked_for_or_what_answered(database_url: str) -> None:
    async with opened(database_url) as store:
        await put(store, "a", asked="gpt", model="gpt-2026-11-22")
        await put(store, "b", asked="small", model="small")
        assert await listed(store, model="gpt") == ["a"]
        assert await listed(store, model="gpt-2026-11-22") == ["a"]
        assert await listed(store, model="small") == ["b"]
        assert await listed(store, model="GPT") == []


async def test_all_pairs_must_match(database_url: str) -> None:
    async with opened(database_url) as store:
        await put(store, "a", metadata={"x": "1", "y": "1"})
        await put(store, "b", metadata={"x": "1", "y": "2"})
        await put(store, "c", metadata={"y": "1"})
        await put(store, "d")
        assert await listed(store, metadata={"x": "1"}) == ["a", "b"]
        assert await listed(store, metadata={"x": "1", "y": "1"}) == ["a"]
        assert await listed(store, metadata={"x": "1", "z": "1"}) == []
        assert await listed(store, metadata={"y": "1"}, model="m", after="a") == ["c"]
        whole = await put(store, "e", metadata={str(number): "v" for number in range(16)})
        assert await listed(store, metadata=whole.metadata) == ["e"]


async def test_metadata_is_matched_to_the_letter(database_url: str) -> None:
    async with opened(database_url) as store:
        for place, text in enumerate(ODD):
            await put(store, f"key{place}", metadata={f"k{text}": "v"})
            await put(store, f"value{place}", metadata={"k": text})
        for place, text in enumerate(ODD[1:], 1):
            assert await listed(store, metadata={f"k{text}": "v"}) == [f"key{place}"]
            assert await listed(store, metadata={"k": text}) == [f"value{place}"]


async def test_the_longest_metadata_fits(database_url: str) -> None:
    """Also into the index, which has a limit in PostgreSQL."""
    metadata = {f"{number:02}" + "👩" * 62: f"{number:02}" + "👩" * 510 for number in range(16)}
    async with opened(database_url) as store:
        stored = await put(store, "a", metadata=metadata)
        assert await store.get("me", "a") == stored
        assert await listed(store, metadata=metadata) == ["a"]


async def test_an_update_replaces_the_metadata_and_nothing_else(database_url: str) -> None:
    async with opened(database_url) as store:
        completion = await put(store, "a", metadata={"x": "1", "y": "1"}, service_tier="flex")
        updated = await store.update("me", "a", {"x": "2", "z": "3"})
        completion.ClearField("metadata")
        completion.metadata.update({"x": "2", "z": "3"})
        assert updated == completion
        assert await store.get("me", "a") == completion
        assert await listed(store, metadata={"x": "1"}) == []
        assert await listed(store, metadata={"z": "3"}) == ["a"]
        cleared = await store.update("me", "a", {})
        assert cleared is not None
        assert not cleared.metadata


async def test_updates_at_once_do_not_mix(database_url: str) -> None:
    async with opened(database_url) as here, opened(database_url) as there:
        await put(here, "a")
        wanted = [{f"k{place}": str(number) for place in range(8)} for number in range(20)]
        stores = [here, there] * 10
        await asyncio.gather(
            *(store.update("me", "a", each) for store, each in zip(stores, wanted, strict=True))
        )
        kept = await here.get("me", "a")
        assert kept is not None
        assert dict(kept.metadata) in wanted


async def test_what_is_deleted_leaves_nothing(database_url: str) -> None:
    async with opened(database_url) as store:
        await put(store, "a", metadata={"k": "v"})
        assert await store.delete("me", "a")
        assert not await store.delete("me", "a")
        assert await store.get("me", "a") is None
        assert await listed(store) == []
    assert await rows(database_url) == await rows(database_url, "stored_completion_metadata") == 0


async def test_many_at_once_from_two_servers(database_url: str) -> None:
    async with opened(database_url) as here, opened(database_url) as there:
        names = [f"c{number}" for number in range(100)]
        stores = [here, there] * 50
        await asyncio.gather(
            *(
                put(store, name, metadata={"n": name}, created=number)
                for number, (store, name) in enumerate(zip(stores, names, strict=True))
            )
        )
        assert await listed(here) == await listed(there) == names


async def test_reading_goes_on_while_something_writes(database_url: str) -> None:
    async with opened(database_url) as store:
        await put(store, "a")
        async with locked(database_url):
            assert await listed(store) == ["a"]


async def test_who_leaves_while_the_database_hangs_is_gone_at_once_and_stores_nothing(
    database_url: str,
) -> None:
    async with opened(database_url) as store:
        await put(store, "a")
        async with locked(database_url):
            adding = asyncio.ensure_future(put(store, "b"))
            _, waiting = await asyncio.wait((adding,), timeout=0.2)
            assert waiting
            adding.cancel()
            async with asyncio.timeout(10):  # and not when the database is free again
                with pytest.raises(asyncio.CancelledError):
                    await adding
        await put(store, "c")
        assert await listed(store) == ["a", "c"]


async def test_a_write_waits_for_another_programs(database_url: str) -> None:
    """Longer than SQLite by itself would."""
    async with opened(database_url) as store:
        async with locked(database_url):
            adding = asyncio.ensure_future(put(store, "a"))
            _, waiting = await asyncio.wait((adding,), timeout=1.2)
            assert waiting
        await adding
        assert await listed(store) == ["a"]


async def test_what_the_database_refuses_is_one_error_without_content(
    database_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with opened(database_url) as store:
        await fill_up(database_url)
        with pytest.raises(StoreUnavailable) as refused:
            await put(store, "secret-id", metadata={"secret-key": "secret-value"})
        assert await listed(store) == []
    assert refused.value.retry_after == 1
    (record,) = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert "full" in str(vars(record)["fault"]).lower()
    assert "secret" not in str(vars(record)) + str(refused.value.__cause__)


async def test_calls_wait_until_it_is_open(database_url: str) -> None:
    async with opened(database_url) as store:
        await put(store, "a")
    store = CompletionStore(store.database)
    store.start()
    try:
        assert await listed(store) == ["a"]
    finally:
        await store.close()


async def test_closed_it_refuses(tmp_path: Path) -> None:
    store = CompletionStore(SqliteFile(tmp_path / "c.db"))
    await store.close()
    with pytest.raises(StoreUnavailable):
        await store.get("me", "a")
    store.start()
    await store.opened()
    await store.close()
    with pytest.raises(StoreUnavailable):
        await store.get("me", "a")
