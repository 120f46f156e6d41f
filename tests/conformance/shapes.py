"""Streams as vendors send them, and what they mean: read without a look at the code under test.

Each file of `vendors/` is one stream in a vendor's shape, with made-up content. Its first lines
are comments, as the format has them: where the shape is described, what a request must ask for to
get it, which text it says, and the reason with which it fails, if it does.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from .plain import Json, rejoined

VENDORS = Path(__file__).parent / "vendors"


@dataclass(frozen=True)
class Shape:
    name: str
    data: bytes

    def _told(self, key: str) -> str | None:
        """What the file's comments say of itself."""
        for line in self.data.decode().splitlines():
            if line.startswith(f": {key}:"):
                return line.partition(f"{key}:")[2].strip()
        return None

    @property
    def asks(self) -> Json:
        asked: Json = json.loads(self._told("asks") or "{}")
        return asked

    @property
    def says(self) -> str | None:
        return self._told("says")

    @property
    def source(self) -> str | None:
        return self._told("source")

    @property
    def fails(self) -> str | None:
        return self._told("fails")

    @cached_property
    def events(self) -> list[Json]:
        lines = self.data.decode().splitlines()
        return [json.loads(line[6:]) for line in lines if line.startswith("data: {")]


def shapes() -> list[Shape]:
    return [Shape(file.stem, file.read_bytes()) for file in sorted(VENDORS.glob("*.sse"))]


def meaning(shape: Shape) -> Json:
    """The completion that it comes to, in plain form; null, "" and absent are one where a vendor
    may say either."""
    whole: Json = {}
    choices: dict[int, Json] = {}
    for event in shape.events:
        for key in ("model", "service_tier", "system_fingerprint"):
            if event.get(key) is not None and event.get("choices") != []:
                whole[key] = event[key] or whole.get(key, "")
        if isinstance(event.get("usage"), dict):
            whole["usage"] = _usage(event["usage"])
        _add(whole, _beside(event, ""))
        for choice in event.get("choices") or ():
            index = choice.get("index", 0)
            grown = choices.setdefault(index, {"index": index, "message": {"role": "assistant"}})
            _grow(grown, choice)
    whole["choices"] = [_finished(choices[index]) for index in sorted(choices)]
    return whole


def _grow(grown: Json, choice: Json) -> None:
    message = grown["message"]
    delta = choice.get("delta") or {}
    for name, text in _texts(delta):
        message[name] = message.get(name, "") + text
    for call in delta.get("tool_calls") or ():
        _add_call(message.setdefault("tool_calls", []), call)
    if delta.get("function_call"):
        call = message.setdefault("function_call", {"name": "", "arguments": ""})
        for key, text in delta["function_call"].items():
            call[key] += text
    if delta.get("annotations"):
        message.setdefault("annotations", []).extend(
            {"url_citation": one["url_citation"]} for one in delta["annotations"]
        )
    for key, value in (delta.get("audio") or {}).items():
        audio = message.setdefault("audio", {})
        audio[key] = audio.get(key, "") + value if key in ("data", "transcript") else value
    for key, entries in (choice.get("logprobs") or {}).items():
        if entries:
            found = grown.setdefault("logprobs", {}).setdefault(key, [])
            found.extend(_token(entry) for entry in entries)
    if choice.get("finish_reason"):
        grown["finish_reason"] = choice["finish_reason"]
    _add(grown, _beside(choice, "choices[]"))
    _add(message, _beside(delta, "choices[].delta"))


def _texts(delta: Json) -> Iterator[tuple[str, str]]:
    thought = delta.get("reasoning_content") or delta.get("reasoning")
    if thought:
        yield "reasoning_content", thought
    if delta.get("refusal"):
        yield "refusal", delta["refusal"]
    content = delta.get("content")
    for part in content if isinstance(content, list) else ():
        for piece in part.get("thinking", ()):
            yield "reasoning_content", piece["text"]
        if part["type"] == "text":
            yield "content", part["text"]
    if isinstance(content, str) and content:
        yield "content", content


def _add_call(calls: list[Json], piece: Json) -> None:
    """An id that was not seen begins a call; what has none goes on with the one of its index."""
    kind = "custom" if "custom" in piece else "function"
    name = piece.get("id")
    known = [call for call in calls if call["id"] == name] if name else calls[-1:]
    if not name and "index" in piece:
        known = calls[piece["index"] : piece["index"] + 1]
    if not known:
        text = "input" if kind == "custom" else "arguments"
        known = [{"id": name, kind: {"name": piece[kind]["name"], text: ""}}]
        calls.extend(known)
    for key, text in piece[kind].items():
        if key != "name":
            known[0][kind][key] += text
    _add(known[0], _beside(piece, "choices[].delta.tool_calls[]"))


def _token(entry: Json) -> Json:
    kept = {key: value for key, value in entry.items() if value is not None and value != []}
    if "top_logprobs" in kept:
        kept["top_logprobs"] = [_token(top) for top in kept["top_logprobs"]]
    return kept


FINISHES = {"eos": "stop", "function_call": "function_call"}
"""What vendors say instead of OpenAI's five."""


def _finished(choice: Json) -> Json:
    message = choice["message"]
    # Null only where something else is said instead.
    if not {"tool_calls", "function_call", "refusal", "audio"} & message.keys():
        message.setdefault("content", "")
    if "finish_reason" in choice:
        reason = FINISHES.get(choice["finish_reason"], choice["finish_reason"])
        called = reason == "stop" and "tool_calls" in message
        choice["finish_reason"] = "tool_calls" if called else reason
    return choice


_COUNTS = ("prompt_tokens", "completion_tokens", "total_tokens")
_DETAILS = {
    "prompt_tokens_details": {"cached_tokens", "audio_tokens", "text_tokens", "image_tokens"},
    "completion_tokens_details": {
        *("reasoning_tokens", "audio_tokens", "text_tokens"),
        *("accepted_prediction_tokens", "rejected_prediction_tokens"),
    },
}
# Where vendors say what OpenAI has among the details.
_ELSEWHERE = {
    "prompt_cache_hit_tokens": ("prompt_tokens_details", "cached_tokens"),
    "cached_tokens": ("prompt_tokens_details", "cached_tokens"),
    "reasoning_tokens": ("completion_tokens_details", "reasoning_tokens"),
}


def _usage(usage: Json) -> Json:
    plain: Json = {key: usage[key] for key in _COUNTS}
    for name, keys in _DETAILS.items():
        if usage.get(name):
            plain[name] = {key: usage[name][key] for key in keys & usage[name].keys()}
    for key, (name, place) in _ELSEWHERE.items():
        if key in usage:
            plain.setdefault(name, {}).setdefault(place, usage[key])
    for name in _DETAILS:
        if usage.get(name):
            plain[name] |= _beside(usage[name], f"usage.{name}")
    return plain | _beside(usage, "usage")


_CALL = ("index", "id", "type", "function.name", "function.arguments", "custom.name")
_DELTA = (
    *("role", "content", "refusal", "reasoning_content", "reasoning", "function_call.name"),
    *("function_call.arguments", "audio.id", "audio.data", "audio.transcript", "audio.expires_at"),
    *("content[].type", "content[].text", "content[].thinking[].type", "content[].thinking[].text"),
    *(f"tool_calls[].{key}" for key in (*_CALL, "custom.input")),
    "annotations[].type",
    *(f"annotations[].url_citation.{key}" for key in ("start_index", "end_index", "url", "title")),
)
_TOKEN = ("token", "logprob", "bytes", "bytes[]")
_HOMES = {
    *("id", "object", "created", "model", "service_tier", "system_fingerprint", "obfuscation"),
    *(f"usage.{key}" for key in _COUNTS),
    *("error.code", "error.message"),  # with which the answer then ends
    *(f"usage.{name}.{key}" for name, keys in _DETAILS.items() for key in keys),
    *("choices[].index", "choices[].finish_reason"),
    *(f"choices[].delta.{key}" for key in _DELTA),
    *(f"choices[].logprobs.content[].{key}" for key in _TOKEN),
    *(f"choices[].logprobs.content[].top_logprobs[].{key}" for key in _TOKEN),
}


# Whatever else these say, stands beside it.
_OPEN = {"", "choices[]", "choices[].delta", "choices[].delta.tool_calls[]", "usage"}
_OPEN |= {f"usage.{name}" for name in _DETAILS}
_OPEN |= {f"choices[].logprobs.content[]{inner}" for inner in ("", ".top_logprobs[]")}


def homeless(shape: Shape) -> set[str]:
    """Where the stream says something that does not come through."""
    found = {path for event in shape.events for path in _strange(event, "")}
    return {path for path in found if path in LEFT_OUT or _above(path) not in _OPEN}


def _above(path: str) -> str:
    return path.rpartition(".")[0]


LEFT_OUT = {"p", "choices[].text"}
"""What says nothing: padding, and the text once more."""


def _beside(body: Json, path: str) -> Json:
    """What an object says that the contract has no field for."""
    assert path in _OPEN
    found = {key: f"{path}.{key}".removeprefix(".") for key in body if body[key] is not None}
    return {
        key: _without_nothing(body[key])
        for key, where in found.items()
        if where in set(_strange(body, path)) - LEFT_OUT
    }


def _without_nothing(value: Any) -> Any:
    if isinstance(value, dict):
        return {
            key: _without_nothing(item)
            for key, item in value.items()
            if item is not None and item != []
        }
    return [_without_nothing(item) for item in value] if isinstance(value, list) else value


def _add(into: Json, more: Json) -> None:
    """By the rule that stands at ChatCompletionChunk.extra_json."""
    for key, value in more.items():
        before = into.get(key)
        if isinstance(before, dict) and isinstance(value, dict):
            _add(before, value)
        elif isinstance(before, list) and isinstance(value, list):
            into[key] = before + value
            if key == "reasoning_details":
                into[key] = rejoined(into[key])
        elif value != []:
            into[key] = value


def _strange(value: Any, path: str) -> Iterator[str]:
    if value is None or (path in _HOMES and not isinstance(value, dict | list)):
        return
    inside = any(home.startswith((f"{path}.", f"{path}[]")) for home in _HOMES)
    if path and path not in _HOMES and not inside:
        yield path
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from _strange(item, f"{path}.{key}".removeprefix("."))
    elif isinstance(value, list):
        for item in value:
            yield from _strange(item, f"{path}[]")
