"""Which form an answer must have, and the grammar that makes it so.

    text                        no grammar
    JSON (response_format)      the schema's
    calls, forced               <tool_call> … </tool_call>, once or several times
    calls, if the model wants   those, with text before them; or text, or JSON, alone

The grammar is what makes a model that was never trained to call tools call them without
fault; and as it allows one form only, the answer can be read back while it is being written.
"""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass

from diglot.v1 import tool_pb2 as t
from diglot.v1.chat_pb2 import CreateChatCompletionRequest

from ..errors import InvalidSchema, InvalidValue
from ..json_schema import parsed
from ..kept import kept
from ..validation.tools import allowed_name
from .grammar.fault import CannotCompile
from .grammar.gbnf import (
    EMPTY,
    Chars,
    Grammar,
    Node,
    Text,
    choice,
    optional,
    repeat,
    sequence,
)
from .grammar.limits import Limits
from .grammar.pattern import PatternError, compile_pattern
from .grammar.recursion import bounded
from .grammar.schema import SchemaCompiler
from .grammar.spelling import spelt
from .grammar.strings import quoted, string

# As Hermes, Qwen and others are trained to write them.
CALL_BEGINS = "<tool_call>\n"
CALL_ENDS = "\n</tool_call>"

ANY_OBJECT = '{"type": "object"}'


@dataclass(frozen=True, slots=True)
class Schema:
    """A JSON Schema of the request, and where it stands."""

    text: str
    exact: bool
    """Whether what cannot be enforced while decoding is refused."""
    field: str = dataclasses.field(compare=False)
    owner: str = dataclasses.field(compare=False)
    """Whose it is, for messages."""


@dataclass(frozen=True, slots=True)
class CallForm:
    """A tool that may be called."""

    name: str
    arguments: Schema | None = None
    """None for custom tools."""
    pattern: str | None = None
    """Of a custom tool's input."""
    field: str = ""


@dataclass(frozen=True, slots=True)
class AnswerForm:
    """What a request asks for."""

    calls: tuple[CallForm, ...] = ()
    forced: bool = False
    several: bool = True
    json: Schema | None = None

    @property
    def is_text(self) -> bool:
        return not self.calls and self.json is None

    @property
    def may_be_text(self) -> bool:
        return self.json is None and not (self.calls and self.forced)

    @property
    def size(self) -> int:
        """Characters of all that is written in it."""
        schemas = [self.json, *(call.arguments for call in self.calls)]
        patterns = (call.pattern for call in self.calls)
        return sum(len(each.text) for each in schemas if each) + sum(
            len(each) for each in patterns if each
        )

    @classmethod
    def of(cls, request: CreateChatCompletionRequest) -> AnswerForm:
        calls, forced = _calls(request)
        return cls(calls, forced, _allows_several(request), _json(request))


def _allows_several(request: CreateChatCompletionRequest) -> bool:
    # Who names a tool gets one call of it, as from OpenAI.
    named = request.tool_choice.WhichOneof("choice") in ("function_name", "custom_name")
    refused = request.HasField("parallel_tool_calls") and not request.parallel_tool_calls
    return not (named or refused or request.functions)


def _calls(request: CreateChatCompletionRequest) -> tuple[tuple[CallForm, ...], bool]:
    """The tools that may be called, and whether one must be."""
    if request.functions:
        return _functions(request)
    forms = {form.name: form for form in map(_form, range(len(request.tools)), request.tools)}
    choice = request.tool_choice
    match choice.WhichOneof("choice"):
        case "function_name" | "custom_name":
            return (forms[choice.function_name or choice.custom_name],), True
        case "allowed_tools":
            allowed = {allowed_name(text) for text in choice.allowed_tools.tools_json}
            kept = tuple(form for name, form in forms.items() if name in allowed)
            return kept, choice.allowed_tools.mode == t.TOOL_CHOICE_MODE_REQUIRED
        case "mode" if choice.mode == t.TOOL_CHOICE_MODE_NONE:
            return (), False
    return tuple(forms.values()), choice.mode == t.TOOL_CHOICE_MODE_REQUIRED


def _functions(request: CreateChatCompletionRequest) -> tuple[tuple[CallForm, ...], bool]:
    asked = request.function_call
    if asked.mode == t.TOOL_CHOICE_MODE_NONE:
        return (), False
    forms = tuple(
        CallForm(function.name, _parameters(function, f"functions[{index}]"))
        for index, function in enumerate(request.functions)
        if not asked.name or function.name == asked.name
    )
    return forms, bool(asked.name)


def _form(index: int, tool: t.Tool) -> CallForm:
    if tool.HasField("function"):
        return CallForm(tool.function.name, _parameters(tool.function, f"tools[{index}].function"))
    custom = tool.custom
    pattern = custom.grammar.definition if custom.WhichOneof("format") == "grammar" else None
    return CallForm(custom.name, pattern=pattern, field=f"tools[{index}].custom.grammar.definition")


def _parameters(function: t.FunctionDefinition, path: str) -> Schema:
    return Schema(
        function.parameters_json or '{"type": "object", "additionalProperties": false}',
        exact=function.strict,
        field=f"{path}.parameters_json",
        owner=f"function '{function.name}'",
    )


def _json(request: CreateChatCompletionRequest) -> Schema | None:
    form = request.response_format
    match form.WhichOneof("format"):
        case "json_object":
            return Schema(ANY_OBJECT, False, "response_format", "response_format")
        case "json_schema":
            asked = form.json_schema
            return Schema(
                asked.schema_json or "{}",
                exact=asked.strict,
                field="response_format.json_schema.schema_json",
                owner=f"response_format '{asked.name}'",
            )
    return None


@kept(64, lambda form, limits: form.size <= 131_072)
def grammar_of(form: AnswerForm, limits: Limits) -> str | None:
    """The grammar, as llama.cpp reads it; None for plain text.

    Raises InvalidSchema, with the field, for what has no grammar.
    """
    if form.is_text:
        return None
    grammar = Grammar()
    try:
        return spelt(grammar, _root(form, grammar, limits))
    except CannotCompile as error:  # all together: each by itself has its own message
        first = form.json or form.calls[0].arguments or form.calls[0]
        raise InvalidSchema(f"Invalid schemas: {error}.", field=first.field) from None


def _root(form: AnswerForm, grammar: Grammar, limits: Limits) -> Node:
    root = None
    if form.json is not None:
        root = _compiled(form.json, grammar, limits, is_object=form.json.text == ANY_OBJECT)
    if form.calls:
        calls = _call_nodes(form, grammar, limits)
        if form.forced:
            root = calls
        elif root is None:
            root = sequence(_text_before_calls(grammar), optional(calls))
        else:
            root = choice([root, calls])
    assert root is not None
    return root


def _call_nodes(form: AnswerForm, grammar: Grammar, limits: Limits) -> Node:
    options = [_call(call, grammar, limits) for call in form.calls]
    call = grammar.share(sequence(Text(CALL_BEGINS + "{"), choice(options), Text("}" + CALL_ENDS)))
    if not form.several:
        return call
    more = sequence(Text("\n"), call)
    return sequence(call, repeat(more, 0, None if limits.calls is None else limits.calls - 1))


def _call(call: CallForm, grammar: Grammar, limits: Limits) -> Node:
    head = Text(f'"name": {json.dumps(call.name)}, ')
    if call.arguments is not None:
        arguments = _compiled(call.arguments, grammar, limits, is_object=True)
        return sequence(head, Text('"arguments": '), arguments)
    if call.pattern is None:
        text = string(grammar, {}, limits, "", exact=False)
    else:
        try:
            inside = compile_pattern(call.pattern, limits.string, whole=True)
        except PatternError as error:
            raise InvalidValue(
                f"Invalid grammar for tool '{call.name}': {error}.", field=call.field
            ) from None
        text = quoted(inside)
    return sequence(head, Text('"input": '), text)


def _compiled(schema: Schema, grammar: Grammar, limits: Limits, *, is_object: bool) -> Node:
    compiler = SchemaCompiler(grammar, limits, exact=schema.exact)
    document = parsed(schema.text)
    try:
        node = compiler.compile_object(document) if is_object else compiler.compile(document)
        return node if limits.rounds is None else bounded(grammar, node, limits.rounds)
    except CannotCompile as error:
        raise InvalidSchema(
            f"Invalid schema for {schema.owner}: {error}.", field=schema.field
        ) from None


def _text_before_calls(grammar: Grammar) -> Node:
    """Text that does not begin a call: any, but for the tag.

    One rule for each beginning of the tag that the text can stand at.
    """
    tag = CALL_BEGINS.strip()
    rules = [grammar.reserve() for _ in tag]
    for seen, rule in enumerate(rules):
        options: list[Node] = [EMPTY]
        # How the tag's own beginning can go on, without completing it.
        if seen + 1 < len(tag):
            options.append(sequence(Text(tag[seen]), rules[seen + 1]))
        if seen > 0:
            options.append(sequence(Text(tag[0]), rules[1]))
        options.append(sequence(Chars(_but(tag[seen], tag[0])), rules[0]))
        grammar.define(rule, choice(options))
    return rules[0]


def _but(*characters: str) -> tuple[tuple[int, int], ...]:
    """Any character but these."""
    ranges = []
    start = 0
    for code in sorted({ord(character) for character in characters}):
        if code > start:
            ranges.append((start, code - 1))
        start = code + 1
    return (*ranges, (start, 0x10FFFF))
