"""The entry point: finds the sub-command, and turns what comes of it into an exit code.

0 done · 1 could not be done · 2 asked wrongly · 130 stopped with Ctrl-C
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence


class _Version(argparse.Action):
    """Looks the version up only when asked: that takes longer than all else here."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        from importlib.metadata import version

        print(f"diglot {version('diglot')}")
        parser.exit()


def main(argv: Sequence[str] | None = None) -> int:
    try:
        return _run(argv)
    except KeyboardInterrupt:  # also while the rest of us is being imported
        return 130


def _run(argv: Sequence[str] | None) -> int:
    from .arguments import Failure

    arguments = _parser().parse_args(argv)
    try:
        status: int = arguments.run(arguments)
        sys.stdout.flush()
    except Failure as failure:
        print(f"diglot: {failure}", file=sys.stderr)
        return 1
    except BrokenPipeError:
        # Whoever read our output has left; Python would say so once more at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    return status


def _parser() -> argparse.ArgumentParser:
    from . import chat, config, key, model, start

    parser = argparse.ArgumentParser(
        prog="diglot",
        description="One chat-completion service with two faces: gRPC inside, OpenAI's API"
        " outside. `diglot serve` is all it takes to begin.",
    )
    parser.add_argument("--version", action=_Version, nargs=0, help="print the version and exit")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for module in (start, chat, model, key, config):
        module.register(commands)
    return parser
