"""Which keys the settings mean."""

from __future__ import annotations

from ..config import Settings
from ..keys import KeyRing, KeyRingError
from ..state import KEYS_FILE


def keys_of(settings: Settings) -> KeyRing | None:
    """None if no key is needed. Raises KeyRingError if a file of keys is named and not there."""
    if not settings.auth.enabled:
        return None
    named = settings.auth.keys_file
    if named is None:
        return KeyRing(settings.state / KEYS_FILE)
    if not named.is_file():
        raise KeyRingError(f"auth.keys_file: there is no file {named}")
    return KeyRing(named)
