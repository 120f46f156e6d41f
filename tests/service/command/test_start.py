"""When a server says that it is ready."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import cast

import aiohttp
import pytest

from diglot.facade import Channel
from diglot.service.command import announcement, assembly
from diglot.service.command.assembly import Core
from diglot.service.command.serve import Faces
from diglot.service.config import Address, load

ELSEWHERE = '[[models]]\nname = "elsewhere"\nkind = "diglot"\ntarget = "127.0.0.1:1"\n'
HERE = '[[models]]\nname = "here"\nkind = "scripted"\n'
WHY = "127.0.0.1:1 cannot be reached, or is not ready"


def core(directory: Path, models: str) -> Core:
    file = directory / "diglot.toml"
    file.write_text(f'state = "{directory}"\nstore.enabled = false\nauth.enabled = false\n{models}')
    return Core(load(file))


async def test_a_model_that_is_down_keeps_the_others_from_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(assembly, "TOGETHER_WITHIN", 0.05)
    starting = core(tmp_path, ELSEWHERE + HERE)
    try:
        await starting.start()
        assert starting.not_ready == {"elsewhere": WHY}
    finally:
        await starting.close()


async def test_without_any_model_it_is_not_ready(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(assembly, "TOGETHER_WITHIN", 0.01)
    starting = core(tmp_path, ELSEWHERE)
    try:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await starting.start()
    finally:
        await starting.close()


async def test_one_that_waits_for_its_models_waits_for_those_that_it_then_has(
    tmp_path: Path,
) -> None:
    """And a new one is not waited for with calls that nobody would answer."""
    starting = core(tmp_path, ELSEWHERE)
    try:
        await starting.begin()
        ready = asyncio.create_task(starting.ready())
        (tmp_path / "diglot.toml").write_text(HERE + ELSEWHERE.replace("elsewhere", "there"))
        await starting.reload(load(tmp_path / "diglot.toml"))
        assert [served.label for served in starting.models.served] == ["here", "there"]
        assert starting.models.ready
        assert not ready.done()
        ready.cancel()
        (tmp_path / "diglot.toml").write_text(HERE)
        await starting.reload(load(tmp_path / "diglot.toml"))
        await starting.ready()
        assert [each.name for each in starting.settings.models] == ["here"]
    finally:
        await starting.close()


def test_the_line_to_paste_is_for_a_model_that_answers(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """And who is missing is named, with the reason."""
    file = tmp_path / "diglot.toml"
    file.write_text(f'state = "{tmp_path}"\n{ELSEWHERE}{HERE}')
    announcement.ready(load(file), Address("127.0.0.1", 80), "dg-k", 1.0, {"elsewhere": WHY})
    said = capsys.readouterr().out
    assert '"model": "here"' in said
    assert f"not ready yet: elsewhere ({WHY})" in said.splitlines()


async def test_pages_get_the_leave_that_the_configuration_gives(tmp_path: Path) -> None:
    file = tmp_path / "diglot.toml"
    file.write_text('[http]\naddress = "127.0.0.1:0"\nallowed_origins = ["https://app.example"]\n')
    faces = Faces(load(file))
    address = await faces.serve_http(cast(Channel, None))
    asks = {"Origin": "https://app.example", "Access-Control-Request-Method": "POST"}
    try:
        async with (
            aiohttp.ClientSession() as session,
            session.options(f"http://{address}/v1/models", headers=asks) as answer,
        ):
            assert answer.status == 204
            assert answer.headers["Access-Control-Allow-Origin"] == "https://app.example"
    finally:
        await faces.stop()


def test_the_line_to_paste_keeps_one_key_however_often_it_is_pasted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "diglot.toml"
    file.write_text(f'state = "{tmp_path}"\n{HERE}')
    announcement.ready(load(file), Address("127.0.0.1", 80), None, 1.0)
    assert f"key add --replace --state {tmp_path} curl)" in capsys.readouterr().out
