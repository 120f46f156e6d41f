"""Writes the Python stubs of proto/ beside their sources.

`make proto` runs this, and so does every build of the package (setup.py), so that a
clone and a wheel carry the same stubs, made by the same versions (pyproject.toml pins
them). mypy-protobuf makes the types: unlike protoc's own, its stubs carry the contract's
comments as docstrings and type the gRPC stubs and servicers too.
"""

from __future__ import annotations

import shutil
import sys
import sysconfig
from importlib.resources import files
from pathlib import Path

from grpc_tools import protoc

ROOT = Path(__file__).parent


def generate() -> None:
    sources = sorted(str(path.relative_to(ROOT)) for path in ROOT.glob("diglot/v1/*.proto"))
    code = protoc.main(
        [
            "protoc",
            f"--proto_path={ROOT}",
            f"--proto_path={files('grpc_tools') / '_proto'}",
            f"--plugin={_plugin('protoc-gen-mypy')}",
            f"--plugin={_plugin('protoc-gen-mypy_grpc')}",
            f"--python_out={ROOT}",
            f"--mypy_out=quiet:{ROOT}",
            f"--grpc_python_out={ROOT}",
            f"--mypy_grpc_out=quiet:{ROOT}",
            *sources,
        ]
    )
    if code:
        sys.exit(code)
    # A message-only file gets an empty gRPC stub; it would only puzzle who lists the folder.
    for source in sources:
        if not any(
            line.startswith("service ") for line in (ROOT / source).read_text().splitlines()
        ):
            for suffix in ("_pb2_grpc.py", "_pb2_grpc.pyi"):
                (ROOT / source.replace(".proto", suffix)).unlink(missing_ok=True)


def _plugin(name: str) -> str:
    found = shutil.which(name) or shutil.which(name, path=sysconfig.get_path("scripts"))
    if found is None:
        sys.exit(f"{name} is missing: pip install mypy-protobuf")
    return f"{name}={found}"


if __name__ == "__main__":
    generate()
