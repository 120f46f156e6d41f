"""Holds an answer against what its request was promised.

A schema is a promise: who asks for one parses the answer without a second look. Whatever an
engine says that it enforces, it is checked here before the answer may end well; in a stream,
before the chunk that has the finish reason. An answer that was cut (`length`), withheld or
refused says so itself, and is not checked.
"""

from __future__ import annotations

from diglot.burst import TextRun
from diglot.presence import has
from diglot.v1 import completion_pb2 as c
from diglot.v1 import tool_pb2 as t
from diglot.v1.chat_pb2 import CreateChatCompletionRequest
from diglot.v1.chunk_pb2 import ChatCompletionChunk, ChunkChoice

from .errors import InvalidAnswer
from .json_schema import fits
from .validation.tools import allowed_name

_CHECKED = (
    c.FINISH_REASON_STOP,
    c.FINISH_REASON_TOOL_CALLS,
    c.FINISH_REASON_FUNCTION_CALL,
)
_ANY_OBJECT = '{"type": "object"}'
_ANYTHING = "{}"


class AnswerCheck:
    """The promises of one request. False if there are none, and nothing is to be looked at."""

    def __init__(self, request: CreateChatCompletionRequest) -> None:
        self._schema = _answer_schema(request)
        self._forced: set[str] = set()
        self._arguments: dict[str, str] = {}
        if request.tools or request.functions:
            self._forced = _forced_calls(request)
            self._arguments = _argument_schemas(request, everything=bool(self._forced))
        self._choices: dict[int, _Answer] = {}

    def __bool__(self) -> bool:
        return self._schema is not None or bool(self._forced or self._arguments)

    def look(self, said: ChatCompletionChunk | TextRun) -> None:
        """Takes note of it. Raises InvalidAnswer where an answer ends that breaks a promise."""
        if type(said) is TextRun:
            self._answer(said.common.choices[0].index).content += said.texts
            return
        for choice in said.choices:
            answer = self._answer(choice.index)
            answer.add(choice)
            if choice.finish_reason in _CHECKED:
                self._judge(answer)

    def _answer(self, index: int) -> _Answer:
        answer = self._choices.get(index)
        if answer is None:
            answer = self._choices[index] = _Answer()
        return answer

    def _judge(self, answer: _Answer) -> None:
        if answer.refused:
            return
        for name, pieces in answer.calls.values():
            schema = self._arguments.get(name)
            if schema is not None and not fits("".join(pieces), schema):
                raise InvalidAnswer(
                    f"The model called '{name[:64]}' with arguments that its schema does not allow."
                )
            if self._forced and name not in self._forced:
                raise InvalidAnswer(f"The model called '{name[:64]}', which it was not to call.")
        if self._forced and not answer.calls:
            raise InvalidAnswer("The model did not call a tool, though it had to.")
        if self._schema is None or answer.calls:
            return
        if not fits("".join(answer.content), self._schema):
            raise InvalidAnswer(
                "The model's answer does not have the form that response_format asks for."
            )


class _Answer:
    """What one choice has said so far."""

    def __init__(self) -> None:
        self.content: list[str] = []
        self.calls: dict[int, tuple[str, list[str]]] = {}
        self.refused = False

    def add(self, choice: ChunkChoice) -> None:
        delta = choice.delta
        if delta.content:
            self.content.append(delta.content)
        if delta.refusal:
            self.refused = True
        for piece in delta.tool_calls:
            # The input of a custom tool is no JSON: there is no schema of its name.
            name = piece.function.name or piece.custom.name
            call = self.calls.setdefault(piece.index, (name, []))
            call[1].append(piece.function.arguments)
        if delta.HasField("function_call"):
            call = self.calls.setdefault(0, (delta.function_call.name, []))
            call[1].append(delta.function_call.arguments)


def _answer_schema(request: CreateChatCompletionRequest) -> str | None:
    if not has(request, "response_format"):
        return None
    match request.response_format.WhichOneof("format"):
        case "json_object":
            return _ANY_OBJECT
        case "json_schema":
            return request.response_format.json_schema.schema_json or _ANYTHING
    return None


def _forced_calls(request: CreateChatCompletionRequest) -> set[str]:
    """The tools of which one must be called; none, if the model may answer instead."""
    choice = request.tool_choice
    match choice.WhichOneof("choice"):
        case "function_name" | "custom_name":
            return {choice.function_name or choice.custom_name}
        case "mode" if choice.mode == t.TOOL_CHOICE_MODE_REQUIRED:
            return {tool.function.name or tool.custom.name for tool in request.tools}
        case "allowed_tools" if choice.allowed_tools.mode == t.TOOL_CHOICE_MODE_REQUIRED:
            return {allowed_name(text) or "" for text in choice.allowed_tools.tools_json}
    return {request.function_call.name} - {""}


def _argument_schemas(request: CreateChatCompletionRequest, *, everything: bool) -> dict[str, str]:
    """Of the functions whose arguments were promised: by `strict`, or because a call is forced."""
    functions = [tool.function for tool in request.tools if tool.HasField("function")]
    return {
        function.name: function.parameters_json or _ANY_OBJECT
        for function in (*functions, *request.functions)
        if everything or function.strict
    }
