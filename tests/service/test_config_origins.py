"""The web pages that may call, as a configuration names them."""

from __future__ import annotations

from pathlib import Path

import pytest
from configurations import faults

from diglot.service.config import load


@pytest.mark.parametrize(
    "origin",
    [
        *("*", "https://app.example", "http://localhost:3000", "http://[::1]:3000"),
        *("chrome-extension://abcdef", "app://obsidian.md", "https://xn--bcher-kva.example"),
    ],
)
def test_origins_as_browsers_send_them(tmp_path: Path, origin: str) -> None:
    file = tmp_path / "diglot.toml"
    file.write_text(f'http.allowed_origins = ["{origin}"]')
    assert load(file).http.allowed_origins == (origin,)


def test_without_the_key_there_are_none() -> None:
    assert load().http.allowed_origins == ()


@pytest.mark.parametrize(
    ("origins", "expected"),
    [
        ('["https://App.example/"]', 'write it as browsers do: "https://app.example"'),
        ('["https://a:443"]', 'found "https://a:443"; write it as browsers do: "https://a"'),
        ('["*", "https://a/x?y"]', 'allowed_origins[1]: found "https://a/x?y"; write it as'),
        ('["app.example"]', "which is no origin; write it like"),
        ('["https://*.example"]', "which is no origin"),
        ('["null"]', "which is no origin"),
        ('["http://a:x"]', "which is no origin"),
        ('[""]', "which is no origin"),
        ("[1]", "http.allowed_origins[0]: found 1; it must be a string"),
        ('"https://a"', 'it must be an array: allowed_origins = ["https://a"]'),
    ],
)
def test_what_no_browser_sends_is_a_fault(tmp_path: Path, origins: str, expected: str) -> None:
    """Compared with what they do send it would never be found equal."""
    (line,) = faults(tmp_path / "diglot.toml", f"http.allowed_origins = {origins}")
    assert expected in line
