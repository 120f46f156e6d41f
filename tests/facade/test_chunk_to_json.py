"""The lines of a stream."""

from __future__ import annotations

import json

import pytest
from google.protobuf import text_format
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from openai.types.chat import ChatCompletionChunk as OpenAIChunk

from diglot.burst import Burst, TextRun, chunks_of
from diglot.facade.chunk_to_json import ChunkEncoder, line
from diglot.v1 import chunk_pb2

HEAD = '"id":"c","object":"chat.completion.chunk","created":17,"model":"m"'


def chunk(fields: str) -> chunk_pb2.ChatCompletionChunk:
    text = f'id: "c" created: 17 model: "m" {fields}'
    return text_format.Parse(text, chunk_pb2.ChatCompletionChunk())


def delta(fields: str) -> str:
    """The JSON of a delta."""
    written = line(chunk(f"choices {{ delta {{ {fields} }} }}"), False).decode()
    before = f'data: {{{HEAD},"choices":[{{"index":0,"delta":'
    after = ',"logprobs":null,"finish_reason":null}]}\n\n'
    assert written.startswith(before)
    assert written.endswith(after)
    return written[len(before) : -len(after)]


@pytest.mark.parametrize(
    ("fields", "written"),
    [
        ("", "{}"),
        ('role: ROLE_ASSISTANT content: ""', '{"role":"assistant","content":"","refusal":null}'),
        ("role: ROLE_ASSISTANT", '{"role":"assistant","content":null,"refusal":null}'),
        ('content: "The"', '{"content":"The"}'),
        ('content: ""', '{"content":""}'),
        ('refusal: "no"', '{"refusal":"no"}'),
        ('reasoning_content: "hm"', '{"reasoning_content":"hm"}'),
        (
            'role: ROLE_ASSISTANT reasoning_content: "hm"',
            '{"role":"assistant","content":null,"reasoning_content":"hm","refusal":null}',
        ),
        # A header says all, a continuation nothing but more text.
        (
            'tool_calls { index: 1 id: "x" function { name: "f" } }',
            '{"tool_calls":[{"index":1,"id":"x","type":"function","function":{"name":"f","arguments":""}}]}',
        ),
        (
            'tool_calls { index: 1 function { arguments: "{" } }',
            '{"tool_calls":[{"index":1,"function":{"arguments":"{"}}]}',
        ),
        (
            'tool_calls { id: "x" custom { name: "f" } }',
            '{"tool_calls":[{"index":0,"id":"x","type":"custom","custom":{"name":"f","input":""}}]}',
        ),
        (
            'tool_calls { custom { input: "y" } }',
            '{"tool_calls":[{"index":0,"custom":{"input":"y"}}]}',
        ),
        (
            'role: ROLE_ASSISTANT tool_calls { id: "x" function { name: "f" arguments: "" } }',
            '{"role":"assistant","content":null,"tool_calls":[{"index":0,"id":"x","type":"function",'
            '"function":{"name":"f","arguments":""}}],"refusal":null}',
        ),
        ('function_call { name: "f" }', '{"function_call":{"name":"f"}}'),
        ("audio { expires_at: 5 }", '{"audio":{"expires_at":5}}'),
        (
            'annotations { url_citation { end_index: 2 url: "u" title: "t" } }',
            '{"annotations":[{"type":"url_citation","url_citation":'
            '{"start_index":0,"end_index":2,"url":"u","title":"t"}}]}',
        ),
        # What is not known comes last; what is known is said by its own field.
        (
            """content: "a" extra_json: '{"role":"x", "x": {"content":null} }'""",
            '{"content":"a","x":{"content":null}}',
        ),
        (
            """tool_calls { id: "x" function { name: "f" extra_json: '{"x":1}' } """
            """extra_json: '{"y":1,"id":2}' }""",
            '{"tool_calls":[{"index":0,"id":"x","type":"function",'
            '"function":{"name":"f","x":1,"arguments":""},"y":1}]}',
        ),
        ("""tool_calls { extra_json: '{"y":1}' }""", '{"tool_calls":[{"index":0,"y":1}]}'),
    ],
)
def test_deltas(fields: str, written: str) -> None:
    assert delta(fields) == written


def test_the_last_chunk_of_a_choice() -> None:
    finished = chunk("choices { index: 1 delta {} finish_reason: FINISH_REASON_STOP }")
    assert line(finished, False).decode() == (
        f'data: {{{HEAD},"choices":[{{"index":1,"delta":{{}},"logprobs":null,'
        '"finish_reason":"stop"}]}\n\n'
    )


def test_usage_is_null_until_it_comes_and_only_if_asked_for() -> None:
    piece = chunk('choices { delta { content: "x" } }')
    assert line(piece, True).endswith(b'"finish_reason":null}],"usage":null}\n\n')
    assert b"usage" not in line(piece, False)
    spent = chunk("usage { prompt_tokens: 1 completion_tokens: 2 total_tokens: 3 }")
    assert line(spent, True).decode() == (
        f'data: {{{HEAD},"choices":[],'
        '"usage":{"prompt_tokens":1,"completion_tokens":2,"total_tokens":3}}\n\n'
    )


def test_what_may_stand_beside_the_choices() -> None:
    piece = chunk('service_tier: "t" system_fingerprint: "f" obfuscation: "o" moderation {}')
    assert line(piece, True).decode() == (
        f'data: {{{HEAD},"service_tier":"t","system_fingerprint":"f","choices":[],"usage":null,'
        '"moderation":{"input":null,"output":null},"obfuscation":"o"}\n\n'
    )


def test_probabilities_go_with_their_token() -> None:
    piece = chunk(
        'choices { delta { content: "x" } logprobs { content { token: "x" logprob: -1 } } }'
    )
    choice = json.loads(line(piece, False)[6:])["choices"][0]
    assert choice["logprobs"]["content"][0] == {
        "token": "x",
        "logprob": -1.0,
        "bytes": None,
        "top_logprobs": [],
    }


def test_what_is_not_known_stands_at_the_end() -> None:
    piece = chunk(
        """extra_json: '{"x":\\n1,"id":2}' choices { extra_json: '{"y":[],"index":5}' delta {} }"""
    )
    assert line(piece, True).decode() == (
        f'data: {{{HEAD},"choices":[{{"index":0,"delta":{{}},"logprobs":null,"finish_reason":null,'
        '"y":[]}],"usage":null,"x":1}\n\n'
    )


_MARK = '"delta":{"content":""'

# Few values each, so that chunks of one stream resemble one another.
_TEXT = st.text(max_size=4) | st.sampled_from(["", '"', "\\", "\u2028", "é", _MARK])
_DELTA = st.builds(
    chunk_pb2.Delta,
    role=st.none() | st.just(4),
    content=st.none() | _TEXT,
    reasoning_content=st.none() | st.sampled_from(["", "x"]),
    refusal=st.none() | st.just("no"),
)
_EXTRA = st.none() | st.sampled_from(["{}", '{"delta":{"content":""}}', '{ "x":\n"\u2028"}'])
_TEXT_DELTA = st.builds(chunk_pb2.Delta, content=_TEXT, extra_json=st.none() | st.none() | _EXTRA)
_CHOICE = st.builds(
    chunk_pb2.ChunkChoice,
    index=st.sampled_from([0, 1]),
    delta=_TEXT_DELTA | _DELTA,
    finish_reason=st.none() | st.none() | st.just(1),
    extra_json=_EXTRA,
)
_CHUNK = st.builds(
    chunk_pb2.ChatCompletionChunk,
    id=st.sampled_from(["c", _MARK]),
    created=st.just(17),
    model=st.sampled_from(["m", "ö"]),
    choices=st.lists(_CHOICE, min_size=1, max_size=1) | st.lists(_CHOICE, max_size=2),
    system_fingerprint=st.none() | st.just("fp"),
    obfuscation=st.none() | st.none() | st.just("x"),
    extra_json=_EXTRA,
)


@given(st.lists(_CHUNK, max_size=8), st.booleans())
@settings(max_examples=300, deadline=None)
def test_the_encoder_writes_what_line_writes(
    chunks: list[chunk_pb2.ChatCompletionChunk], include_usage: bool
) -> None:
    encode = ChunkEncoder(include_usage)
    for piece in chunks:
        written = encode([piece])
        assert written == line(piece, include_usage)
        OpenAIChunk.model_validate(json.loads(written.removeprefix(b"data: ")))


_RUN_TEXT = st.text(min_size=1, max_size=4) | st.sampled_from(
    ['"', "\\", "\n", "\x00", "\x7f", "\u2028", "\u2029", "é", "東京", "👩‍🚀", _MARK, '"}}]']
)
_COMMON = st.builds(
    chunk_pb2.ChatCompletionChunk,
    id=st.sampled_from(["c", _MARK]),
    created=st.just(17),
    model=st.sampled_from(["m", "ö"]),
    choices=st.builds(
        chunk_pb2.ChunkChoice,
        index=st.sampled_from([0, 1]),
        delta=st.builds(chunk_pb2.Delta, content=_TEXT, extra_json=_EXTRA),
        extra_json=_EXTRA,
    ).map(lambda choice: [choice]),
    service_tier=st.none() | st.just("default"),
    system_fingerprint=st.none() | st.sampled_from(["fp", _MARK]),
    extra_json=_EXTRA,
)


@st.composite
def bursts(draw: st.DrawFn) -> list[Burst]:
    """Of one stream: what is common to a run is common to another one, too."""
    commons = draw(st.lists(_COMMON, min_size=1, max_size=3))
    runs = st.builds(TextRun, st.sampled_from(commons), st.lists(_RUN_TEXT, min_size=1, max_size=4))
    return draw(st.lists(st.lists(runs | _CHUNK, min_size=1, max_size=4), max_size=4))


@given(bursts(), st.booleans())
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_the_bytes_of_a_burst_are_those_of_its_chunks(
    stream: list[Burst], include_usage: bool
) -> None:
    encode = ChunkEncoder(include_usage)
    for burst in stream:
        written = encode(burst)
        assert written == b"".join(line(piece, include_usage) for piece in chunks_of(burst))
        for event in written.split(b"\n\n")[:-1]:
            OpenAIChunk.model_validate(json.loads(event.removeprefix(b"data: ")))


def test_nobody_elses_run_is_written() -> None:
    """Though it may lie where another one lay before: runs come and go."""
    encode = ChunkEncoder(False)
    for number in range(50):
        run = TextRun(chunk(f'choices {{ index: {number} delta {{ content: "" }} }}'), ["a", "b"])
        assert encode([run]) == b"".join(line(piece, False) for piece in run)
        del run


def test_the_encoder_does_not_depend_on_the_chunk_living_on() -> None:
    encode = ChunkEncoder(False)
    piece = chunk('choices { delta { content: "a" } }')
    encode([piece])
    piece.model = "other"
    assert encode([piece]) == line(piece, False)
