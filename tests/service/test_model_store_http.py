"""The model store against real HTTP servers: whole, cut, changed, refused."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path

import pytest
from file_server import CONTENT, OTHER, FileServer, Steps, left, refusal, serving, sha256
from terminal import diglot

from diglot.service.model_store import ModelStore


async def test_a_url_is_fetched_once(tmp_path: Path) -> None:
    """With its checksum beside it; then it is found without the network."""
    store, steps = ModelStore(tmp_path / "models"), Steps()
    async with serving(FileServer()) as server:
        url = f"{server.url}/some%20where/Tiny.Q4.gguf?a=b"
        assert store.find(url) is None
        path = await store.pull(url, steps)
        assert await store.pull(url, steps) == store.find(url) == path
        assert len(server.seen) == 1
        other = store.find(f"{server.url}/elsewhere/Tiny.Q4.gguf?a=b")
    assert path.read_bytes() == CONTENT
    assert path.name.startswith("Tiny.Q4-")
    assert path.with_name(f"{path.name}.sha256").read_text() == (
        f"{sha256(CONTENT)}  {path.name}\n"
    )
    assert len(left(tmp_path)) == 2
    assert steps.told[0] == (0, len(CONTENT))
    assert steps.told[-1] == (len(CONTENT), len(CONTENT))
    assert other is None


async def test_a_cut_download_goes_on(tmp_path: Path) -> None:
    """By itself while each attempt brings something, else with the next pull."""
    async with serving(FileServer(cuts=[1_500_000, 1_000_000, 0])) as server:
        url = f"{server.url}/m.gguf"
        text = await refusal(ModelStore(tmp_path), url)
        assert "goes on from there" in text
        assert ModelStore(tmp_path).find(url) is None
        assert left(tmp_path) == [".gguf.part", ".gguf.part.etag"]
        steps = Steps()
        path = await ModelStore(tmp_path).pull(url, steps)
    assert path.read_bytes() == CONTENT
    # aiohttp gives less than it received when the connection breaks.
    first, second, third, fourth = server.starts
    assert first == 0 < 1_000_000 < second <= 1_500_000 < third == fourth <= 2_500_000
    assert steps.told[0] == (fourth, len(CONTENT))
    assert left(tmp_path) == [".gguf", ".gguf.sha256"]


async def test_a_file_that_changed_begins_anew(tmp_path: Path) -> None:
    """Two halves of different files make no model."""
    async with serving(FileServer(cuts=[1_500_000, 0])) as server:
        url = f"{server.url}/m.gguf"
        await refusal(ModelStore(tmp_path), url)
        server.content, server.etag = OTHER, '"second"'
        path = await ModelStore(tmp_path).pull(url, Steps())
    assert path.read_bytes() == OTHER


@pytest.mark.parametrize("etag", [None, 'W/"weak"'])
async def test_without_a_strong_validator_it_begins_anew(tmp_path: Path, etag: str | None) -> None:
    """Nothing would tell whether the file is still the same."""
    async with serving(FileServer(etag=etag, cuts=[1_500_000])) as server:
        path = await ModelStore(tmp_path).pull(f"{server.url}/m.gguf", Steps())
    assert path.read_bytes() == CONTENT
    assert server.starts == [0, 0]


async def test_ranges_that_are_off_are_not_used(tmp_path: Path) -> None:
    """Nor those past the end, of a file that shrank under the same ETag."""
    for server in FileServer(cuts=[1_500_000], shift=7), FileServer(cuts=[3_200_000]):
        directory = tmp_path / str(server.shift)
        async with serving(server):
            url = f"{server.url}/m.gguf"
            if not server.shift:
                server.cuts.append(0)
                await refusal(ModelStore(directory), url)
                server.content = OTHER
            path = await ModelStore(directory).pull(url, Steps())
        assert path.read_bytes() == server.content


async def test_killed_before_the_end(tmp_path: Path) -> None:
    """All bytes were there, only not under their name: nothing is fetched again."""
    async with serving(FileServer()) as server:
        url = f"{server.url}/m.gguf"
        path = await ModelStore(tmp_path).pull(url, Steps())
        path.rename(f"{path}.part")
        Path(f"{path}.part.etag").write_text('"first"')
        assert await ModelStore(tmp_path).pull(url, Steps()) == path
        assert server.starts == [0, len(CONTENT)]
    assert path.read_bytes() == CONTENT


async def test_a_checksum_is_kept_to(tmp_path: Path) -> None:
    """Also by what was fetched without one, or with another."""
    store = ModelStore(tmp_path)
    async with serving(FileServer()) as server:
        url = f"{server.url}/m.gguf"
        assert "SHA-256" in await refusal(store, f"{url}#sha256={sha256(OTHER)}")
        assert left(tmp_path) == []
        path = await store.pull(f"{url}#sha256={sha256(CONTENT).upper()}", Steps())
        assert store.find(url) == path
        assert store.find(f"{url}#sha256={sha256(OTHER)}") is None
        assert "SHA-256" in await refusal(store, f"{url}#sha256={sha256(OTHER)}")
        assert path.read_bytes() == CONTENT
        server.content = OTHER
        assert await store.pull(f"{url}#sha256={sha256(OTHER)}", Steps()) == path
    assert path.read_bytes() == OTHER


@pytest.mark.parametrize("content", [b"", b"GG", b"<html>" + bytes(3_000_000)])
async def test_what_is_not_gguf_is_refused(tmp_path: Path, content: bytes) -> None:
    """And not kept."""
    async with serving(FileServer(content=content)) as server:
        assert "is not a GGUF file" in await refusal(ModelStore(tmp_path), f"{server.url}/m.gguf")
    assert left(tmp_path) == []


async def test_what_does_not_fit_is_refused(tmp_path: Path) -> None:
    """Before the disk is full."""
    async with serving(FileServer(length=2**60)) as server:
        assert "make room" in await refusal(ModelStore(tmp_path), f"{server.url}/m.gguf")


async def test_refusals_name_no_secret(tmp_path: Path) -> None:
    """Neither the password nor the signature of a URL."""
    async with serving(FileServer(status=403)) as server:
        url = f"{server.url}/m.gguf?signature=secret".replace("//", "//user:secret@")
        text = await refusal(ModelStore(tmp_path), url)
        assert text == f"{server.url}/m.gguf cannot be fetched: 403 Forbidden: check the URL"
        assert server.seen[0][1]["Authorization"].startswith("Basic ")
    text = await refusal(ModelStore(tmp_path), url)  # where nobody listens any more
    assert "check the connection" in text
    assert "secret" not in text


async def test_cancelled(tmp_path: Path) -> None:
    """Nothing has the model's name; what came is of use the next time."""
    async with serving(FileServer(hold=asyncio.Event())) as server:
        url = f"{server.url}/m.gguf"
        pull = asyncio.create_task(ModelStore(tmp_path).pull(url, Steps()))
        await server.held.wait()
        while not any(part.stat().st_size for part in tmp_path.glob("*.part")):
            await asyncio.sleep(0)  # until our side has received some of it, too
        pull.cancel()
        with pytest.raises(asyncio.CancelledError):
            await pull
        assert left(tmp_path) == [".gguf.part", ".gguf.part.etag"]
        server.hold = None
        path = await ModelStore(tmp_path).pull(url, Steps())
        assert server.starts[-1] > 0
    assert path.read_bytes() == CONTENT


class Noticed(logging.Handler):
    """That somebody waits."""

    def __init__(self) -> None:
        super().__init__()
        self.event = asyncio.Event()

    def emit(self, record: logging.LogRecord) -> None:
        self.event.set()


async def test_the_second_waits_for_the_first(tmp_path: Path) -> None:
    """And finds what that fetched."""
    log, noticed = logging.getLogger("diglot.service.model_store.lock"), Noticed()
    log.addHandler(noticed)
    log.setLevel(logging.INFO)
    try:
        async with serving(FileServer(hold=asyncio.Event())) as server:
            url = f"{server.url}/m.gguf"
            first = asyncio.create_task(ModelStore(tmp_path).pull(url, Steps()))
            await server.held.wait()
            second = asyncio.create_task(ModelStore(tmp_path).pull(url, Steps()))
            await noticed.event.wait()
            assert server.hold is not None
            server.hold.set()
            assert await first == await second
            assert len(server.seen) == 1
    finally:
        log.removeHandler(noticed)
        log.setLevel(logging.NOTSET)


async def test_two_processes(tmp_path: Path) -> None:
    """Fetch it once, and both print it."""
    async with serving(FileServer()) as server:
        pull = ("model", "pull", f"{server.url}/m.gguf", "--state", str(tmp_path))
        outcomes = await asyncio.gather(diglot(*pull), diglot(*pull))
        assert [outcome.code for outcome in outcomes] == [0, 0], outcomes
        assert outcomes[0].out == outcomes[1].out
        assert outcomes[0].out.startswith(sha256(CONTENT))
        assert len(server.seen) == 1
