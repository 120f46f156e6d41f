"""What of OpenAI's API the Messages API has no word for: one table, checked before any work.

Nothing that changes the answer is dropped in silence. What stands in parts of messages (media
types, files, times to cache) is refused where the parts are translated, in blocks.py.

Dropped, because no answer depends on it: `metadata`, which labels stored completions; how
closely to look at an image (`detail`); `name` beside a role, as Anthropic's own layer for
OpenAI's SDK does; hints to the prompt cache other than breakpoints; and `reasoning_content` of
earlier turns, which the API takes back only with its signature, in `thinking_blocks`: without
those the model thinks anew. Of keys that the contract does not know, those of parts and of tools
go through (`cache_control` …); those of messages, but for signed thought, of calls and of
annotations are dropped: they are notes of other vendors' models.
"""

from __future__ import annotations

from collections.abc import Iterator

from diglot.v1.chat_pb2 import CreateChatCompletionRequest
from diglot.v1.message_pb2 import ROLE_FUNCTION

from ..errors import ChatError, UnsupportedParameter, UnsupportedValue
from ..validation.rule import Predicate, Rule, present
from .request_json import SERVICE_TIERS
from .thinking import EFFORTS


def parameter(field: str, refuses: str, applies: Predicate, why: str) -> Rule:
    """`why` completes "this model …"."""

    def check(request: CreateChatCompletionRequest) -> Iterator[ChatError]:
        if applies(request):
            yield UnsupportedParameter(
                f"Unsupported parameter: '{field}': this model {why}.", field=field
            )

    return Rule(field, refuses, check)


def value(field: str, refuses: str, applies: Predicate, why: str) -> Rule:
    def check(request: CreateChatCompletionRequest) -> Iterator[ChatError]:
        if applies(request):
            yield UnsupportedValue(f"Unsupported value: '{field}': this model {why}.", field=field)

    return Rule(field, refuses, check)


def _custom_tools(request: CreateChatCompletionRequest) -> Iterator[ChatError]:
    for index, tool in enumerate(request.tools):
        if tool.HasField("custom"):
            yield UnsupportedValue(
                "This model calls functions only, not custom tools.",
                field=f"tools[{index}].custom",
            )


def _custom_calls(request: CreateChatCompletionRequest) -> Iterator[ChatError]:
    for index, message in enumerate(request.messages):
        for place, call in enumerate(message.tool_calls):
            if call.HasField("custom"):
                yield UnsupportedValue(
                    "This model calls functions only, not custom tools.",
                    field=f"messages[{index}].tool_calls[{place}].custom",
                )


def _function_messages(request: CreateChatCompletionRequest) -> Iterator[ChatError]:
    for index, message in enumerate(request.messages):
        for field, applies in (
            ("role", message.role == ROLE_FUNCTION),
            ("function_call", message.HasField("function_call")),
        ):
            if applies:
                yield UnsupportedValue(
                    "This model knows tools only, not the functions before them.",
                    field=f"messages[{index}].{field}",
                )


def _audio(request: CreateChatCompletionRequest) -> Iterator[ChatError]:
    for index, message in enumerate(request.messages):
        if message.HasField("audio"):
            yield UnsupportedValue("This model has not spoken.", field=f"messages[{index}].audio")


def _schemaless(request: CreateChatCompletionRequest) -> bool:
    form = request.response_format
    return form.HasField("json_schema") and not form.json_schema.HasField("schema_json")


TABLE: tuple[Rule, ...] = (
    value("temperature", "above 1", lambda r: r.temperature > 1, "takes 0 to 1"),
    value("n", "above 1", lambda r: r.n > 1, "gives one answer to a request"),
    parameter("frequency_penalty", "any but 0", lambda r: r.frequency_penalty != 0,
              "has no penalties"),
    parameter("presence_penalty", "any but 0", lambda r: r.presence_penalty != 0,
              "has no penalties"),
    parameter("logit_bias", "any", lambda r: bool(r.logit_bias), "takes no biases"),
    parameter("seed", "any", present("seed"), "cannot repeat its sampling"),
    parameter("logprobs", "true", lambda r: r.logprobs, "does not tell probabilities"),
    parameter("functions", "any", lambda r: bool(r.functions),
              "knows tools only, not the functions before them"),
    Rule("tools[].custom", "any", _custom_tools),
    Rule("messages[].tool_calls[].custom", "any", _custom_calls),
    Rule("messages[].role", "function, and calls of functions", _function_messages),
    Rule("messages[].audio", "any", _audio),
    value("response_format", "json_object", lambda r: r.response_format.HasField("json_object"),
          "answers in JSON of a schema only: use json_schema"),
    value("response_format.json_schema", "without a schema", _schemaless,
          "answers in JSON of a schema only"),
    value("reasoning_effort", "a word that it does not know",
          lambda r: r.HasField("reasoning_effort") and r.reasoning_effort not in EFFORTS,
          f"knows {', '.join(EFFORTS)}"),
    value("service_tier", "a word that it does not know",
          lambda r: r.HasField("service_tier") and r.service_tier not in SERVICE_TIERS,
          f"knows {', '.join(SERVICE_TIERS)}"),
)  # fmt: skip


def check(request: CreateChatCompletionRequest) -> None:
    """Raises the first thing that cannot be asked for, in the order of the table."""
    for rule in TABLE:
        for error in rule.check(request):
            raise error
