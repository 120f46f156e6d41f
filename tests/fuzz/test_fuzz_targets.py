"""Each target for a second or two, always with the same inputs: `python -m fuzz` goes on."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from .campaign import campaign, fault_of
from .target import Complaints, Fault
from .targets import TARGETS

# As many as take about a second.
INPUTS = {
    "http-body": 500,
    "http-bytes": 100,
    "grpc-message": 500,
    "upstream-bytes": 100,
    "chat-stream": 500,
    "llama-stream": 500,
    "messages-stream": 500,
    "json-schema": 500,
}

FOUND = sorted((Path(__file__).parent / "found").glob("*.bin"))
"""Each was a fault: of a target whose name it begins with."""


@pytest.mark.parametrize("name", TARGETS)
async def test_nothing_that_is_sent_is_our_fault(name: str) -> None:
    async with TARGETS[name]() as target:
        number, found = await campaign(target, seed=1, goes_on=lambda n: n < INPUTS[name])
    assert found is None, found
    assert number == INPUTS[name]


def target_of(file: Path) -> str:
    return next(name for name in TARGETS if file.name.startswith(f"{name}-"))


@pytest.mark.parametrize("file", FOUND, ids=[file.stem for file in FOUND])
async def test_what_was_found_once_is_mended(file: Path) -> None:
    with Complaints() as complaints:
        async with TARGETS[target_of(file)]() as target:
            assert await fault_of(target, file.read_bytes(), complaints) is None


class Brittle:
    """Breaks at an exclamation mark."""

    seeds: Sequence[bytes] = (b"hello, world, how are you today",)

    async def take(self, data: bytes) -> None:
        if b"!" in data:
            raise Fault("it breaks")


async def test_a_fault_is_found_and_shortened() -> None:
    target = Brittle()
    number, found = await campaign(target, seed=1, goes_on=lambda n: n < 100_000)
    assert found is not None
    assert found.data == b"!"
    assert "it breaks" in found.fault
    with Complaints() as complaints:
        assert await fault_of(target, b"?", complaints) is None
    assert (await campaign(target, seed=1, goes_on=lambda n: n < 100_000))[0] == number
