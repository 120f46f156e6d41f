"""The model store against real HTTP servers: whole, cut, changed, refused, and Hugging Face's."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from aiohttp import web
from multidict import CIMultiDictProxy
from terminal import diglot

from diglot.service.model_store import ModelStore, ModelStoreError

CONTENT = b"GGUF" + random.Random(0).randbytes(3_500_000)
OTHER = b"GGUF" + random.Random(1).randbytes(2_000_000)


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


@dataclass
class FileServer:
    """Serves one content at every path, as well or badly as the test wants."""

    url: str = ""
    content: bytes = CONTENT
    etag: str | None = '"first"'
    status: int = 200
    cuts: list[int] = field(default_factory=list)
    """After how many bytes the connection breaks, one answer after the other."""
    shift: int = 0
    """How far its ranges are off."""
    length: int | None = None
    """What it says its length is, if that is not so."""
    redirect: str | None = None
    repository: object = None
    """What the API says is there."""
    linked_etag: str | None = None
    hold: asyncio.Event | None = None
    """What to wait for in the middle of an answer."""
    held: asyncio.Event = field(default_factory=asyncio.Event)
    """Set in the middle of an answer that waits."""
    seen: list[tuple[str, CIMultiDictProxy[str]]] = field(default_factory=list)
    """Paths and headers of the requests."""

    @property
    def starts(self) -> list[int]:
        """Where the ranges began that it was asked for."""
        ranges = [headers.get("Range", "bytes=0-") for _, headers in self.seen]
        return [int(each.removeprefix("bytes=").removesuffix("-")) for each in ranges]

    async def answer(self, request: web.Request) -> web.StreamResponse:
        self.seen.append((request.path, request.headers))
        if self.status != 200:
            return web.Response(status=self.status)
        if request.path.startswith("/api/"):
            return web.json_response(self.repository)
        headers = {} if self.linked_etag is None else {"X-Linked-Etag": f'"{self.linked_etag}"'}
        if self.redirect is not None:
            return web.Response(status=302, headers={**headers, "Location": self.redirect})
        return await self._send(request, headers)

    async def _send(self, request: web.Request, headers: dict[str, str]) -> web.StreamResponse:
        start, status = 0, 200
        if self.etag is not None:
            headers["ETag"] = self.etag
        if "Range" in request.headers and request.headers["If-Range"] == self.etag:
            start, status = self.starts[-1] + self.shift, 206
            last = f"{start}-{len(self.content) - 1}" if start < len(self.content) else "*"
            headers["Content-Range"] = f"bytes {last}/{len(self.content)}"
            if last == "*":
                return web.Response(status=416, headers=headers)
        data = self.content[start:]
        headers["Content-Length"] = str(self.length or len(data))
        response = web.StreamResponse(status=status, headers=headers)
        await response.prepare(request)
        cut = self.cuts.pop(0) if self.cuts else None
        for begin in range(0, len(data[:cut]), 100_000):
            await response.write(data[begin : min(begin + 100_000, cut or len(data))])
            if self.hold is not None and begin >= len(data) // 2:
                self.held.set()
                await self.hold.wait()
        if cut is not None and request.transport is not None:
            request.transport.close()
        return response


@asynccontextmanager
async def serving(server: FileServer) -> AsyncIterator[FileServer]:
    app = web.Application()
    app.router.add_get("/{path:.*}", server.answer)
    runner = web.AppRunner(app, handler_cancellation=True)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        server.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        yield server
    finally:
        await runner.cleanup()


@dataclass
class Steps:
    """A progress that remembers."""

    told: list[tuple[int, int | None]] = field(default_factory=list)

    def __call__(self, done: int, total: int | None) -> None:
        self.told.append((done, total))


async def refusal(store: ModelStore, name: str) -> str:
    """What pull says when it cannot: one line."""
    with pytest.raises(ModelStoreError) as caught:
        await store.pull(name, Steps())
    text = str(caught.value)
    assert text.isprintable()
    return text


def left(directory: Path) -> list[str]:
    """The endings of the files there, but for lock files."""
    files = [path for path in directory.rglob("*") if path.is_file() and path.suffix != ".lock"]
    return sorted("".join(path.suffixes) for path in files)


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


@asynccontextmanager
async def hub(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[tuple[FileServer, FileServer]]:
    """Something like Hugging Face, and the host that it sends its files from."""
    names = ["README.md", "m-Q4_K_M.gguf", "m-Q8_0.gguf", "../m-Q2_K.gguf", "s-00001-of-00002.gguf"]
    api = FileServer(repository={"siblings": [{"rfilename": name} for name in names]})
    async with serving(FileServer()) as files, serving(api):
        api.redirect = f"{files.url}/blob?signature=x"
        api.linked_etag = sha256(CONTENT)
        monkeypatch.setenv("HF_ENDPOINT", api.url + "/")
        monkeypatch.setenv("HF_TOKEN", "hf_secret\n")
        yield api, files


async def test_hugging_face(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A quantization is looked up once; the token stays with its host; cuts are no harm."""
    store = ModelStore(tmp_path)
    async with hub(monkeypatch) as (api, files):
        files.cuts = [1_500_000]
        assert store.find("org/repo") is None
        path = await store.pull("org/repo", Steps())
        assert path == tmp_path / "huggingface/org/repo/m-Q4_K_M.gguf"
        assert [path for path, _ in api.seen] == [
            "/api/models/org/repo",
            "/org/repo/resolve/main/m-Q4_K_M.gguf",
            "/org/repo/resolve/main/m-Q4_K_M.gguf",
        ]
        assert {headers["Authorization"] for _, headers in api.seen} == {"Bearer hf_secret"}
        assert files.starts[0] == 0 < files.starts[1]
        assert all("Authorization" not in headers for _, headers in files.seen)
        api.status = files.status = 500
        assert await store.pull("org/repo:q4_k_m", Steps()) == path
        assert store.find("org/repo/m-Q4_K_M.gguf") == path
        assert store.find("org/repo:Q8_0") is None
        assert store.find("org/other") is None
    assert path.read_bytes() == CONTENT


async def test_hugging_face_by_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Needs no look at the listing; and a netrc file does not get in the token's way."""
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login somebody password something\n")
    (tmp_path / "netrc").chmod(0o600)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    async with hub(monkeypatch) as (api, _):
        path = await ModelStore(tmp_path).pull("org/repo/sub/m 1.gguf", Steps())
        assert path == tmp_path / "huggingface/org/repo/sub/m 1.gguf"
        assert [path for path, _ in api.seen] == ["/org/repo/resolve/main/sub/m 1.gguf"]
        assert api.seen[0][1]["Authorization"] == "Bearer hf_secret"


async def test_hugging_face_reports_another_checksum(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Then what came is not the model."""
    async with hub(monkeypatch) as (api, _):
        api.linked_etag = sha256(OTHER)
        assert "SHA-256" in await refusal(ModelStore(tmp_path), "org/repo/m.gguf")
    assert left(tmp_path) == []


async def test_hugging_face_has_no_such_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The choices are listed, without names that would lead out of the store."""
    async with hub(monkeypatch):
        text = await refusal(ModelStore(tmp_path), "org/repo:Q2_K")
        assert text.endswith("name one like org/repo/FILE: m-Q4_K_M.gguf, m-Q8_0.gguf")


@pytest.mark.parametrize(
    ("status", "name", "fix"),
    [
        (401, "org/repo", "check the name; if the repository is private or gated, set"),
        (404, "org/repo/m.gguf", "check the name, which is no file here either"),
        (403, "org/repo:Q8_0", "accept its terms at"),
        (500, "org/repo", "try again later"),
    ],
)
async def test_hugging_face_refuses(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, status: int, name: str, fix: str
) -> None:
    """What to do is said, and the token is not."""
    async with hub(monkeypatch) as (api, _):
        api.status = status
        text = await refusal(ModelStore(tmp_path), name)
    assert f"{status} " in text
    assert fix in text
    assert "hf_secret" not in text


async def test_hugging_face_is_somebody_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Or nobody, or not even a URL, or the token is none."""
    store = ModelStore(tmp_path)
    async with hub(monkeypatch) as (api, _):
        answers: list[object] = [[], {"siblings": [3]}, {"siblings": None}, None]
        for answer in answers:
            api.repository = answer
            assert "check HF_ENDPOINT" in await refusal(store, "org/repo")
    assert "check the connection" in await refusal(store, "org/repo")
    monkeypatch.setenv("HF_TOKEN", "two\nlines")
    assert "HF_TOKEN holds" in await refusal(store, "org/repo")
    monkeypatch.setenv("HF_ENDPOINT", "huggingface.co")
    assert "HF_ENDPOINT is no" in await refusal(store, "org/repo")
