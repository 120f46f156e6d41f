"""`diglot chat` in processes and terminals of its own, against real servers."""

from __future__ import annotations

import socket
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import pytest
from certificates import self_signed
from chat_servers import ANSWER, Seen, grpc_server, http_server
from terminal import called, diglot, terminal

SERVERS = pytest.mark.parametrize("server", [http_server, grpc_server])
Server = Callable[[], AbstractAsyncContextManager[Seen]]
WHOLE = "".join(ANSWER)


@SERVERS
async def test_a_piped_question_prints_its_answer_and_nothing_else(server: Server) -> None:
    """The first model is asked, with the system's instructions and the key."""
    async with server() as seen:
        outcome = await diglot(
            *("chat", *seen.options, "--system", "Be brief."),
            stdin="Grüß mich\n".encode(),
            environ={"DIGLOT_API_KEY": "dg-key"},
        )
    assert (outcome.code, outcome.out, outcome.err) == (0, WHOLE + "\n", "")
    assert seen.asked == [[("system", "Be brief."), ("user", "Grüß mich")]]
    assert seen.asked_of == ["org/first"]
    assert seen.authorizations == ["Bearer dg-key"] * 2


@SERVERS
async def test_a_model_and_a_key_file_can_be_named(server: Server, tmp_path: Path) -> None:
    """Then nobody is asked for the models."""
    (tmp_path / "key").write_text("dg-filed\n")
    async with server() as seen:
        outcome = await diglot(
            *("chat", *seen.options, "--model", "second", "--key-file", str(tmp_path / "key")),
            stdin=b"Hi",
        )
    assert (outcome.code, outcome.out) == (0, WHOLE + "\n")
    assert seen.asked_of == ["second"]
    assert seen.authorizations == ["Bearer dg-filed"]


@SERVERS
@pytest.mark.parametrize(
    ("question", "out", "says"),
    [
        ("refuse", "", ["No such [31mmodel."]),
        ("fail", "Half\n", ["It broke."]),
        ("", "", ["standard input has no question"]),
    ],
)
async def test_failures_are_one_readable_line(
    server: Server, question: str, out: str, says: list[str]
) -> None:
    """Without a traceback, and with what came before them."""
    async with server() as seen:
        outcome = await diglot("chat", *seen.options, stdin=question.encode())
    assert (outcome.code, outcome.out) == (1, out)
    (line,) = outcome.err.splitlines()
    assert line.startswith("diglot: ")
    assert all(words in line for words in says)


@pytest.mark.parametrize(
    ("question", "says"),
    [
        ("cut", "the connection broke before the answer was complete"),
        ("garbage", "the server sent something that is no piece of an answer"),
        ("whole", "does not stream its answer"),
    ],
)
async def test_http_streams_that_are_none(question: str, says: str) -> None:
    """An answer that just ends is not taken for a whole one."""
    async with http_server() as seen:
        outcome = await diglot("chat", *seen.options, stdin=question.encode())
    assert outcome.code == 1
    assert says in outcome.err


@pytest.mark.parametrize(
    ("scheme", "option"), [("http://", "--http"), ("https://", "--http"), ("", "--grpc")]
)
async def test_a_server_that_is_not_there(scheme: str, option: str) -> None:
    """The operating system's reason is told, and where we tried."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))  # bound and not listening: nobody else gets it either
        place = f"{scheme}127.0.0.1:{free.getsockname()[1]}"
        outcome = await diglot("chat", option, place, stdin=b"Hi")
    assert outcome.code == 1
    assert outcome.err.count("\n") == 1
    assert "Connection refused" in outcome.err


async def test_a_grpc_port_is_no_http_server() -> None:
    async with grpc_server() as seen:
        place = seen.options[seen.options.index("--grpc") + 1]
        outcome = await diglot("chat", "--http", place, stdin=b"Hi")
    assert outcome.code == 1
    assert outcome.err == (
        f"diglot: http://{place} is no HTTP server; if it is a gRPC port, use --grpc\n"
    )


@pytest.mark.parametrize(
    ("arguments", "environ", "says"),
    [
        (["--http", "ftp://x"], {}, "--http ftp://x is not a URL like"),
        (["--http", "x:y"], {}, "--http x:y is not a URL like"),
        (["--key-file", "/nonexistent"], {}, "cannot read /nonexistent: No such file"),
        (["--key-file", "/dev/null"], {}, "/dev/null is empty"),
        ([], {"DIGLOT_API_KEY": "two\nlines"}, "more than one line"),
        (["--tls-cert", "/dev/null"], {}, "--tls-cert and --tls-key go together"),
        (["--tls-ca", "/nonexistent"], {}, "cannot read /nonexistent"),
    ],
)
def test_options_that_cannot_be(arguments: list[str], environ: dict[str, str], says: str) -> None:
    """Told before any question is asked."""
    outcome = called("chat", *arguments, environ=environ)
    assert outcome.code == 1
    assert says in outcome.err
    assert "two" not in outcome.err


@SERVERS
async def test_a_conversation(server: Server) -> None:
    """Every question carries what was said; /reset forgets it, the instructions excepted."""
    async with server() as seen, terminal("chat", *seen.options, "--system", "S") as tty:
        await tty.see("org/first at ")
        for question in ("one", "two", "/reset", "three", "/nothing", "/quit"):
            await tty.see("> ")
            tty.type(f"{question}\n")
            if question in ("one", "two", "three"):
                await tty.see(WHOLE)
            if question == "/nothing":
                await tty.see("there is no /nothing, only /reset and /quit")
        assert await tty.ended() == 0
    system, answer = ("system", "S"), ("assistant", WHOLE)
    assert seen.asked == [
        [system, ("user", "one")],
        [system, ("user", "one"), answer, ("user", "two")],
        [system, ("user", "three")],
    ]


@SERVERS
async def test_ctrl_c_stops_an_answer_and_then_the_chat(server: Server) -> None:
    """The server learns at once; what was said stays said; at the prompt it is the end."""
    async with server() as seen, terminal("chat", *seen.options) as tty:
        await tty.see("> ")
        tty.type("forever\n")
        await tty.see("Half")
        tty.type("\x03")
        await seen.gone.wait()
        await tty.see("stopped")
        await tty.see("> ")
        tty.type("go on\n")
        await tty.see(WHOLE)
        await tty.see("> ")
        assert await tty.ended_by_ctrl_c() == 130
    assert seen.asked[1] == [("user", "forever"), ("assistant", "Half"), ("user", "go on")]


@SERVERS
async def test_ctrl_c_ends_a_piped_question(server: Server) -> None:
    """Cancelled at the server too, and without a traceback."""
    async with server() as seen, terminal("chat", *seen.options, stdin=b"forever") as tty:
        await tty.see("Half")
        tty.type("\x03")
        await seen.gone.wait()
        assert await tty.ended() == 130
        assert "Traceback" not in tty.rest


@SERVERS
async def test_a_failure_does_not_end_the_chat(server: Server) -> None:
    """And a question without an answer was never asked."""
    async with server() as seen, terminal("chat", *seen.options) as tty:
        await tty.see("> ")
        tty.type("refuse\n")
        await tty.see("error: ")
        await tty.see("> ")
        tty.type("again\n")
        await tty.see(WHOLE)
        await tty.see("> ")
        tty.type("\x04")
        assert await tty.ended() == 0
    assert seen.asked[1] == [("user", "again")]


@SERVERS
async def test_what_a_terminal_shows_besides_the_answer(server: Server) -> None:
    """Thoughts are dimmed, a cut is told, and no answer gets to move the cursor."""
    async with server() as seen, terminal("chat", *seen.options) as tty:
        await tty.see("> ")
        tty.type("think\n")
        await tty.see("\x1b[2mHm. \x1b[0m")
        await tty.see(WHOLE)
        await tty.see("> ")
        tty.type("long\n")
        await tty.see("the answer was cut off: no more tokens")
        await tty.see("> ")
        tty.type("escape\n")
        await tty.see("a[2Jb")


async def test_the_last_questions_can_be_called_back() -> None:
    """As in every shell: the arrow key shows what was typed before."""
    environ = {"TERM": "xterm"}
    async with http_server() as seen, terminal("chat", *seen.options, environ=environ) as tty:
        await tty.see("> ")
        tty.type("once\n")
        await tty.see(WHOLE)
        await tty.see("> ")
        tty.type("\x1b[A\n")
        await tty.see(WHOLE)
    assert seen.asked[1][-1] == ("user", "once")


async def test_https_with_a_certificate_of_ones_own(tmp_path: Path) -> None:
    """Trusted if --tls-ca says so, and otherwise refused in a line."""
    tls = self_signed(tmp_path, "server")
    async with http_server(tls) as seen:
        trusting = await diglot("chat", *seen.options, "--tls-ca", str(tls[0]), stdin=b"Hi")
        wary = await diglot("chat", *seen.options, stdin=b"Hi")
    assert trusting.out == WHOLE + "\n"
    assert (wary.code, wary.out) == (1, "")
    assert "certificate verify failed" in wary.err
    assert wary.err.count("\n") == 1


async def test_grpc_with_certificates_on_both_sides(tmp_path: Path) -> None:
    """mTLS: ours is shown when it is given."""
    tls = self_signed(tmp_path, "both")
    ca, cert, key = (
        ["--tls-ca", str(tls[0])],
        ["--tls-cert", str(tls[0])],
        ["--tls-key", str(tls[1])],
    )
    async with grpc_server(tls) as seen:
        shown = await diglot("chat", *seen.options, *ca, *cert, *key, stdin=b"Hi")
        hidden = await diglot("chat", *seen.options, *ca, stdin=b"Hi")
    assert shown.out == WHOLE + "\n"
    assert (hidden.code, hidden.out) == (1, "")
    assert hidden.err.startswith("diglot: UNAVAILABLE: ")


async def test_a_server_without_models_is_told() -> None:
    """Before a first question."""
    async with http_server() as seen:
        seen.models.clear()
        outcome = await diglot("chat", *seen.options, stdin=b"Hi")
    assert outcome.code == 1
    assert "offers no model" in outcome.err


async def test_a_url_with_v1_is_taken_too() -> None:
    """People paste what they gave an OpenAI client."""
    async with http_server() as seen:
        outcome = await diglot("chat", "--http", f"{seen.options[1]}/v1/", stdin=b"Hi")
    assert outcome.out == WHOLE + "\n"
