"""Everything that a request is refused for, before any work: one table.

Each row: the field, what is refused, and the check. Rows hold for both faces and every model;
those at the end hold for models that lack a capability. The wording of the errors follows
OpenAI's, and fields are named by their path in the contract. Open sets of words
(reasoning_effort, service_tier, …) are not checked: they grow faster than this table.
"""

from __future__ import annotations

from collections.abc import Set
from functools import lru_cache

from google.protobuf.descriptor import FieldDescriptor

from diglot.v1.chat_pb2 import CreateChatCompletionRequest

from ..capability import Capability
from ..capability import Capability as Can
from ..extra import extended_messages, extended_options
from . import messages, parameters, tools
from .rule import Rule, between, present, required, without

TABLE: tuple[Rule, ...] = (
    required("model"),
    Rule("messages", "empty", messages.at_least_one),
    Rule("messages[].role", "absent", messages.roles),
    Rule("messages[].parts", "beside content, empty, or of a kind that the role cannot hold",
         messages.parts),
    Rule("messages[].content", "absent where nothing else is said", messages.content),
    Rule("messages[].tool_call_id", "absent from a result (a function's: its name)",
         messages.results),
    Rule("messages[].tool_calls[]", "empty", messages.calls),
    between("temperature", 0, 2),
    between("top_p", 0, 1),
    between("frequency_penalty", -2, 2),
    between("presence_penalty", -2, 2),
    between("n", 1, 128),
    between("max_completion_tokens", 1, 2**31 - 1),
    between("max_tokens", 1, 2**31 - 1),
    Rule("max_tokens", "beside max_completion_tokens", parameters.token_limits,
         reads=("max_completion_tokens",)),
    Rule("stop", "more than 4, or empty strings", parameters.stop),
    between("top_logprobs", 0, 20),
    Rule("top_logprobs", "without logprobs", parameters.top_logprobs),
    Rule("logit_bias", "negative token ids, and biases outside -100 to 100",
         parameters.logit_bias),
    Rule("tools[].name", "not 1 to 64 letters, digits, underscores or dashes", tools.names,
         reads=("tools", "functions")),
    Rule("tools[].parameters", "not a JSON Schema", tools.parameters,
         reads=("tools", "functions")),
    Rule("tools[].custom.grammar.syntax", "neither lark nor regex", tools.grammars),
    Rule("tool_choice", "empty, or forcing a call where there are no tools", tools.choice),
    Rule("tool_choice", "naming a tool that is not among the tools", tools.chosen),
    Rule("functions", "beside tools", tools.both_kinds),
    Rule("function_call", "empty, or naming a function that is not among the functions",
         tools.function_call),
    Rule("response_format", "empty", tools.response_format),
    Rule("response_format.json_schema", "without a good name, or not a JSON Schema",
         tools.answer_schema),
    Rule("modalities", "neither text nor audio", parameters.modalities),
    Rule("audio", "absent for the modality audio", parameters.audio, reads=("modalities",)),
    Rule("prediction", "empty, or with parts that are no text", parameters.prediction),
    Rule("metadata", "more than 16 pairs, keys over 64 or values over 512 characters",
         parameters.metadata),
    Rule("extra_json", "not a JSON object, or a key that has a field of its own",
         parameters.extra_json),
    # And in their parts, calls and annotations; in functions, forms and options.
    Rule("messages[].extra_json", "not a JSON object, or a key that has a field of its own",
         lambda r: parameters.extra_keys(extended_messages(r)),
         reads=("messages[].extra_json", "messages[].parts", "messages[].tool_calls")),
    Rule("tools[].extra_json", "not a JSON object, or a key that has a field of its own",
         lambda r: parameters.extra_keys(extended_options(r)),
         reads=("tools", "functions", "response_format", "stream_options", "prediction")),

    without(Can.TOOLS, "tools", "any", parameters.offers_tools, "does not call tools"),
    without(Can.TOOLS, "functions", "any", lambda r: bool(r.functions), "does not call functions"),
    Rule("tools[].custom.grammar.syntax", "lark", tools.lark, unless=Can.TOOL_GRAMMARS),
    Rule("messages[].parts[].image_url", "any", messages.no_part("image_url", "images"),
         unless=Can.IMAGES),
    Rule("messages[].parts[].input_audio", "any", messages.no_part("input_audio", "audio"),
         unless=Can.AUDIO_INPUT),
    Rule("messages[].parts[].file", "any", messages.no_part("file", "files"), unless=Can.FILES),
    Rule("messages[].parts", "images, sound or files in a tool's result",
         messages.no_media_in_results, unless=Can.TOOL_MEDIA),
    Rule("messages[].parts[].other_json", "any", messages.no_other_part, unless=Can.OTHER_PARTS),
    without(Can.AUDIO_OUTPUT, "modalities", "audio", lambda r: "audio" in r.modalities,
            "answers in text only"),
    without(Can.AUDIO_OUTPUT, "audio", "any", present("audio"), "answers in text only"),
    without(Can.WEB_SEARCH, "web_search_options", "any", present("web_search_options"),
            "cannot search the web"),
    without(Can.MODERATION, "moderation", "any", present("moderation"), "is not moderated"),
    without(Can.PREDICTION, "prediction", "any", present("prediction"),
            "does not use predictions"),
    without(Can.REASONING, "reasoning_effort", "any but none",
            lambda r: r.HasField("reasoning_effort") and r.reasoning_effort != "none",
            "does not reason"),
    without(Can.VERBOSITY, "verbosity", "any but medium",
            lambda r: r.HasField("verbosity") and r.verbosity != "medium", "has no such setting"),
    without(Can.SERVICE_TIERS, "service_tier", "any but auto and default",
            lambda r: r.HasField("service_tier") and r.service_tier not in ("auto", "default"),
            "has no service tiers"),
)  # fmt: skip


def check(request: CreateChatCompletionRequest, capabilities: Set[Capability]) -> None:
    """Raises the first thing that is wrong, in the order of the table."""
    for rule in applicable(request, capabilities):
        for error in rule.check(request):
            raise error


def applicable(
    request: CreateChatCompletionRequest, capabilities: Set[Capability]
) -> tuple[Rule, ...]:
    """The rules that such a request can break, when asked of such a model."""
    given = tuple([field for field, _ in _set_fields(request)])
    return _applicable(given, messages.notable(request), frozenset(capabilities))


_REQUIRED = frozenset(("model", "messages"))
# Taken from the class: a message looks each of its methods up among its fields first.
_set_fields = CreateChatCompletionRequest.ListFields


# Nearly all requests are notable for the same as an earlier one.
@lru_cache(maxsize=1024)
def _applicable(
    given: tuple[FieldDescriptor, ...],
    within_messages: frozenset[str],
    capabilities: frozenset[Capability],
) -> tuple[Rule, ...]:
    # Places where something may be wrong: options that are set, and what is lacking.
    notable = ({field.name for field in given} ^ _REQUIRED) | within_messages
    return tuple(rule for rule in TABLE if rule.applies(notable, capabilities))
