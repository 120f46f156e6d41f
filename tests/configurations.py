"""Configurations with something wrong in them, and the words for it."""

from __future__ import annotations

from pathlib import Path

import pytest

from diglot.service.config import ConfigError, Flags, load

UPSTREAM = '[[models]]\nname = "gpt"\nkind = "upstream"\nbase_url = "https://host/v1"\n'
SECRET = "sk-nobody-may-see-this"


def faults(file: Path, text: str, flags: Flags | None = None) -> list[str]:
    """The lines of the error, without the file's name."""
    file.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError) as refused:
        load(file, flags, environ={})
    assert SECRET not in str(refused.value)
    return [line.removeprefix(f"{file}: ") for line in str(refused.value).splitlines()]
