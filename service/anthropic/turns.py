"""Messages, from the contract to the two that take turns in the Messages API.

What one side says in a row is one turn, and the results of calls are said by the user. Empty
texts, which the API refuses, are left out.

Instructions, wherever they stand, are gathered in `system`, in their order: most models take none
elsewhere, and LiteLLM and Anthropic's own layer for OpenAI's SDK do the same. A model that does
take them between turns has those that come later where they stood, or as near as the API allows:
at the end of a user's turn, and not twice in a row. So they still precede the answer that the
next message of an assistant is, or that is asked for.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from diglot.v1 import message_pb2 as m

from ..errors import InvalidValue, UnsupportedValue
from ..upstream.surrogates import parsed
from .blocks import blocks_of, text_block
from .thought import places_of, thought_of, woven

Json = dict[str, Any]

_INSTRUCTIONS = (m.ROLE_SYSTEM, m.ROLE_DEVELOPER)


def turns_of(
    messages: Iterable[m.Message], *, with_thought: bool, mid_conversation_system: bool = False
) -> tuple[list[Json], list[Json]]:
    """`system` and `messages`. Raises an InvalidRequest for what cannot be said there."""
    system: list[Json] = []
    later: list[Json] = []
    turns: list[Json] = []
    for index, message in enumerate(messages):
        path = f"messages[{index}]"
        if message.role in _INSTRUCTIONS:
            blocks = blocks_of(message, path)
            if turns and mid_conversation_system:
                later += blocks
            else:
                system += blocks
            continue
        role = "assistant" if message.role == m.ROLE_ASSISTANT else "user"
        blocks = _said(message, path)
        if with_thought and message.role == m.ROLE_ASSISTANT:
            thought = thought_of(message, path)
            blocks = woven(thought, places_of(message, path, len(thought)), blocks)
        if turns and turns[-1]["role"] == role:
            turns[-1]["content"] += blocks
        elif blocks:
            if later and role == "assistant":
                turns.append({"role": "system", "content": later})
                later = []
            turns.append({"role": role, "content": blocks})
    if not turns:
        raise UnsupportedValue(
            "This model needs a message that is not empty, and not of a system or developer.",
            field="messages",
        )
    if later and turns[-1]["role"] == "user":
        turns.append({"role": "system", "content": later})
    else:  # after an assistant's last words there is no place for them
        system += later
    return system, turns


def _said(message: m.Message, path: str) -> list[Json]:
    if message.role == m.ROLE_TOOL:
        result: Json = {"type": "tool_result", "tool_use_id": message.tool_call_id}
        if content := blocks_of(message, path):
            result["content"] = content
        return [result]
    blocks = blocks_of(message, path)
    if message.refusal:
        blocks.append(text_block(message.refusal))
    for place, call in enumerate(message.tool_calls):
        where = f"{path}.tool_calls[{place}].function.arguments"
        blocks.append(
            {
                "type": "tool_use",
                "id": call.id,
                "name": call.function.name,
                "input": _arguments(call.function, where),
            }
        )
    return blocks


def _arguments(call: m.FunctionCall, field: str) -> Json:
    """ "" is how some models say that there are none. Of a half of a character, which models write
    and the API takes from nobody, a replacement is said."""
    try:
        arguments = parsed(call.arguments.encode() or b"{}", allow_inf_nan=False)
    except ValueError:
        arguments = None
    if not isinstance(arguments, dict):
        raise InvalidValue(
            f"Invalid '{field}': this model takes back only calls whose arguments are a JSON "
            "object.",
            field=field,
        )
    return arguments
