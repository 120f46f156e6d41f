"""The log's way out: pipes, terminals and files, with readers and without."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from io import FileIO
from pathlib import Path
from typing import Protocol

import aiohttp
import pytest
from scrape import Scrape
from serving_process import READY
from terminal import COMMAND, environment

from diglot.service.log_stream import LogStream

LINE = b"x" * 99 + b"\n"


def told(count: int) -> bytes:
    return b"dropped %d\n" % count


class End(Protocol):
    """Closed a second time it stays closed, whoever has its number then."""

    def fileno(self) -> int: ...

    def close(self) -> None: ...


@contextmanager
def pipe() -> Iterator[tuple[End, End]]:
    reader, writer = os.pipe()
    with FileIO(reader, "r") as ours, FileIO(writer, "w") as theirs:
        yield ours, theirs


@contextmanager
def socket_pair() -> Iterator[tuple[End, End]]:
    """As systemd gives a service."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield ours, theirs


@contextmanager
def terminal() -> Iterator[tuple[End, End]]:
    reader, writer = os.openpty()
    with FileIO(reader, "r") as ours, FileIO(writer, "w") as theirs:
        yield ours, theirs


def written_until(stream: LogStream, lines: int) -> int:
    """How many lines it took until so many were dropped."""
    count = 0
    while stream.dropped < lines:
        stream.write(LINE)
        count += 1
    return count


def read_until(reader: End, end: bytes) -> bytes:
    text = b""
    while not text.endswith(end):
        text += os.read(reader.fileno(), 65536).replace(b"\r\n", b"\n")
    return text


@pytest.mark.parametrize("ends", [pipe, socket_pair, terminal])
def test_nobody_waits_for_a_reader_that_does_not_read(
    ends: Callable[[], AbstractContextManager[tuple[End, End]]],
) -> None:
    """What is too much is dropped, and told in its place; what waits keeps its order."""
    with ends() as (reader, writer):
        stream = LogStream(writer.fileno(), told, most_waiting=1000)
        stream.write(b"first\n")
        taken = written_until(stream, 3) - 3
        assert read_until(reader, b"dropped 3\n") == b"first\n" + taken * LINE + b"dropped 3\n"
        stream.flush()
        stream.write(b"last\n")
        assert read_until(reader, b"last\n") == b"last\n"
        assert stream.dropped == 3
        stream.close()


def test_a_line_that_is_longer_than_all_the_room_comes_whole() -> None:
    with pipe() as (reader, writer):
        stream = LogStream(writer.fileno(), told)
        long = b"y" * 300_000 + b"\n"
        stream.write(long)
        stream.write(b"next\n")
        assert read_until(reader, b"next\n") == long + b"next\n"
        stream.close()


def test_who_shares_the_descriptor_finds_it_as_it_was() -> None:
    with pipe() as (_, writer):
        stream = LogStream(writer.fileno(), told)
        stream.write(LINE)
        assert os.get_blocking(writer.fileno())
        stream.close()


def test_what_nobody_can_read_any_more_is_dropped() -> None:
    with pipe() as (reader, writer):
        stream = LogStream(writer.fileno(), told)
        reader.close()
        stream.write(LINE)
        assert stream.dropped == 1
        stream.close()


def test_a_file_takes_all(tmp_path: Path) -> None:
    with (tmp_path / "log").open("wb") as file:
        stream = LogStream(file.fileno(), told, most_waiting=1)
        for _ in range(1000):
            stream.write(LINE)
        stream.close()
    assert (tmp_path / "log").read_bytes() == 1000 * LINE


PROGRAM = """
import logging, sys
from diglot.service.logs import configure, dropped_lines
configure("text", "info")
logger = logging.getLogger("diglot.test")
for number in range(int(sys.argv[1])):
    logger.info("a line", extra={"number": number})
print(dropped_lines(), flush=True)
"""
COUNTED = (
    PROGRAM
    + """
from prometheus_client import generate_latest
from diglot.service.telemetry.exposition import registry
from diglot.service.telemetry.metrics import Metrics
print(generate_latest(registry(Metrics())).decode())
"""
)


def test_a_process_that_ends_leaves_no_line_behind() -> None:
    """If somebody reads, be it late."""
    command = [sys.executable, "-c", PROGRAM, "3000"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline() == b"0\n"
        lines = process.stderr.read().splitlines()
        assert [int(line.rpartition(b"=")[2]) for line in lines] == list(range(3000))
        assert process.wait() == 0


def test_a_process_that_ends_waits_for_no_reader_for_long() -> None:
    """What was dropped is counted, also for who asks for the metrics."""
    command = [sys.executable, "-c", COUNTED, "60000"]
    with pipe() as (_, writer):
        ended = subprocess.run(command, stdout=subprocess.PIPE, stderr=writer.fileno(), timeout=60)
        assert ended.returncode == 0
        count, _, metrics = ended.stdout.decode().partition("\n")
        assert int(count) > 30_000
        assert Scrape(metrics)("diglot_log_lines_dropped_total") == int(count)


def test_a_process_without_standard_error_goes_on() -> None:
    shell = f'exec {sys.executable} -c "$0" 10 2>&-'
    ended = subprocess.run(["sh", "-c", shell, PROGRAM], stdout=subprocess.PIPE, timeout=60)
    assert (ended.returncode, ended.stdout) == (0, b"0\n")


def test_how_many_were_dropped_is_a_line_of_the_log() -> None:
    """In its place among the others, once somebody reads."""
    program = PROGRAM + "import os; os.read(0, 1); logging.shutdown()"
    command = [sys.executable, "-c", program, "60000"]
    with (
        pipe() as (reader, writer),
        subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=writer.fileno()
        ) as process,
    ):
        assert process.stdin is not None
        assert process.stdout is not None
        dropped = int(process.stdout.readline())
        writer.close()
        lines = read_until(reader, b"=%d\n" % dropped).splitlines()
        process.stdin.close()
        assert process.wait() == 0
    assert b"WARNING logs: log lines dropped, as nobody read them" in lines[-1]
    assert len(lines) == 60_000 - dropped + 1


async def test_a_log_that_nobody_reads_stops_no_server(tmp_path: Path) -> None:
    """And what was written meanwhile is there when somebody does."""
    file = tmp_path / "diglot.toml"
    file.write_text(
        f'state = "{tmp_path}"\nauth.enabled = false\nstore.enabled = false\n'
        '[[models]]\nkind = "scripted"\n'
    )
    with pipe() as (reader, writer):
        process = await asyncio.create_subprocess_exec(
            *(*COMMAND, "serve", "--http", "127.0.0.1:0", "--grpc", "127.0.0.1:0"),
            *("--config", str(file)),
            stdout=asyncio.subprocess.PIPE,
            stderr=writer.fileno(),
            env=environment({}),
        )
        writer.close()
        try:
            assert process.stdout is not None
            said = b""
            while READY.encode() not in said:
                said += await process.stdout.readline()
            url = next(word for word in said.decode().split() if word.startswith("http://"))
            body = {"model": "scripted", "messages": [{"role": "user", "content": "hi"}]}
            names = [f"{number:03}-{'x' * 120}" for number in range(400)]
            async with aiohttp.ClientSession() as session:
                for name in names:
                    headers = {"x-request-id": name}
                    async with session.post(
                        f"{url}/chat/completions", json=body, headers=headers
                    ) as answer:
                        assert answer.status == 200
            log = bytearray()

            def read() -> None:
                while piece := os.read(reader.fileno(), 65536):
                    log.extend(piece)

            reading = threading.Thread(target=read)
            reading.start()
            process.terminate()
            assert await process.wait() == 0
            await asyncio.to_thread(reading.join)
            assert len(log) > 65536, "more than a pipe takes"
            assert [name for name in names if f" request_id={name} ".encode() not in log] == []
        finally:
            if process.returncode is None:
                process.kill()
            await process.communicate()
