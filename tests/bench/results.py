"""What was measured last, kept as data: the plots and the README's tables are made of it."""

from __future__ import annotations

import json
from pathlib import Path

from .table import Table

DIRECTORY = Path(__file__).parent / "results"


def save(directory: Path, name: str, machine: dict[str, str], tables: list[Table]) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    content = {"machine": machine, "tables": [table.json() for table in tables]}
    text = json.dumps(content, indent=1, ensure_ascii=False)
    (directory / f"{name}.json").write_text(text + "\n")


class Results:
    """All of a directory's."""

    def __init__(self, directory: Path = DIRECTORY) -> None:
        self._files = {
            file.stem: json.loads(file.read_text()) for file in sorted(directory.glob("*.json"))
        }

    @property
    def names(self) -> list[str]:
        return list(self._files)

    def machine(self, name: str) -> dict[str, str]:
        machine: dict[str, str] = self._files[name]["machine"]
        return machine

    def tables(self, name: str) -> list[Table]:
        """Empty if it was not run."""
        return [Table.of_json(table) for table in self._files.get(name, {}).get("tables", ())]

    def table(self, name: str, title: str) -> Table | None:
        return next((each for each in self.tables(name) if each.title == title), None)

    def number(self, name: str, title: str, row: str, column: str) -> float | None:
        """The median of one cell."""
        table = self.table(name, title)
        return None if table is None else table.number(row, column)
