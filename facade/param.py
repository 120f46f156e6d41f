"""The name of a place in a request: from the contract's path to OpenAI's `param`.

The two differ where the contract spells a union of JSON types as several fields, and
where it keeps JSON as text.
"""

from __future__ import annotations

import re

# Tried in this order, all of them: what one writes is not what another looks for.
_RULES = [
    (re.compile(pattern), replacement)
    for pattern, replacement in [
        # Content, as a list.
        (r"\bparts\b", "content"),
        (r"(\bcontent\[\d+\])\.(text\.text|refusal\.refusal)$", r"\1.@\2"),
        (r"\.@(\w+)\.\w+$", r".\1"),
        # JSON kept as text.
        (r"\b(parameters|schema)_json\b", r"\1"),
        (r"\btools_json\b", "tools"),
        # Unions of a string and an object.
        (r"^tool_choice\.mode$", "tool_choice"),
        (r"^tool_choice\.(function|custom)_name$", r"tool_choice.\1.name"),
        (r"^function_call\.mode$", "function_call"),
        (r"^audio\.voice_name$", "audio.voice"),
        (r"^audio\.voice_id$", "audio.voice.id"),
        # Members without a body, which JSON tells by `type` alone.
        (r"^response_format\.(text|json_object)$", "response_format"),
        (r"^(tools\[\d+\]\.custom)\.text$", r"\1.format"),
        # One level less than JSON has.
        (r"^(tools\[\d+\]\.custom)\.grammar\b", r"\1.format.grammar"),
        (r"^(web_search_options\.user_location)\.", r"\1.approximate."),
        # Keys that only the engine knows stand beside the others.
        (r"^extra_json\.|\.(extra|other)_json\b", ""),
    ]
]


def to_param(field: str) -> str | None:
    """None where OpenAI has no name for it."""
    if field in ("", "extra_json"):
        return None
    for pattern, replacement in _RULES:
        field = pattern.sub(replacement, field)
    return field
