"""API keys: real files, and other processes that change them."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from diglot.service.errors import InvalidKey
from diglot.service.keys import Caller, KeyRing, KeyRingError
from diglot.service.model_names import ModelNames

COMMAND = (sys.executable, "-m", "diglot.service.command")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "keys.json"


@pytest.fixture
def ring(path: Path) -> KeyRing:
    return KeyRing(path)


@pytest.fixture
def later(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Lets a tenth of a second pass; none does otherwise."""
    now = 100.0

    def later() -> None:
        nonlocal now
        now += 0.1

    monkeypatch.setattr("diglot.service.keys.monotonic", lambda: now)
    return later


def diglot(*arguments: str, state: Path) -> str:
    """What the command prints, run as a process of its own."""
    run = [*COMMAND, *arguments, "--state", str(state)]
    return subprocess.run(run, check=True, capture_output=True, text=True).stdout


def test_a_key_names_its_caller(ring: KeyRing) -> None:
    """A key has the documented form and finds the record that it was made with."""
    key = ring.add("billing service")
    assert re.fullmatch(r"dg-[0-9a-f]{8}-[A-Za-z0-9_-]{43}", key)
    (record,) = ring.list()
    assert ring.authenticate(f"Bearer {key}") == Caller(record.id, "billing service")
    assert key[3:11] == record.id


def test_a_key_may_be_limited_to_models(ring: KeyRing, path: Path) -> None:
    """Kept in the file, and known again by who reads it."""
    models = ModelNames.listed("gpt, open*")
    limited, free = ring.add("a", models), ring.add("b")
    again = KeyRing(path)
    assert again.authenticate(f"Bearer {limited}").models == models
    assert again.authenticate(f"Bearer {free}").models is None
    assert [record.models for record in again.list()] == [models, None]


def test_keys_of_a_file_from_before_there_were_limits_have_none(ring: KeyRing, path: Path) -> None:
    key = ring.add("a")
    assert set(json.loads(path.read_text())["keys"][0]) == {"id", "name", "created", "sha256"}
    assert ring.authenticate(f"Bearer {key}").models is None


@pytest.mark.parametrize("models", ["gpt", [], [1], [""], ["a*b"], {}, False])
def test_a_limit_that_cannot_be_read_lets_nobody_in(
    ring: KeyRing, path: Path, models: object
) -> None:
    """Taken for none, it would let its key use every model."""
    key = ring.add("a")
    entry = json.loads(path.read_text())
    entry["keys"][0]["models"] = models
    path.write_text(json.dumps(entry))
    with pytest.raises(InvalidKey):
        KeyRing(path).authenticate(f"Bearer {key}")
    with pytest.raises(KeyRingError, match="no key file"):
        ring.list()


@pytest.mark.parametrize("scheme", ["Bearer ", "bearer ", "BEARER ", "Bearer   ", "  Bearer "])
def test_the_scheme_has_no_case(ring: KeyRing, scheme: str) -> None:
    """RFC 9110: schemes are compared without regard to case."""
    assert ring.authenticate(scheme + ring.add("a") + " ").name == "a"


@pytest.mark.parametrize(
    ("authorization", "says"),
    [
        (None, "No API key was sent"),
        ("", "No API key was sent"),
        ("   ", "Bearer KEY"),
        ("Bearer", "Incorrect API key"),
        ("Bearer ", "Incorrect API key"),
        ("Basic {key}", "Bearer KEY"),
        ("{key}", "Bearer KEY"),
        ("Bearer {key}x", "Incorrect API key"),
        ("Bearer {key} x", "Incorrect API key"),
        ("Bearer {cut}", "Incorrect API key"),
        ("Bearer dg-00000000-{secret}", "Incorrect API key"),
        ("Bearer {id}", "Incorrect API key"),
        ("Bearer \udcff", "Incorrect API key"),
    ],
)
def test_what_is_no_key_is_refused(ring: KeyRing, authorization: str | None, says: str) -> None:
    """The refusal says what is missing, and repeats nothing of what came."""
    key = ring.add("a")
    sent = authorization and authorization.format(
        key=key, cut=key[:-1], secret=key[12:], id=key[:12]
    )
    with pytest.raises(InvalidKey, match=says) as refused:
        ring.authenticate(sent)
    assert key[12:30] not in str(refused.value)


@given(st.text() | st.text().map("Bearer {}".format) | st.text().map("bearer dg-{}".format))
def test_nothing_but_a_refusal_comes_of_any_text(text: str) -> None:
    """Headers hold whatever strangers put there."""
    with pytest.raises(InvalidKey):
        KeyRing(Path("/nonexistent/keys.json")).authenticate(text)


def test_the_file_keeps_no_key(ring: KeyRing, path: Path) -> None:
    """Only a hash is kept, and only its owner may read even that."""
    key = ring.add("a")
    text = path.read_text()
    assert key[12:] not in text
    assert hashlib.sha256(key.encode()).hexdigest() in text
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert {each.name for each in path.parent.iterdir()} == {"keys.json", "keys.lock"}


def test_a_name_may_be_given_twice_and_is_revoked_as_one(ring: KeyRing) -> None:
    """Names are labels; ids tell the keys of one name apart."""
    first, second, other = ring.add("ci"), ring.add("ci"), ring.add("laptop")
    assert [each.name for each in ring.list()] == ["ci", "ci", "laptop"]
    assert ring.revoke(first[3:11]) == 1
    with pytest.raises(InvalidKey):
        ring.authenticate(f"Bearer {first}")
    assert ring.authenticate(f"Bearer {second}").name == "ci"
    ring.add("ci")
    assert ring.revoke("ci") == 2
    assert ring.revoke("ci") == 0
    assert ring.authenticate(f"Bearer {other}").name == "laptop"


@pytest.mark.parametrize("name", ["", "x" * 65, "a\nb", " a", "a\x1b[31m", "\udcff"])
def test_a_name_must_fit_a_line(ring: KeyRing, name: str) -> None:
    """A name is printed in tables and logs."""
    with pytest.raises(KeyRingError, match="1 to 64 printable"):
        ring.add(name)
    assert ring.list() == ()


def test_the_first_key_is_made_once(ring: KeyRing, path: Path) -> None:
    """A restart makes none, not even after every key was revoked."""
    assert ring.add_first("first") is not None
    assert KeyRing(path).add_first("first") is None
    assert ring.revoke("first") == 1
    assert ring.add_first("first") is None
    assert ring.list() == ()


@pytest.mark.parametrize("damaged", ["", "{", "[]", '{"keys": 5}'])
def test_a_server_does_not_start_with_a_damaged_file(
    ring: KeyRing, path: Path, damaged: str
) -> None:
    """It would be ready, and refuse everybody as mistyped. One that runs keeps the keys it has."""
    ring.add("a")
    path.write_text(damaged)
    with pytest.raises(KeyRingError, match="is no key file"):
        ring.add_first("first")


def test_another_process_adds_and_revokes(
    ring: KeyRing, path: Path, later: Callable[[], None]
) -> None:
    """A serving process knows a new key at once, and for how long it may know an old one."""
    old = ring.add("old")
    assert ring.authenticate(f"Bearer {old}").name == "old"
    key = diglot("key", "add", "new", state=path.parent).strip()
    assert ring.authenticate(f"Bearer {key}").name == "new"
    diglot("key", "revoke", "new", state=path.parent)
    assert ring.authenticate(f"Bearer {key}").name == "new"
    later()
    with pytest.raises(InvalidKey):
        ring.authenticate(f"Bearer {key}")


def test_whatever_is_no_key_shows_what_was_revoked(
    ring: KeyRing, path: Path, later: Callable[[], None]
) -> None:
    """The file is looked at for each of them."""
    key = ring.add("a")
    assert ring.authenticate(f"Bearer {key}").name == "a"
    KeyRing(path).revoke("a")
    for wrong in (f"{key}x", key):
        with pytest.raises(InvalidKey):
            ring.authenticate(f"Bearer {wrong}")


def test_commands_at_once_lose_nothing(ring: KeyRing, path: Path) -> None:
    """Each of many processes that add at the same time finds its key kept."""
    run = [*COMMAND, "key", "add", "--state", str(path.parent)]
    processes = [
        subprocess.Popen([*run, f"n{number}"], stdout=subprocess.PIPE, text=True)
        for number in range(12)
    ]
    keys = [process.communicate()[0].strip() for process in processes]
    assert len(ring.list()) == 12
    names = {ring.authenticate(f"Bearer {key}").name for key in keys}
    assert names == {f"n{number}" for number in range(12)}


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"garbage",
        b"\xff\xfe",
        b"[]",
        b'{"keys": 5}',
        b'{"keys": [{"id": "x"}]}',
        b'{"keys": ["abc"]}',
        b'{"keys": [{"id": 5, "name": "a", "sha256": "00", "created": ""}]}',
        b"[" * 100_000,
    ],
)
def test_garbage_keeps_the_keys_known(
    ring: KeyRing,
    path: Path,
    text: bytes,
    later: Callable[[], None],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A spoilt file locks nobody out who was in, says so once, and is taken up when mended."""
    key = ring.add("a")
    ring.authenticate(f"Bearer {key}")
    good = path.read_bytes()
    path.write_bytes(text)
    for _ in range(3):
        later()
        assert ring.authenticate(f"Bearer {key}").name == "a"
    assert [each.levelno for each in caplog.records] == [logging.ERROR]
    with pytest.raises(KeyRingError, match="no key file"):
        ring.add("b")
    assert path.read_bytes() == text

    entry = json.loads(good)
    entry["keys"][0]["name"] = "mended"
    path.write_text(json.dumps(entry))
    later()
    assert ring.authenticate(f"Bearer {key}").name == "mended"


def test_an_unreadable_file_keeps_the_keys_known(
    ring: KeyRing, path: Path, later: Callable[[], None], caplog: pytest.LogCaptureFixture
) -> None:
    """Neither does one that cannot be opened; here because a directory is in its place."""
    key = ring.add("a")
    ring.authenticate(f"Bearer {key}")
    path.rename(path.with_name("aside"))
    path.mkdir()
    for _ in range(3):
        later()
        assert ring.authenticate(f"Bearer {key}").name == "a"
    assert [each.levelno for each in caplog.records] == [logging.ERROR]
    path.rmdir()
    path.with_name("aside").rename(path)
    assert ring.revoke("a") == 1
    with pytest.raises(InvalidKey):
        ring.authenticate(f"Bearer {key}")


def test_removing_the_file_removes_the_keys(
    ring: KeyRing, path: Path, later: Callable[[], None]
) -> None:
    """Replacing never leaves a gap: a missing file is meant."""
    key = ring.add("a")
    ring.authenticate(f"Bearer {key}")
    path.unlink()
    later()
    with pytest.raises(InvalidKey):
        ring.authenticate(f"Bearer {key}")


def test_a_state_directory_that_cannot_be_made_is_an_error(tmp_path: Path) -> None:
    """Told to the operator as text, not as a traceback."""
    (tmp_path / "file").touch()
    with pytest.raises(KeyRingError, match=r"file cannot be made: .*; choose another with --state"):
        KeyRing(tmp_path / "file" / "keys.json").add("a")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_root_leaves_the_file_to_the_account_that_serves(ring: KeyRing, path: Path) -> None:
    """`sudo diglot key add` must not make the file unreadable to the server."""
    path.parent.mkdir()
    os.chown(path.parent, 65534, 65534)
    ring.add("a")
    assert {each.stat().st_uid for each in path.parent.iterdir()} == {65534}
