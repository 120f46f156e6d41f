"""What is kept of the API keys: the records, and how the file has them."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from .model_names import ModelNames

_KEY_ID = re.compile("[0-9a-f]{8}")


@dataclass(frozen=True, slots=True)
class KeyRecord:
    """What is kept of a key."""

    id: str
    name: str
    created: datetime
    sha256: str
    models: ModelNames | None = None


Records = tuple[KeyRecord, ...]


def written(records: Records) -> str:
    """The text of a file."""
    entries = [_to_json(each) for each in records]
    return json.dumps({"version": 1, "keys": entries}, indent=1) + "\n"


def parse(text: bytes) -> Records:
    """The records of a file; ValueError says what is wrong without quoting it."""
    try:
        return tuple(_record(each) for each in json.loads(text)["keys"])
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise ValueError(f"{type(error).__name__} while reading it") from None


def _record(entry: Any) -> KeyRecord:
    key_id, name, digest = entry["id"], entry["name"], entry["sha256"]
    if not (isinstance(name, str) and _KEY_ID.fullmatch(key_id)):
        raise ValueError
    if len(bytes.fromhex(digest)) != hashlib.sha256().digest_size:
        raise ValueError
    created = datetime.fromisoformat(entry["created"])
    return KeyRecord(key_id, name, created, digest, _models(entry.get("models")))


def _models(names: Any) -> ModelNames | None:
    if names is None:
        return None
    # Of a text, each letter would be taken for a name.
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise ValueError
    return ModelNames(tuple(names))


def _to_json(record: KeyRecord) -> dict[str, Any]:
    models = {} if record.models is None else {"models": record.models.names}
    return {
        "id": record.id,
        "name": record.name,
        "created": record.created.isoformat(),
        "sha256": record.sha256,
        **models,
    }
