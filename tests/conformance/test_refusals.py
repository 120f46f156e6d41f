"""Walks the core's table of refusals, over both faces."""

from __future__ import annotations

import grpc
import openai
import pytest
from google.protobuf import text_format

from diglot.facade.param import to_param
from diglot.service.scripted import ScriptedEngine
from diglot.service.validation import TABLE
from diglot.service.validation.table import applicable
from diglot.v1.chat_pb2 import CreateChatCompletionRequest

from .plain import Json
from .refusals import PASSED, REFUSED, Refused
from .test_failures import details_of
from .ways import KEY, ByChannel, open_way, to_request


def incapable() -> ScriptedEngine:
    return ScriptedEngine(capabilities=frozenset())


def row_id(refused: Refused) -> str:
    return f"{refused.field}: {refused.refuses}"


def test_every_row_has_an_example() -> None:
    assert {(rule.field, rule.refuses) for rule in TABLE} == {one.row for one in REFUSED}


def test_an_example_is_refused_by_its_own_row() -> None:
    for refused in REFUSED:
        request = contract(refused)
        [rule] = [one for one in TABLE if (one.field, one.refuses) == refused.row]
        assert rule in applicable(request, frozenset()), row_id(refused)
        assert list(rule.check(request)), row_id(refused)


def contract(refused: Refused) -> CreateChatCompletionRequest:
    if isinstance(refused.request, str):
        return text_format.Parse(refused.text, CreateChatCompletionRequest())
    return to_request(refused.body)


@pytest.mark.parametrize("refused", REFUSED, ids=row_id)
async def test_both_faces_refuse_in_the_same_words(refused: Refused) -> None:
    async with open_way("grpc", engine=incapable()) as way:
        assert isinstance(way, ByChannel)
        metadata = (("authorization", f"Bearer {KEY}"),)
        with pytest.raises(grpc.aio.AioRpcError) as told:
            await way.channel.CreateChatCompletion(contract(refused), metadata=metadata)
        assert told.value.code() is grpc.StatusCode.INVALID_ARGUMENT
        [violation] = details_of(told.value)["BadRequest"].field_violations
        assert not way.engine.active
    if isinstance(refused.request, str):
        return
    async with open_way("sdk, in-process", engine=incapable()) as way:
        with pytest.raises(openai.BadRequestError) as caught:
            await way.create(refused.body)
    assert caught.value.param == to_param(violation.field) == (refused.param or refused.field)
    assert caught.value.body["message"] == told.value.details()  # type: ignore[index]


@pytest.mark.parametrize("request_", PASSED, ids=str)
async def test_what_asks_for_nothing_special_passes(request_: Json) -> None:
    async with open_way("sdk, grpc", engine=incapable()) as way:
        body = {"model": "scripted", "messages": [{"role": "user", "content": "hi"}], **request_}
        assert (await way.create(body))["choices"][0]["message"]["content"] == "hi"
