"""What is said in a request's messages, and how the Messages API is told it."""

from __future__ import annotations

import base64

import pytest
from messages_requests import ASKED, CALL, HI, Json, check_that_it_becomes, translated, user

from diglot.service.anthropic import Options

PNG = "iVBORw0KGgo="
PDF = base64.b64encode(b"%PDF-1.7 and so on").decode()
CALLED: Json = {
    "role": "assistant",
    "content": [
        {"type": "tool_use", "id": "c1", "name": "f", "input": {"x": 1}},
        {"type": "tool_use", "id": "c2", "name": "g", "input": {}},
    ],
}

ANSWER: Json = {"role": "assistant", "content": "ho"}
ANSWERED: Json = {"role": "assistant", "content": [{"type": "text", "text": "ho"}]}
RESULTS: list[Json] = [
    {"role": "tool", "tool_call_id": call, "content": "ok"} for call in ("c1", "c2")
]
RETURNED: Json = {
    "role": "user",
    "content": [
        {
            "type": "tool_result",
            "tool_use_id": call,
            "content": [{"type": "text", "text": "ok"}],
        }
        for call in ("c1", "c2")
    ],
}


def system(text: str) -> Json:
    return {"role": "system", "content": text}


def developer(text: str) -> Json:
    return {"role": "developer", "content": text}


ASKED_AND_SENT: dict[str, tuple[Json, Json]] = {
    "nothing else": ({}, {}),
    "instructions, wherever they stand": (
        {
            "messages": [
                {"role": "system", "content": "S"},
                HI,
                {"role": "developer", "content": [{"type": "text", "text": "D"}]},
            ]
        },
        {
            "system": [{"type": "text", "text": "S"}, {"type": "text", "text": "D"}],
            "messages": [ASKED],
        },
    ),
    "what one side says in a row is one turn": (
        {
            "messages": [
                HI,
                {"role": "user", "content": "ho", "name": "me"},
                {"role": "assistant", "content": "a", "refusal": "no"},
                {"role": "assistant", "content": "b", "reasoning_content": "unsigned"},
            ]
        },
        {
            "messages": [
                {
                    "role": "user",
                    "content": [{"type": "text", "text": "hi"}, {"type": "text", "text": "ho"}],
                },
                {
                    "role": "assistant",
                    "content": [
                        {"type": "text", "text": "a"},
                        {"type": "text", "text": "no"},
                        {"type": "text", "text": "b"},
                    ],
                },
            ]
        },
    ),
    "empty texts are left out": (
        {
            "messages": [
                {"role": "user", "content": ""},
                {"role": "user", "content": [{"type": "text", "text": ""}]},
                HI,
            ]
        },
        {"messages": [ASKED]},
    ),
    "a result that is a screenshot and a document": (
        {
            "messages": [
                HI,
                CALL,
                {
                    "role": "tool",
                    "tool_call_id": "c1",
                    "content": [
                        {"type": "text", "text": "Done."},
                        {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG}"}},
                        {"type": "file", "file": {"file_data": "data:text/plain;base64,aGk="}},
                    ],
                },
                RESULTS[1],
            ]
        },
        {
            "messages": [
                ASKED,
                CALLED,
                {
                    "role": "user",
                    "content": [
                        {
                            "type": "tool_result",
                            "tool_use_id": "c1",
                            "content": [
                                {"type": "text", "text": "Done."},
                                {
                                    "type": "image",
                                    "source": {
                                        "type": "base64",
                                        "media_type": "image/png",
                                        "data": PNG,
                                    },
                                },
                                {
                                    "type": "document",
                                    "source": {
                                        "type": "text",
                                        "media_type": "text/plain",
                                        "data": "hi",
                                    },
                                },
                            ],
                        },
                        RETURNED["content"][1],
                    ],
                },
            ]
        },
    ),
    "calls, and their results in one turn with what follows": (
        {
            "messages": [
                HI,
                CALL,
                {"role": "tool", "tool_call_id": "c1", "content": "1"},
                {
                    "role": "tool",
                    "tool_call_id": "c2",
                    "content": [{"type": "text", "text": "2"}, {"type": "text", "text": "3"}],
                },
                {"role": "tool", "tool_call_id": "c3", "content": ""},
                HI,
            ]
        },
        {
            "messages": [
                ASKED,
                CALLED,
                {
                    "role": "user",
                    "content": [
                        {
                            "type": "tool_result",
                            "tool_use_id": "c1",
                            "content": [{"type": "text", "text": "1"}],
                        },
                        {
                            "type": "tool_result",
                            "tool_use_id": "c2",
                            "content": [
                                {"type": "text", "text": "2"},
                                {"type": "text", "text": "3"},
                            ],
                        },
                        {"type": "tool_result", "tool_use_id": "c3"},
                        {"type": "text", "text": "hi"},
                    ],
                },
            ]
        },
    ),
    "images, within and by URL": (
        user(
            {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG}"}},
            {"type": "image_url", "image_url": {"url": "https://h/i.png", "detail": "low"}},
        ),
        {
            "messages": [
                {
                    "role": "user",
                    "content": [
                        {
                            "type": "image",
                            "source": {"type": "base64", "media_type": "image/png", "data": PNG},
                        },
                        {"type": "image", "source": {"type": "url", "url": "https://h/i.png"}},
                    ],
                }
            ]
        },
    ),
    "documents": (
        user(
            {
                "type": "file",
                "file": {"filename": "a.pdf", "file_data": f"data:application/pdf;base64,{PDF}"},
            },
            {"type": "file", "file": {"file_data": PDF}},
            {"type": "file", "file": {"file_data": "data:text/plain;base64,c21vcmdhcw=="}},
        ),
        {
            "messages": [
                {
                    "role": "user",
                    "content": [
                        {
                            "type": "document",
                            "source": {
                                "type": "base64",
                                "media_type": "application/pdf",
                                "data": PDF,
                            },
                            "title": "a.pdf",
                        },
                        {
                            "type": "document",
                            "source": {
                                "type": "base64",
                                "media_type": "application/pdf",
                                "data": PDF,
                            },
                        },
                        {
                            "type": "document",
                            "source": {
                                "type": "text",
                                "media_type": "text/plain",
                                "data": "smorgas",
                            },
                        },
                    ],
                }
            ]
        },
    ),
    "where to cache": (
        user(
            {
                "type": "text",
                "text": "a",
                "prompt_cache_breakpoint": {"mode": "explicit", "ttl": "30m"},
            },
            {"type": "text", "text": "b", "prompt_cache_breakpoint": {"mode": "explicit"}},
        ),
        {
            "messages": [
                {
                    "role": "user",
                    "content": [
                        {
                            "type": "text",
                            "text": "a",
                            "cache_control": {"type": "ephemeral", "ttl": "1h"},
                        },
                        {"type": "text", "text": "b", "cache_control": {"type": "ephemeral"}},
                    ],
                }
            ]
        },
    ),
    "keys of its own, in parts and tools": (
        user({"type": "text", "text": "a", "cache_control": {"type": "ephemeral"}})
        | {
            "tools": [
                {
                    "type": "function",
                    "function": {"name": "f", "defer_loading": True},
                    "cache_control": {"type": "ephemeral"},
                }
            ]
        },
        {
            "messages": [
                {
                    "role": "user",
                    "content": [
                        {"type": "text", "text": "a", "cache_control": {"type": "ephemeral"}}
                    ],
                }
            ],
            "tools": [
                {
                    "name": "f",
                    "input_schema": {"type": "object"},
                    "defer_loading": True,
                    "cache_control": {"type": "ephemeral"},
                }
            ],
        },
    ),
    "notes of other vendors' models": (
        {
            "messages": [
                {**HI, "x-note": 1},
                {
                    "role": "assistant",
                    "content": "a",
                    "reasoning_details": [{"type": "reasoning.text", "text": "t"}],
                    "annotations": [{"type": "file", "file": {}}],
                    "tool_calls": [
                        {
                            "id": "1",
                            "type": "function",
                            "function": {"name": "f", "arguments": "{}", "x": 1},
                            "extra_content": {"google": {}},
                        }
                    ],
                },
                {"role": "tool", "tool_call_id": "1", "content": "r", "name": "f"},
            ]
        },
        {
            "messages": [
                ASKED,
                {
                    "role": "assistant",
                    "content": [
                        {"type": "text", "text": "a"},
                        {"type": "tool_use", "id": "1", "name": "f", "input": {}},
                    ],
                },
                {
                    "role": "user",
                    "content": [
                        {
                            "type": "tool_result",
                            "tool_use_id": "1",
                            "content": [{"type": "text", "text": "r"}],
                        }
                    ],
                },
            ]
        },
    ),
}


@pytest.mark.parametrize("name", ASKED_AND_SENT)
def test_what_is_asked_there(name: str) -> None:
    check_that_it_becomes(*ASKED_AND_SENT[name])


S, D, E = ({"type": "text", "text": text} for text in "SDE")
LATER: dict[str, tuple[list[Json], Json]] = {
    "at the end": ([HI, system("D")], {"messages": [ASKED, {"role": "system", "content": [D]}]}),
    "before the answer, not before the question": (
        [HI, ANSWER, system("D"), developer("E"), HI, ANSWER, HI],
        {
            "messages": [
                *(ASKED, ANSWERED, ASKED),
                {"role": "system", "content": [D, E]},
                *(ANSWERED, ASKED),
            ]
        },
    ),
    "not between a call and its result": (
        [HI, CALL, system("D"), *RESULTS],
        {"messages": [ASKED, CALLED, RETURNED, {"role": "system", "content": [D]}]},
    ),
    "those at the beginning, before it": (
        [system("S"), system(""), developer("D"), HI, system(""), ANSWER],
        {"system": [S, D], "messages": [ASKED, ANSWERED]},
    ),
    "after the last word of an answer, before all": (
        [HI, ANSWER, system("D")],
        {"system": [D], "messages": [ASKED, ANSWERED]},
    ),
}


@pytest.mark.parametrize(("messages", "sent"), LATER.values(), ids=list(LATER))
def test_instructions_between_turns_stay_there_where_the_model_takes_them(
    messages: list[Json], sent: Json
) -> None:
    options = Options(default_max_tokens=100, mid_conversation_system=True)
    check_that_it_becomes({"messages": messages}, sent, options)


@pytest.mark.parametrize("messages", [messages for messages, _ in LATER.values()], ids=list(LATER))
def test_and_stand_before_all_turns_in_their_order_where_it_does_not(messages: list[Json]) -> None:
    body = translated({"messages": messages})
    said = [each["content"] for each in messages if each["role"] in ("system", "developer")]
    assert [block["text"] for block in body["system"]] == [text for text in said if text]
    assert {turn["role"] for turn in body["messages"]} <= {"user", "assistant"}
