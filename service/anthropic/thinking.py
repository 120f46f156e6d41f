"""How much a model may generate, and how much of it may be thought.

The Messages API must be told a limit, and counts thought into it, as OpenAI does. Models since
Claude 4.6 decide themselves when to think, and take OpenAI's words for how much; from 4.7 on
they refuse anything else. Those before them, and some servers that speak the API, think only
within a budget of tokens.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from diglot.v1.chat_pb2 import CreateChatCompletionRequest
from diglot.v1.message_pb2 import ROLE_ASSISTANT, ROLE_USER

from ..errors import UnsupportedValue
from .thought import thought_of

# reasoning_effort, to the API's word and to a budget.
EFFORTS: dict[str, tuple[str, int]] = {
    "none": ("", 0),
    "minimal": ("low", 1024),
    "low": ("low", 2048),
    "medium": ("medium", 8192),
    "high": ("high", 16384),
    "xhigh": ("xhigh", 24576),
    "max": ("max", 32768),
}

_SMALLEST_BUDGET = 1024


@dataclass(frozen=True, slots=True)
class Options:
    """What the configuration says."""

    default_max_tokens: int = 16384
    """For requests that set no limit. Every model that Anthropic still serves can do as much."""
    thinking: Literal["adaptive", "budget"] = "adaptive"
    mid_conversation_system: bool = False
    """Whether the model takes instructions between turns."""


def limits(request: CreateChatCompletionRequest, options: Options) -> dict[str, Any]:
    """`max_tokens`, and `thinking` and `output_config` where the request says how much to think.

    Within a budget, and where no limit was asked for, the answer has `default_max_tokens`
    beside the thought. Where one was, a quarter of it is left for the answer.
    """
    field = "max_tokens" if request.HasField("max_tokens") else "max_completion_tokens"
    asked: int = getattr(request, field)
    body: dict[str, Any] = {"max_tokens": asked or options.default_max_tokens}
    if not request.HasField("reasoning_effort"):
        return body
    if request.reasoning_effort == "none":
        body["thinking"] = {"type": "disabled"}
        return body
    word, budget = EFFORTS[request.reasoning_effort]
    if options.thinking == "adaptive":
        # Newer models think in silence unless asked for a summary.
        body["thinking"] = {"type": "adaptive", "display": "summarized"}
        body["output_config"] = {"effort": word}
        return body
    if _thought_is_missing(request):
        return body
    if asked:
        budget = min(budget, asked * 3 // 4)
    else:
        body["max_tokens"] += budget
    if budget < _SMALLEST_BUDGET:
        raise UnsupportedValue(
            f"This model thinks at least {_SMALLEST_BUDGET} tokens, within at most three quarters "
            f"of '{field}': raise it, or set 'reasoning_effort' to none.",
            field=field,
        )
    body["thinking"] = {"type": "enabled", "budget_tokens": budget}
    return body


def takes_thought(thinking: Any, options: Options) -> bool:
    """Whether thought of earlier messages comes along, with `thinking` as the request says it.

    Of models that decide themselves many think unasked. Those that do not leave the thought
    unread; only where it is expressly off do they refuse some of it.
    """
    if isinstance(thinking, dict):
        return thinking.get("type") != "disabled"
    return options.thinking == "adaptive"


def _thought_is_missing(request: CreateChatCompletionRequest) -> bool:
    """Whether the model is in the middle of calling tools, and what it thought is not there.

    Within a budget the API refuses to go on thinking then. To it the calls in a row and their
    results are one turn, which must begin with its signed thought; the calls after the first
    may have none.
    """
    turn: list[int] = []
    for index in reversed(range(len(request.messages))):
        role = request.messages[index].role
        if role == ROLE_ASSISTANT:
            turn.append(index)
        elif role == ROLE_USER and turn:
            break
    if not turn or not request.messages[turn[0]].tool_calls:
        return False
    first = turn[-1]
    return not thought_of(request.messages[first], f"messages[{first}]")
