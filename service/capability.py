"""What models differ in: the parts of the API that some can do, and others cannot."""

from __future__ import annotations

from enum import Enum, auto


class Capability(Enum):
    """One such part. An engine declares which it has; the core refuses requests for the rest."""

    TOOLS = auto()
    """Function tools, and the deprecated functions."""
    TOOL_GRAMMARS = auto()
    """Custom tools whose input a Lark grammar describes."""
    IMAGES = auto()
    """Images in messages."""
    AUDIO_INPUT = auto()
    """Sound in messages."""
    FILES = auto()
    """Documents in messages."""
    TOOL_MEDIA = auto()
    """Images, sound and documents in the results of tools, which OpenAI's models do not take."""
    OTHER_PARTS = auto()
    """Parts of messages of types that OpenAI's API does not have."""
    AUDIO_OUTPUT = auto()
    """Answers that are spoken."""
    WEB_SEARCH = auto()
    MODERATION = auto()
    PREDICTION = auto()
    REASONING = auto()
    """Thinking before answering, and being told how much."""
    VERBOSITY = auto()
    SERVICE_TIERS = auto()


EVERYTHING = frozenset(Capability)
