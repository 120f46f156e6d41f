"""What callers send as schemas: to the compiler of grammars, and to the check of answers."""

from __future__ import annotations

import json
import time
import zlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from random import Random

from bench.form_schemas import schema
from google.protobuf.message import DecodeError

from diglot.service.capability import EVERYTHING
from diglot.service.embedded.answer_form import AnswerForm, grammar_of
from diglot.service.embedded.grammar.limits import Limits
from diglot.service.errors import ChatError
from diglot.service.json_schema import SchemaError, fits
from diglot.service.validation import check
from diglot.v1.chat_pb2 import CreateChatCompletionRequest
from diglot.v1.message_pb2 import ROLE_USER, Message
from diglot.v1.tool_pb2 import FunctionDefinition, Tool, ToolChoice

from .target import Fault, Target

# Of CPU time, for one schema, on any machine: it is compiled on the event loop.
MOST_SECONDS = 5.0

_ANSWERS = ("{}", "[]", "null", '"a"', "1e400", '{"a": {"a": 1}}', "[[[[]]]]", "[1, 1.0, true]")
_LIMITS = (Limits(), Limits(string=20, items=4, depth=3))


class SchemaTarget:
    def __init__(self) -> None:
        self.seeds = [json.dumps(schema(number)).encode() for number in range(40)]
        self.seeds += [json.dumps(each).encode() for each in _ODD]

    async def take(self, data: bytes) -> None:
        random = Random(zlib.crc32(data))
        text = data.decode(errors="replace")
        began = time.thread_time()
        try:
            request = _asking(text, random)
            check(request, EVERYTHING)
            grammar_of(AnswerForm.of(request), random.choice(_LIMITS))
        except (ChatError, DecodeError):
            pass
        try:
            for answer in (*_ANSWERS, text):
                fits(answer, text)
        except SchemaError:
            pass
        spent = time.thread_time() - began
        if spent > MOST_SECONDS:
            raise Fault(f"it took {spent:.1f} s")


def _asking(text: str, random: Random) -> CreateChatCompletionRequest:
    """A request with this schema, in one of the places where there can be one."""
    request = CreateChatCompletionRequest(model="m")
    request.messages.append(Message(role=ROLE_USER, content="hi"))
    strict = random.random() < 0.5
    if random.random() < 0.5:
        form = request.response_format.json_schema
        form.name, form.schema_json, form.strict = "answer", text, strict
    else:
        function = FunctionDefinition(name="act", parameters_json=text, strict=strict)
        request.tools.append(Tool(function=function))
        if random.random() < 0.5:
            request.tool_choice.CopyFrom(ToolChoice(function_name="act"))
    return request


_ODD: tuple[object, ...] = (
    True,
    {"type": ["string", "null"], "minLength": 2, "maxLength": 5, "pattern": "^[a-c]+(x|y)*$"},
    {"type": "integer", "minimum": -7, "maximum": 1000, "multipleOf": 3},
    {"type": "number", "exclusiveMinimum": 0.25, "exclusiveMaximum": 9.75},
    {"enum": [1, "a", None, [1], {"a": 1}]},
    {"const": {"a": [1, 2, {"b": None}]}},
    {"type": "array", "prefixItems": [{"type": "null"}], "items": False, "minItems": 1},
    {"type": "array", "items": {"enum": ["a", "b"]}, "uniqueItems": True, "maxItems": 2},
    {"type": "object", "patternProperties": {"^x_": {"type": "integer"}}, "minProperties": 1},
    {"anyOf": [{"type": "string"}, {"$ref": "#/$defs/a"}], "$defs": {"a": {"type": "null"}}},
    {"$ref": "#/$defs/tree", "$defs": {"tree": {"type": "object", "properties": {
        "left": {"$ref": "#/$defs/tree"}, "right": {"$ref": "#/$defs/tree"}}}}},
    {"allOf": [{"properties": {"a": {"minimum": 1}}}, {"properties": {"a": {"maximum": 5}}}],
     "oneOf": [{"required": ["a"]}, {"required": ["b"]}]},
    {"not": {"type": "string"}, "if": True, "then": {"type": "null"}},
    {"$schema": "http://json-schema.org/draft-07/schema#", "definitions": {"a": {}},
     "dependencies": {"a": ["b"]}, "contains": {"$ref": "#/definitions/a"}},
    {"type": "string", "format": "date-time"},
    {"type": "object", "propertyNames": {"maxLength": 3}, "additionalProperties": {"type": "null"}},
    {"type": "object", "required": ["z"], "unevaluatedProperties": False, "properties": {"a": {}}},
)  # fmt: skip


@asynccontextmanager
async def json_schema() -> AsyncIterator[Target]:
    yield SchemaTarget()
