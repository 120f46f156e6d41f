"""How many threads a model gets, where nobody says."""

from __future__ import annotations

from pathlib import Path

import pytest

from diglot.service.embedded.cores import usable_cores


@pytest.mark.parametrize(
    ("quota", "at_most"), [("100000 100000", 1), ("50000 100000", 1), ("150000 100000", 2)]
)
def test_a_containers_quota_counts(quota: str, at_most: int, tmp_path: Path) -> None:
    (tmp_path / "cpu.max").write_text(quota + "\n")
    assert 1 <= usable_cores(tmp_path / "cpu.max") <= at_most


@pytest.mark.parametrize("content", ["max 100000\n", "", "garbage"])
def test_without_one_all_cores_do(content: str, tmp_path: Path) -> None:
    (tmp_path / "cpu.max").write_text(content)
    assert usable_cores(tmp_path / "cpu.max") == usable_cores(tmp_path / "missing")
