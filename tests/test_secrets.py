"""An upstream's key gets to the upstream, and nowhere else, whatever happens."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator
from pathlib import Path

import pytest
from faces import GRPC, HTTP, faces
from faulty_upstream import Behaviour, Exchange, head, saying, upstream
from terminal import diglot

from diglot.service.logs import configure

# Nothing that the log would take for a key by itself.
CANARY = "the-yellow-bird-sings-at-dawn"


def quoting(line: str) -> Behaviour:
    """An upstream that quotes what it was sent, as some do."""

    async def behave(exchange: Exchange) -> None:
        sent = exchange.headers["authorization"]
        error = {"message": f"Not with {sent}", "param": sent, "type": sent, "code": sent}
        body = json.dumps({"error": error}).encode()
        extra = f"Content-Length: {len(body)}\r\nX-Quoted: {sent}\r\n"
        await exchange.send(head(line, "application/json", extra), body)

    return behave


async def quoting_late(exchange: Exchange) -> None:
    await exchange.answer("half")
    error = {"message": f"Not with {exchange.headers['authorization']}", "code": 400}
    await exchange.send(b"data: " + json.dumps({"error": error}).encode() + b"\n\n")


async def garbage(exchange: Exchange) -> None:
    await exchange.send(exchange.headers["authorization"].encode() + b"\r\n\r\n")


async def garbage_late(exchange: Exchange) -> None:
    await exchange.answer("half")
    await exchange.send(b"data: " + exchange.headers["authorization"].encode() + b"\n\n")


@pytest.fixture
def log() -> Iterator[io.StringIO]:
    """Everything that anything logs."""
    written = io.StringIO()
    root = logging.getLogger()
    before = root.level
    configure("json", "debug", written)
    yield written
    configure()
    root.handlers = [
        each for each in root.handlers if type(each).__module__ != configure.__module__
    ]
    root.setLevel(before)


BEHAVIOURS = {
    "well": saying("well"),
    "400": quoting("400 Bad"),
    "401": quoting("401 No"),
    "429": quoting("429 Slow"),
    "500": quoting("500 Oops"),
    "error in the stream": quoting_late,
    "garbage": garbage,
    "garbage in the stream": garbage_late,
}


@pytest.mark.parametrize("behave", BEHAVIOURS.values(), ids=BEHAVIOURS.keys())
async def test_nobody_hears_of_it(behave: Behaviour, tmp_path: Path, log: io.StringIO) -> None:
    async with upstream(behave) as other:
        place = f'kind = "upstream"\nbase_url = "{other.base_url}"\napi_key_env = "KEY"\n'
        config = f'[[models]]\nname = "m"\n{place}'
        config += f'[[models]]\nname = "n"\nfallback = "m"\n[[models.deployments]]\n{place}'
        async with faces(tmp_path, config, {"KEY": CANARY}) as both:
            for face in (HTTP, GRPC):
                for name in ("m", "n"):
                    for stream in (True, False):
                        seen = await both.ask(face, stream=stream, model=name)
                        assert CANARY not in repr(seen)
        assert {exchange.headers["authorization"] for exchange in other.exchanges} == {
            f"bearer {CANARY}"
        }
    assert "completion" in log.getvalue()
    assert CANARY not in log.getvalue()


async def test_the_configuration_is_shown_without_it(tmp_path: Path) -> None:
    (tmp_path / "key").write_text(CANARY)
    file = tmp_path / "diglot.toml"
    place = 'kind = "upstream"\nbase_url = "https://host/v1"\napi_key_file = "key"\n'
    for fault in ("", "zzz = 1\n"):
        file.write_text(f'[[models]]\nname = "m"\n[[models.deployments]]\n{place}{fault}')
        shown = await diglot("config", "check", "--config", str(file))
        assert shown.code == (1 if fault else 0)
        assert ("zzz" in shown.err) if fault else ("host: m at https://host/v1" in shown.out)
        assert CANARY not in shown.out + shown.err
