"""`diglot key`: who may call. A running server knows a new key with the next call, and refuses a
revoked one within a tenth of a second."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from .arguments import Failure, add_config, add_state, state_of, table

if TYPE_CHECKING:
    from ..keys import KeyRing
    from .arguments import Commands


def register(commands: Commands) -> None:
    parser = commands.add_parser("key", help="add, list and revoke API keys", description=__doc__)
    actions = parser.add_subparsers(title="actions", metavar="ACTION", required=True)

    add = actions.add_parser(
        "add",
        help="make a key",
        description="Makes a key and prints it, and nothing else. It is not kept and cannot be"
        " shown again.",
    )
    add.add_argument("name", metavar="NAME", help="a label: whose key, or for what")
    add.add_argument(
        "--models",
        metavar="NAME,…",
        help="the only models that it may use: names or aliases, or their beginnings, as in"
        " 'gpt*' (default: all)",
    )
    add.add_argument(
        "--replace",
        action="store_true",
        help="revoke the keys that have this name already (default: they stay good)",
    )
    add.set_defaults(run=_add)

    show = actions.add_parser("list", help="list the keys", description="Lists the keys.")
    show.set_defaults(run=_list)

    revoke = actions.add_parser(
        "revoke",
        help="revoke keys",
        description="Revokes the key of an id, or all keys of a name.",
    )
    revoke.add_argument(
        "name", metavar="NAME|ID", help="as `diglot key list` shows it; a key begins dg-ID-"
    )
    revoke.set_defaults(run=_revoke)

    for action in (add, show, revoke):
        add_state(action)
        add_config(action)


def _add(arguments: argparse.Namespace) -> int:
    from ..keys import KeyRing, KeyRingError
    from ..model_names import ModelNames

    try:
        models = None if arguments.models is None else ModelNames.listed(arguments.models)
    except ValueError as error:
        raise Failure(f'--models: found "{arguments.models}"; {error}') from error
    try:
        ring = KeyRing(_file(arguments))
        print(ring.add(arguments.name, models, in_place_of_others=arguments.replace))
    except KeyRingError as error:
        raise Failure(str(error)) from error
    return 0


def _list(arguments: argparse.Namespace) -> int:
    from ..keys import KeyRingError

    try:
        keys = _ring(arguments).list()
    except KeyRingError as error:
        raise Failure(str(error)) from error
    rows = [
        (each.id, each.name, f"{each.created:%Y-%m-%d %H:%M:%S} UTC", str(each.models or "*"))
        for each in keys
    ]
    print(table([("ID", "NAME", "CREATED", "MODELS"), *rows]))
    return 0


def _revoke(arguments: argparse.Namespace) -> int:
    from ..keys import KeyRingError

    try:
        count = _ring(arguments).revoke(arguments.name)
    except KeyRingError as error:
        raise Failure(str(error)) from error
    if not count:
        raise Failure(f"no key has the name or id {arguments.name}; `diglot key list` shows all")
    print(f"revoked {count} key{'s' * (count > 1)}")
    return 0


def _ring(arguments: argparse.Namespace) -> KeyRing:
    """Where there may be keys: to look for them elsewhere is a mistake."""
    from ..keys import KeyRing

    file = _file(arguments)
    if not file.parent.is_dir():
        raise Failure(f"there are no keys: there is no directory {file.parent}")
    return KeyRing(file)


def _file(arguments: argparse.Namespace) -> Path:
    from ..state import keys_file

    state = state_of(arguments)
    try:
        return keys_file(state, arguments.config)
    except (OSError, ValueError) as error:
        raise Failure(f"cannot read the configuration: {error}") from error
