"""The command as a whole: help, exit codes, and what it does not load."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from terminal import COMMAND, Outcome, called, diglot, environment

from diglot.service.command import start

COMMANDS = [
    *([], ["serve"], ["service"], ["facade"], ["chat"]),
    *(["key"], ["key", "add"], ["key", "list"], ["key", "revoke"]),
    *(["model"], ["model", "pull"], ["model", "list"], ["config"], ["config", "check"]),
]


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_every_command_has_help(command: list[str]) -> None:
    """A usage line, and a sentence on what it does."""
    outcome = called(*command, "--help")
    assert (outcome.code, outcome.err) == (0, "")
    usage, description, *_ = outcome.out.split("\n\n")
    assert usage.startswith(" ".join(["usage: diglot", *command]))
    assert len(description) > 10


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["nonsense"],
        ["key"],
        ["key", "add"],
        ["serve", "--http", "80"],
        ["serve", "--log-format", "xml"],
        ["facade", "--grpc", "a:1"],
        ["chat", "--http", "x", "--grpc", "x"],
        ["key", "list", "--state", ""],
    ],
    ids=" ".join,
)
def test_a_wrong_command_line_is_2(arguments: list[str]) -> None:
    """With the usage, and nothing on standard output."""
    outcome = called(*arguments)
    assert (outcome.code, outcome.out) == (2, "")
    assert outcome.err.startswith("usage: diglot")


def test_an_address_is_told_how_to_be_written() -> None:
    """By the flag's name."""
    outcome = called("serve", "--http", "80")
    assert 'argument --http: "80" is not HOST:PORT; write for example "127.0.0.1:80"' in outcome.err


def test_ctrl_c_while_it_is_still_starting_is_no_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    """Most of the first second is spent on imports."""

    def interrupted(_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(start, "register", interrupted)
    assert called("serve") == Outcome(130, "", "")


async def test_version() -> None:
    """One line."""
    outcome = await diglot("--version")
    assert (outcome.code, outcome.err) == (0, "")
    assert outcome.out.startswith("diglot ")
    assert outcome.out.count("\n") == 1


async def test_a_process_ends_with_what_comes_of_its_command() -> None:
    """The tests below only call it."""
    outcome = await diglot("key", "add")
    assert (outcome.code, outcome.out) == (2, "")
    assert outcome.err.startswith("usage: diglot key add")
    outcome = await diglot("config", "check", "--config", "/nonexistent.toml")
    assert (outcome.code, outcome.out) == (1, "")
    assert outcome.err.startswith("diglot: the configuration cannot be used")


@pytest.mark.parametrize("command", ["serve", "service", "facade"])
def test_servers_do_not_start_with_a_faulty_configuration(command: str) -> None:
    """Every fault, and 1."""
    outcome = called(command, "--config", "/nonexistent.toml")
    assert outcome.code == 1
    assert outcome.err == (
        "diglot: the configuration cannot be used\n"
        "/nonexistent.toml: cannot read it: No such file or directory\n"
    )


async def test_a_reader_that_leaves_is_no_traceback(tmp_path: Path) -> None:
    """`diglot key list | head -0` and the like."""
    script = f"{' '.join(COMMAND)} key list --state {tmp_path} | true; echo ${{PIPESTATUS[0]}}"
    run = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True)
    assert run.stdout.strip() in ("0", "1")
    assert run.stderr == ""


def test_touching_keys_loads_no_server(tmp_path: Path) -> None:
    """Which is why `diglot key add` takes a tenth of a second."""
    code = (
        "import sys; from diglot.service.command.main import main; main(sys.argv[1:]);"
        "print(*sorted({'grpc', 'aiohttp', 'pydantic', 'asyncio', 'tqdm'} & set(sys.modules)))"
    )
    run = [sys.executable, "-c", code, "key", "list", "--state", str(tmp_path)]
    out = subprocess.run(run, capture_output=True, text=True, check=True, env=environment())
    assert out.stdout.splitlines() == ["ID  NAME  CREATED  MODELS", ""]
