"""API keys: who may call.

A key is `dg-<id>-<secret>`: a public id of 8 hex digits that finds the record, and 256 random
bits. Kept is only a SHA-256 of the whole. A slow password hash would add nothing: what makes
passwords guessable is that people choose them, and nobody guesses 256 random bits. It would
only cost every call its time.

The keys of a state directory stand in one JSON file, which the `diglot key` commands replace
while servers read it. A key that was added is good from the next call on; one that was revoked
is refused within a tenth of a second.
"""

from __future__ import annotations

import fcntl
import hashlib
import hmac
import logging
import os
import secrets
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from time import monotonic

from .errors import InvalidKey
from .key_record import KeyRecord, Records, parse, written
from .model_names import ModelNames

log = logging.getLogger(__name__)

_ID = slice(3, 11)
_NAME_LENGTH = 64
# Seconds from one look at the file to the next, while the keys that come are known.
_UNSEEN = 0.1
# What an unknown id is compared with, so that it takes as long as a known one.
_NOBODY = secrets.token_bytes(32)


class KeyRingError(Exception):
    """The key file cannot be read or written, or a name cannot be a key's. Shown to operators."""


@dataclass(frozen=True, slots=True)
class Caller:
    """Who makes a call."""

    key_id: str
    name: str
    models: ModelNames | None = None
    """Those that it may use; None means all."""


# What tells one state of the file from the next; ctime because a chmod may make it readable.
_Stamp = tuple[int, int, int, int]


class KeyRing:
    """The keys in one file. No file is no keys."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._name = os.fspath(path)
        self._stamp: _Stamp | None = None
        self._look_again = 0.0
        self._fault: str | None = None
        self._callers: dict[str, tuple[bytes, Caller]] = {}

    def add(
        self, name: str, models: ModelNames | None = None, *, in_place_of_others: bool = False
    ) -> str:
        """Makes a key and returns it: the only time that anybody sees it.

        With `models`, no others are there for who uses it. It can be the only one of its name.
        """
        key, record = _new_key(name, models)

        def with_it(records: Records) -> Records:
            kept = (each for each in records if not in_place_of_others or each.name != name)
            return (*kept, record)

        self._change(with_it)
        return key

    def add_first(self, name: str) -> str | None:
        """Makes a key unless the file exists, also one from which all keys were revoked.

        Raises KeyRingError if it cannot be read: a server that starts would refuse everybody.
        """
        if self._path.exists():
            self._read()
            return None  # and no lock beside it, where nothing may be written
        key, record = _new_key(name)
        with self._locked():
            if self._path.exists():
                return None
            self._write((record,))
        return key

    def list(self) -> Records:
        """The keys, oldest first."""
        return self._read()

    def revoke(self, name_or_id: str) -> int:
        """Removes every key of that name or id, and says how many those were."""
        removed = 0

        def without(records: Records) -> Records:
            nonlocal removed
            kept = tuple(each for each in records if name_or_id not in (each.id, each.name))
            removed = len(records) - len(kept)
            return kept

        self._change(without)
        return removed

    def authenticate(self, authorization: str | None) -> Caller:
        """The caller whose key an Authorization header, or its metadata twin, carries.

        Raises InvalidKey, which repeats nothing of what came. On the path of every call: one
        hash, some 3 µs.
        """
        if not authorization:
            raise InvalidKey("No API key was sent. Send it as 'Authorization: Bearer KEY'.")
        scheme, _, key = authorization.strip().partition(" ")
        if scheme.lower() != "bearer":
            raise InvalidKey("The authorization is not of the form 'Bearer KEY'.")
        key = key.strip()
        if monotonic() >= self._look_again:
            self._refresh()
        caller = self._caller(key)
        if caller is None:  # or added a moment ago
            self._refresh()
            caller = self._caller(key)
        if caller is None:
            # OpenAI's first words, which LiteLLM looks for to tell this from a bad request.
            raise InvalidKey("Incorrect API key provided: mistyped, revoked, or another server's.")
        return caller

    def _caller(self, key: str) -> Caller | None:
        expected, caller = self._callers.get(key[_ID], (_NOBODY, None))
        # Headers may hold bytes that are no text, which reach us as lone surrogates.
        digest = hashlib.sha256(key.encode("utf-8", "surrogatepass")).digest()
        return caller if hmac.compare_digest(digest, expected) else None

    def _refresh(self) -> None:
        """Takes in what other processes did to the file since the last look."""
        self._look_again = monotonic() + _UNSEEN
        try:
            stamp = _stamp_of(os.stat(self._name))
        except FileNotFoundError:
            # Replacing never leaves a gap, so somebody removed it and means it.
            if self._callers:
                log.warning("the API key file is gone: no key is valid", extra={"file": self._name})
            self._stamp, self._callers = None, {}
            return
        except OSError as error:
            self._complain(str(error))
            return
        if stamp != self._stamp:
            self._reload()

    def _reload(self) -> None:
        try:
            with open(self._path, "rb") as file:
                stamp = _stamp_of(os.fstat(file.fileno()))
                text = file.read()
        except OSError as error:
            # The stamp stays: the cause may pass (too many open files) and the file stay as it is.
            self._complain(str(error))
            return
        self._stamp = stamp
        try:
            records = parse(text)
        except ValueError as error:
            self._complain(str(error))
            return
        self._callers = {
            each.id: (bytes.fromhex(each.sha256), Caller(each.id, each.name, each.models))
            for each in records
        }
        self._fault = None

    def _complain(self, fault: str) -> None:
        if fault != self._fault:
            self._fault = fault
            log.error(
                "cannot read the API keys; those known so far stay valid",
                extra={"file": self._name, "fault": fault},
            )

    def _read(self) -> Records:
        try:
            return parse(self._path.read_bytes())
        except FileNotFoundError:
            return ()
        except OSError as error:
            raise KeyRingError(f"cannot read the API keys: {error}") from error
        except ValueError as error:
            raise KeyRingError(f"{self._path} is no key file: {error}") from error

    def _change(self, change: Callable[[Records], Records]) -> None:
        with self._locked():
            before = self._read()
            after = change(before)
            if after != before:
                self._write(after)
                self._look_again = 0.0

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Alone among the processes that change the file.

        A lock file beside it, because the file itself is replaced under the lock.
        """
        try:
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            why = f"{self._path.parent} cannot be made: {error.strerror}"
            raise KeyRingError(f"the state directory {why}; choose another with --state") from error
        try:
            lock = os.open(
                self._path.with_suffix(".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600
            )
            try:
                self._give_to_owner(lock)
                fcntl.flock(lock, fcntl.LOCK_EX)
                yield
            finally:
                os.close(lock)
        except OSError as error:
            raise KeyRingError(f"cannot change the API keys: {error}") from error

    def _write(self, records: Records) -> None:
        descriptor, temporary = tempfile.mkstemp(dir=self._path.parent, prefix=".keys-")
        try:
            with open(descriptor, "w", encoding="utf-8") as file:
                self._give_to_owner(file.fileno())
                file.write(written(records))
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, self._path)
        except BaseException:
            os.unlink(temporary)
            raise
        # Or a power cut could bring a revoked key back.
        directory = os.open(self._path.parent, os.O_RDONLY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)

    def _give_to_owner(self, descriptor: int) -> None:
        """Root's `diglot key add` must not take the file from the account that serves."""
        if os.geteuid() == 0:
            directory = os.stat(self._path.parent)
            os.fchown(descriptor, directory.st_uid, directory.st_gid)


def _new_key(name: str, models: ModelNames | None = None) -> tuple[str, KeyRecord]:
    if not (0 < len(name) <= _NAME_LENGTH and name.isprintable() and name.strip() == name):
        raise KeyRingError(
            f"a key's name has 1 to {_NAME_LENGTH} printable characters, no space at the ends"
        )
    key_id = secrets.token_hex(4)
    key = f"dg-{key_id}-{secrets.token_urlsafe(32)}"
    digest = hashlib.sha256(key.encode()).hexdigest()
    created = datetime.now(UTC).replace(microsecond=0)
    return key, KeyRecord(key_id, name, created, digest, models)


def _stamp_of(status: os.stat_result) -> _Stamp:
    return status.st_mtime_ns, status.st_ctime_ns, status.st_size, status.st_ino
