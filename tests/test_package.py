"""What `pip install .` installs: the contract included, generated on the way."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

ROOT = Path(__file__).parent.parent


async def test_a_wheel_from_a_clean_clone_carries_the_contract(tmp_path: Path) -> None:
    """So that an internal service can depend on `diglot.v1`. Built from what git tracks or will."""
    clone = tmp_path / "clone"
    tracked = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    ).stdout.split("\0")
    for name in filter(None, tracked):
        if (ROOT / name).exists():
            (clone / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, clone / name, follow_symlinks=False)
    assert not list(clone.rglob("*_pb2.py"))
    options = ("--quiet", "--no-deps", "--no-build-isolation", "--wheel-dir", str(tmp_path))
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "pip", "wheel", *options, str(clone), stderr=asyncio.subprocess.PIPE
    )
    _, err = await process.communicate()
    assert process.returncode == 0, err.decode()
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    stem = "diglot/v1/chat"
    assert {f"{stem}.proto", f"{stem}_pb2.py", f"{stem}_pb2.pyi", f"{stem}_pb2_grpc.py"} <= names
    assert {"diglot/v1/py.typed", "diglot/service/chat.py", "diglot/facade/app.py"} <= names
    # Found by their path, not by import.
    assert "diglot/service/store/migrations/env.py" in names
    assert any(name.startswith("diglot/service/store/migrations/versions/0001") for name in names)
    assert not [name for name in names if not name.startswith("diglot")]
