"""What the embedded model cannot do, and says so before any work: one row each.

Silence would be worse: llama.cpp accepts most of these and ignores them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from diglot.v1 import tool_pb2 as t
from diglot.v1.chat_pb2 import CreateChatCompletionRequest

from ..errors import ChatError, UnsupportedParameter, UnsupportedValue

Row = tuple[str, Callable[[CreateChatCompletionRequest], bool], str]

_PART_NAMES = {"image_url": "images", "input_audio": "audio", "file": "files"}


def _has(field: str) -> Callable[[CreateChatCompletionRequest], bool]:
    return lambda request: request.HasField(field)  # type: ignore[arg-type]  # typed as literals


def _offers_tools(request: CreateChatCompletionRequest) -> bool:
    choice = request.tool_choice
    none = choice.WhichOneof("choice") == "mode" and choice.mode == t.TOOL_CHOICE_MODE_NONE
    return bool(request.tools) and not none


# field, when it is refused, why
ROWS: tuple[Row, ...] = (
    ("tools", _offers_tools, "tool calls are not supported by this model yet"),
    ("functions", lambda r: bool(r.functions), "tool calls are not supported by this model yet"),
    ("modalities", lambda r: "audio" in r.modalities, "this model answers in text only"),
    ("audio", _has("audio"), "this model answers in text only"),
    ("web_search_options", _has("web_search_options"), "this model cannot search the web"),
    ("moderation", _has("moderation"), "this model is not moderated"),
    ("prediction", _has("prediction"), "this model does not use predictions"),
    ("store", lambda r: r.store, "this server does not store completions yet"),
    ("reasoning_effort", _has("reasoning_effort"), "this model does not reason"),
    ("verbosity", _has("verbosity"), "this model has no such setting"),
    (
        "service_tier",
        lambda r: r.HasField("service_tier") and r.service_tier not in ("auto", "default"),
        "this model has no service tiers",
    ),
)


def check(request: CreateChatCompletionRequest, *, parallel: int) -> None:
    """Raises for the first thing that an embedded model with so many slots cannot do."""
    for error in _refusals(request, parallel):
        raise error


def _refusals(request: CreateChatCompletionRequest, parallel: int) -> Iterator[ChatError]:
    for field, applies, why in ROWS:
        if applies(request):
            yield UnsupportedParameter(f"Unsupported parameter: '{field}': {why}.", field=field)
    if request.n > parallel:
        yield UnsupportedValue(
            f"Unsupported value: 'n' is {request.n}, but this model generates at most "
            f"{parallel} answers at a time.",
            field="n",
        )
    for index, message in enumerate(request.messages):
        for place, part in enumerate(message.parts):
            name = _PART_NAMES.get(part.WhichOneof("part") or "")
            if name is not None:
                yield UnsupportedValue(
                    f"This model does not take {name}.", field=f"messages[{index}].parts[{place}]"
                )
