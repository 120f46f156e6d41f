"""What several sub-commands ask of the command line, and how they give up."""

from __future__ import annotations

import argparse
import os
import socket
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..config import Address

    Commands = argparse._SubParsersAction[argparse.ArgumentParser]


class Failure(Exception):
    """The command cannot do what it was asked; the text is all that the person is told."""


def cannot_listen(address: Address, error: OSError) -> Failure:
    why = error.strerror or str(error)
    if error.errno and not isinstance(error, socket.gaierror):
        why = os.strerror(error.errno)  # the event loop's own words say the address again
    return Failure(f"cannot listen on {address}: {why}")


def address(text: str) -> Address:
    from ..config import Address

    try:
        return Address.parse(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f'"{text}" {error}') from None


def add_config(parser: argparse._ActionsContainer) -> None:
    parser.add_argument("--config", metavar="FILE", type=Path, help="the configuration, in TOML")


def add_state(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--state",
        metavar="DIR",
        type=_directory,
        help="where keys and models are kept (default: DIGLOT_STATE, else what the configuration"
        " says, else ~/.local/state/diglot)",
    )


def _directory(text: str) -> str:
    if not text:
        raise argparse.ArgumentTypeError("is empty; name a directory, or leave it out")
    return text


def state_of(arguments: argparse.Namespace) -> Path:
    """The state directory that `add_config` and `add_state` asked for."""
    from ..state import state_directory

    try:
        return state_directory(arguments.state, arguments.config)
    except (OSError, ValueError) as error:
        raise Failure(f"cannot read the configuration: {error}") from error


def table(rows: Sequence[tuple[str, ...]]) -> str:
    """Columns as wide as their longest cell."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ("  ".join(map(str.ljust, row, widths)).rstrip() for row in rows)
    return "\n".join(lines)
