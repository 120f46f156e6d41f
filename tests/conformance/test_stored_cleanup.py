"""Whoever deletes all that is stored, as OpenAI's own client lets one write it."""

from __future__ import annotations

from pathlib import Path

import pytest

from .test_stored import make, storing
from .ways import SDK_NAMES, BySdk


@pytest.mark.parametrize("name", SDK_NAMES)
async def test_the_clients_own_pages_can_be_deleted_while_they_are_turned(
    name: str, tmp_path: Path
) -> None:
    async with storing(name, tmp_path) as way:
        assert isinstance(way, BySdk)
        made = [(await make(way))["id"] for _ in range(5)]
        deleted = []
        async for completion in way.sdk.chat.completions.list(limit=2):
            await way.sdk.chat.completions.delete(completion.id)
            deleted.append(completion.id)
        assert deleted == made
        assert [each async for each in way.sdk.chat.completions.list()] == []
