"""The conversation, and the terminal that it is held on."""

from __future__ import annotations

import asyncio
import re
import signal
import sys
from collections.abc import Coroutine
from contextlib import aclosing
from typing import TypeVar

from ..arguments import Failure
from .server import Server, Turn

T = TypeVar("T")

# What could move a terminal's cursor, recolour it, or set its title. A model's text is not to.
_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
_COMMAND = re.compile(r"/[a-z]+")
_DIM, _PLAIN = "\x1b[2m", "\x1b[0m"
_CUT = {
    "length": "the answer was cut off: no more tokens",
    "content_filter": "the answer was cut off by a filter",
    "tool_calls": "the model asked for a tool; this chat has none",
}


def ask_once(server: Server, model: str | None, system: str | None) -> int:
    """Standard input is the question; the answer goes to standard output."""
    question = sys.stdin.read().strip()
    if not question:
        raise Failure("standard input has no question")
    with asyncio.Runner() as runner:
        conversation = Conversation(server, system)
        try:
            conversation.model = model or _run(runner, _first_model(server))
            _run(runner, conversation.ask(question))
        finally:
            runner.run(server.close())
    return 0


def converse(server: Server, model: str | None, system: str | None) -> int:
    """Until /quit, the end of input, or Ctrl-C at the prompt."""
    import readline  # gives input() a history and editing

    readline.set_auto_history(True)
    # The loop rests while a person types, so that Ctrl-C is then the prompt's, as usual.
    with asyncio.Runner() as runner:
        conversation = Conversation(server, system)
        try:
            conversation.model = model or _run(runner, _first_model(server))
            _say(f"{conversation.model} at {server.place}")
            _say("/reset begins anew, /quit ends, Ctrl-C stops an answer")
            while (line := _read_line()) is not None:
                match line.strip():
                    case "":
                        pass
                    case "/quit":
                        break
                    case "/reset":
                        conversation.reset()
                        _say("the conversation is forgotten")
                    case command if _COMMAND.fullmatch(command):
                        _say(f"there is no {command}, only /reset and /quit")
                    case question:
                        try:
                            _run(runner, conversation.ask(question))
                        except KeyboardInterrupt:
                            _say("\nstopped")
                        except Failure as failure:
                            _say(f"error: {failure}")
        finally:
            runner.run(server.close())
    return 0


class Conversation:
    """What was said so far. The model sees all of it with every question."""

    def __init__(self, server: Server, system: str | None) -> None:
        self.model = ""
        self._server = server
        self._start = [Turn("system", system)] if system else []
        self._turns = list(self._start)
        self._to_terminal = sys.stdout.isatty()

    def reset(self) -> None:
        self._turns = list(self._start)

    async def ask(self, question: str) -> None:
        """Prints the answer as it comes. What was said when it stopped stays said; a question
        that got no answer at all was never asked."""
        asked = [*self._turns, Turn("user", question)]
        said: list[str] = []
        finish = ""
        thinking = False
        try:
            async with aclosing(self._server.answer(self.model, asked)) as pieces:
                async for piece in pieces:
                    if piece.thought and self._to_terminal:
                        self._print(piece.thought, before="" if thinking else _DIM)
                        thinking = True
                    if piece.text:
                        self._print(piece.text, before=f"{_PLAIN}\n\n" if thinking else "")
                        said.append(piece.text)
                        thinking = False
                    finish = piece.finish or finish
        finally:
            if thinking:
                self._print("", before=_PLAIN)
            if said:
                self._turns = [*asked, Turn("assistant", "".join(said))]
                self._print("\n")
        if finish in _CUT:
            _say(_CUT[finish])

    def _print(self, text: str, before: str = "") -> None:
        if self._to_terminal:
            text = _CONTROLS.sub("", text)
        sys.stdout.write(before + text)
        sys.stdout.flush()


def _run(runner: asyncio.Runner, work: Coroutine[None, None, T]) -> T:
    """Ctrl-C cancels it, and becomes KeyboardInterrupt once it has cleaned up.

    The runner would do that by itself, but sees a signal that comes just before the loop
    begins to wait only when something else wakes the loop: in silence, never.
    """
    stopped = False

    async def stoppable() -> T:
        task = asyncio.current_task()
        assert task is not None

        def stop() -> None:
            nonlocal stopped
            stopped = True
            task.cancel()

        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGINT, stop)
        try:
            return await work
        finally:
            loop.remove_signal_handler(signal.SIGINT)

    try:
        return runner.run(stoppable())
    except asyncio.CancelledError:
        if stopped:
            raise KeyboardInterrupt from None
        raise


async def _first_model(server: Server) -> str:
    names = await server.models()
    if not names:
        raise Failure(f"{server.place} offers no model")
    return names[0]


def _read_line() -> str | None:
    """None at the end of input."""
    try:
        if sys.stdout.isatty():
            return input("> ")
        print("> ", end="", file=sys.stderr, flush=True)
        return input()
    except EOFError:
        _say("")
        return None


def _say(text: str) -> None:
    """What is not the answer: it must not get into a file that standard output goes to."""
    print(text, file=sys.stderr, flush=True)
