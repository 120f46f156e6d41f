"""The dependency rule: the façade and the service know the contract, and not each other."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
# The only place that knows both.
COMPOSITION_ROOT = Path("service/command/serve.py")
FOREIGN = {"facade": "service", "service": "facade"}

SOURCES = sorted(
    path.relative_to(ROOT) for package in FOREIGN for path in (ROOT / package).rglob("*.py")
)


def imports(source: str, package: tuple[str, ...]) -> Iterator[str]:
    """The full names of all modules that the source may import, inside functions too."""
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Import(names=names):
                yield from (alias.name for alias in names)
            case ast.ImportFrom(module=module, names=names, level=level):
                base = package[: len(package) - level + 1] if level else ()
                origin = ".".join((*base, *([module] if module else [])))
                yield origin
                # `from diglot import facade` names a module, too.
                yield from (f"{origin}.{alias.name}" for alias in names)
            case ast.Call(
                func=ast.Name(id="import_module" | "__import__")
                | ast.Attribute(attr="import_module"),
                args=[ast.Constant(value=str(name)), *_],
            ):
                yield name


def crossings(path: Path) -> list[str]:
    """What the module imports of the other side."""
    top = path.parts[0]
    foreign = FOREIGN[top]
    package = ("diglot", *path.parent.parts)
    return [
        name
        for name in imports((ROOT / path).read_text(), package)
        if f"{name}.".startswith((f"diglot.{foreign}.", f"{foreign}."))
    ]


@pytest.mark.parametrize("path", SOURCES, ids=str)
def test_neither_side_knows_the_other(path: Path) -> None:
    if path == COMPOSITION_ROOT:
        assert crossings(path), "the exception is not needed any more"
    else:
        assert crossings(path) == []


@pytest.mark.parametrize(
    "source",
    [
        "import diglot.facade",
        "import diglot.facade.app as app",
        "from diglot import facade",
        "from diglot.facade.errors import Refusal",
        "def f():\n    from ..facade import app",
        "from .. import facade",
        "import importlib\nimportlib.import_module('diglot.facade.app')",
        "if TYPE_CHECKING:\n    from diglot.facade import Channel",
    ],
)
def test_the_rule_sees_every_way_to_import(source: str) -> None:
    found = imports(source, ("diglot", "service"))
    assert any(f"{name}.".startswith("diglot.facade.") for name in found)
