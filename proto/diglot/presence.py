"""`message.HasField(name)` for the hot path.

protobuf's messages look every attribute up among their fields first, a method like any other.
Taken from the class, where nobody has to look, it costs half.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from diglot.v1.chunk_pb2 import ChatCompletionChunk

# Typed for the fields of that one message; it is every message's.
has: Callable[[Any, str], bool] = ChatCompletionChunk.HasField  # type: ignore[assignment]
"""Whether a message, of whatever kind, has the field. Raises ValueError if there is none."""
