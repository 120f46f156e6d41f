"""The model store against something like Hugging Face."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from file_server import CONTENT, OTHER, FileServer, Steps, left, refusal, serving, sha256

from diglot.service.model_store import ModelStore


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
