"""How a model is told of tools, and of calls that were made.

The form is the one that Hermes, Qwen and others are trained on: descriptions as JSON between
<tools> tags in the system message, calls between <tool_call>, results between <tool_response>.
Models with a template of their own for tools read it too; and one form for all is what the
grammar and the reader of the answer can rely on.
"""

from __future__ import annotations

import json
from typing import Any

from .answer_form import CALL_BEGINS, CALL_ENDS, AnswerForm

Json = dict[str, Any]

_TOOLS = """You may call one or more functions to assist with the user query.

You are provided with function signatures within <tools></tools> XML tags:
<tools>
{tools}
</tools>

For each function call, return a json object with function name and arguments within \
<tool_call></tool_call> XML tags:
<tool_call>
{{"name": "<function-name>", "arguments": {{"<argument-name>": "<value>"}}}}
</tool_call>"""
_CUSTOM = """
Functions of the type "custom" take plain text instead:
<tool_call>
{"name": "<function-name>", "input": "<text>"}
</tool_call>"""
_FORCED = "\nYou must call a function now: {names}."


def prompted(asked: Json, form: AnswerForm) -> list[Json]:
    """The messages of a request, given as OpenAI writes it, with what the form of the answer
    asks of the model."""
    messages = [_plain(message) for message in asked["messages"]]
    if form.calls:
        tools = asked.get("tools") or [
            {"type": "function", "function": function} for function in asked["functions"]
        ]
        messages = _with_system(messages, _tools_text(tools, form))
    if form.json is not None:
        messages = _with_system(messages, _json_text(form.json.text))
    return messages


def _tools_text(tools: list[Json], form: AnswerForm) -> str:
    """All of the tools, also where only some may be called: so that a cached prompt stays
    good from call to call."""
    text = _TOOLS.format(tools="\n".join(json.dumps(tool, ensure_ascii=False) for tool in tools))
    if any(tool["type"] == "custom" for tool in tools):
        text += _CUSTOM
    if form.forced:
        names = " or ".join(call.name for call in form.calls)
        text += _FORCED.format(names=names)
    return text


def _json_text(schema: str) -> str:
    return f"Answer in JSON, and nothing else, by this schema:\n{schema}"


def _with_system(messages: list[Json], text: str) -> list[Json]:
    """With the text at the end of the first system message, or in one of its own: templates
    want at most one, and at the beginning."""
    if messages and messages[0]["role"] == "system":
        first = messages[0]
        content = first["content"]
        if isinstance(content, list):
            content = "\n".join(part["text"] for part in content)
        return [{**first, "content": f"{content}\n\n{text}"}, *messages[1:]]
    return [{"role": "system", "content": text}, *messages]


def _plain(message: Json) -> Json:
    match message["role"]:
        case "developer":
            return {**message, "role": "system"}
        case "tool" | "function":
            result = f"<tool_response>\n{_text(message.get('content'))}\n</tool_response>"
            return {"role": "user", "content": result}
        case "assistant":
            return {"role": "assistant", "content": _said(message)}
    return message


def _said(message: Json) -> str:
    pieces = [_text(message.get("content") or message.get("refusal"))]
    calls = list(message.get("tool_calls") or ())
    if deprecated := message.get("function_call"):
        calls.append({"type": "function", "function": deprecated})
    pieces += [CALL_BEGINS + _call_text(call) + CALL_ENDS for call in calls]
    return "\n".join(piece for piece in pieces if piece)


def _call_text(call: Json) -> str:
    """A call as the model writes it, its arguments as they are: they are text of its own."""
    body = call[call["type"]]
    name = json.dumps(body["name"], ensure_ascii=False)
    if call["type"] == "custom":
        return f'{{"name": {name}, "input": {json.dumps(body["input"], ensure_ascii=False)}}}'
    return f'{{"name": {name}, "arguments": {body["arguments"] or "{}"}}}'


def _text(content: Any) -> str:
    if isinstance(content, list):
        return "\n".join(part.get("text") or part.get("refusal") or "" for part in content)
    return content or ""
