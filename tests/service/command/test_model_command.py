"""`diglot model`, with the real default model, and the two ways to show progress."""

from __future__ import annotations

import hashlib
import io
from pathlib import Path

import pytest
from terminal import called, diglot

from diglot.service.command.model import Bar, Lines


async def test_pull_prints_sha256_and_path(model_path: Path) -> None:
    """As sha256sum does, so that it can check the line; and fetches nothing twice."""
    state = model_path.parents[1] if model_path.parent.name == "models" else model_path.parent
    outcome = await diglot("model", "pull", "smollm2-135m-instruct", "--state", str(state))
    assert outcome.code == 0, outcome.err
    digest = hashlib.sha256(model_path.read_bytes()).hexdigest()
    assert outcome.out == f"{digest}  {model_path}\n"


def test_a_model_that_nobody_has_is_one_line(tmp_path: Path) -> None:
    """And 1, without a traceback."""
    outcome = called("model", "pull", "./nobody-has-this.gguf", "--state", str(tmp_path))
    assert (outcome.code, outcome.out) == (1, "")
    assert outcome.err.startswith("diglot: ")
    assert outcome.err.count("\n") == 1


def test_list_shows_what_was_fetched(tmp_path: Path) -> None:
    """File and size; nothing on a fresh machine."""
    assert called("model", "list", "--state", str(tmp_path)).out == "FILE  SIZE\n"
    model = tmp_path / "models" / "tiny.gguf"
    model.parent.mkdir()
    model.write_bytes(bytes(2_000_000))
    listed = called("model", "list", "--state", str(tmp_path)).out.splitlines()
    assert listed[1].split() == [str(model), "2", "MB"]
    outcome = called("model", "list", "--state", str(tmp_path / "nowhere"))
    assert (outcome.code, outcome.out) == (1, "")
    assert "there is no directory" in outcome.err


def test_lines_are_occasional(capsys: pytest.CaptureFixture[str]) -> None:
    """One when its time has come, with the total if it is known."""
    patient, eager = Lines(seconds=3600), Lines(seconds=0)
    patient.show(1_000_000, 98_000_000)
    assert capsys.readouterr().err == ""
    eager.show(1_000_000, 98_000_000)
    eager.show(2_000_000, None)
    assert capsys.readouterr().err == "fetched 1 of 98 MB\nfetched 2 MB\n"


def test_the_bar_follows(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also back, when a download begins anew."""
    screen = io.StringIO()
    monkeypatch.setattr("sys.stderr", screen)
    bar = Bar()
    bar.show(10_000_000, 98_000_000)
    bar.show(0, 98_000_000)
    bar.show(98_000_000, 98_000_000)
    bar.close()
    assert "98.0M/98.0M" in screen.getvalue()
