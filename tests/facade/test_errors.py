"""Errors: from statuses to what OpenAI's clients see."""

# ruff: noqa: E501  # tables read better in one line a row

from __future__ import annotations

import json

import grpc
import pytest

from diglot.facade.errors import MAPPINGS, Refusal, from_refusal, from_rpc_error, internal_error
from diglot.v1 import error_pb2

from .fake import rpc_error, status

NAMES = [name.removeprefix("ERROR_REASON_") for name in error_pb2.ErrorReason.keys()]  # noqa: SIM118  # not a dict


@pytest.mark.parametrize("name", NAMES)
def test_every_reason_looks_as_the_contract_says(name: str) -> None:
    mapping = MAPPINGS[error_pb2.ErrorReason.Value(f"ERROR_REASON_{name}")]
    answer = status(name, "Something is wrong.", field="messages[0].parts")
    error = from_rpc_error(rpc_error(mapping.grpc_code, answer=answer))
    assert error.status == mapping.http_status
    assert error.headers["x-should-retry"] == ("true" if mapping.retryable else "false")
    assert json.loads(error.body) == {
        "error": {
            "message": "Something is wrong.",
            "type": mapping.type,
            "param": "messages[0].content",
            "code": mapping.code if mapping.HasField("code") else None,
        }
    }
    assert error.event == b"data: " + error.body + b"\n\n"


def test_an_unauthenticated_caller_is_told_how() -> None:
    error = from_rpc_error(rpc_error("UNAUTHENTICATED", answer=status("INVALID_API_KEY", "No.")))
    assert error.headers["WWW-Authenticate"] == "Bearer"


@pytest.mark.parametrize(
    ("delay", "header"), [(0, "1"), (0.001, "1"), (1, "1"), (1.001, "2"), (30, "30")]
)
def test_when_to_try_again(delay: float, header: str) -> None:
    answer = status("QUEUE_FULL", "Full.", retry=delay)
    assert from_rpc_error(rpc_error("UNAVAILABLE", answer=answer)).headers["Retry-After"] == header


def test_an_upstreams_own_refusal() -> None:
    details = {"type": "weird_error", "code": "weird", "http_status": "422", "else": "x"}
    answer = status("UPSTREAM_REFUSED", "Not like that.", metadata=details)
    error = from_rpc_error(rpc_error("INVALID_ARGUMENT", answer=answer))
    assert (error.status, error.type, error.code) == (422, "weird_error", "weird")


@pytest.mark.parametrize(("retry", "again"), [(None, "false"), (1, "true")])
def test_who_says_when_says_that_it_makes_sense(retry: float | None, again: str) -> None:
    answer = status("UPSTREAM_INVALID", "Failed.", retry=retry)
    assert from_rpc_error(rpc_error("INTERNAL", answer=answer)).headers["x-should-retry"] == again


@pytest.mark.parametrize("http_status", ["", "200", "302", "600", "4e2", "-400", "²", "9" * 50])
def test_an_upstream_cannot_make_a_failure_a_success(http_status: str) -> None:
    details = {"http_status": http_status, "code": "", "type": ""}
    answer = status("UPSTREAM_REFUSED", "No.", metadata=details)
    error = from_rpc_error(rpc_error("INVALID_ARGUMENT", answer=answer))
    assert (error.status, error.type, error.code) == (400, "invalid_request_error", None)


def test_a_reason_newer_than_this_version_means_what_its_code_means() -> None:
    answer = status("FROM_THE_FUTURE", "You are too early.", code="NOT_FOUND")
    error = from_rpc_error(rpc_error("NOT_FOUND", answer=answer))
    assert (error.status, error.message) == (404, "You are too early.")


@pytest.mark.parametrize(
    ("code", "text", "expected"),
    [
        ("UNAVAILABLE", "failed to connect to all addresses; ipv4:10.0.0.7:5", (503, "server_not_ready", "true")),
        ("DEADLINE_EXCEEDED", "Deadline Exceeded", (504, "timeout", "false")),
        ("RESOURCE_EXHAUSTED", "SERVER: Received message larger than max (40 vs. 4)", (413, "request_too_large", "false")),
        ("RESOURCE_EXHAUSTED", "CLIENT: Sent message larger than max (40 vs. 4)", (413, "request_too_large", "false")),
        ("RESOURCE_EXHAUSTED", "Stream removed (CLIENT: Received message larger than max (40 vs. 4))", (500, None, "false")),
        ("RESOURCE_EXHAUSTED", "received metadata size exceeds hard limit", (500, None, "false")),
        ("RESOURCE_EXHAUSTED", "quota", (429, "rate_limit_exceeded", "true")),
        ("UNAUTHENTICATED", "jwt of 10.0.0.7 expired", (401, "invalid_api_key", "false")),
        ("PERMISSION_DENIED", "rbac", (403, "permission_denied", "false")),
        ("NOT_FOUND", "x", (404, "not_found", "false")),
        ("UNIMPLEMENTED", "Method not found!", (501, "not_implemented", "false")),
        ("INVALID_ARGUMENT", "x", (400, "invalid_value", "false")),
        ("CANCELLED", "Cancelling all calls", (503, "server_not_ready", "true")),
        ("INTERNAL", "Exception deserializing response!", (500, None, "false")),
        ("UNKNOWN", "Unexpected <class 'KeyError'>: 'secret'", (500, None, "false")),
        ("DATA_LOSS", "x", (500, None, "false")),
    ],
)  # fmt: skip
def test_a_status_that_the_service_did_not_make(
    code: str, text: str, expected: tuple[int, str | None, str]
) -> None:
    error = from_rpc_error(rpc_error(code, text))
    assert (error.status, error.code, error.headers["x-should-retry"]) == expected
    assert text not in error.message
    assert error.message.endswith(".")
    foreign = from_rpc_error(rpc_error(code, answer=status("X", text, code=code, domain="istio")))
    assert (foreign.status, foreign.message) == (error.status, error.message)


def test_every_code_has_an_answer() -> None:
    for code in grpc.StatusCode:
        if code is not grpc.StatusCode.OK:
            assert from_rpc_error(rpc_error(code.name)).status >= 400


def test_details_that_a_proxy_contradicts_do_not_count() -> None:
    answer = status("QUEUE_FULL", "Full.")
    assert from_rpc_error(rpc_error("INTERNAL", answer=answer)).status == 500


def test_details_that_are_none() -> None:
    trailing = grpc.aio.Metadata(("grpc-status-details-bin", b"\xff\xff"))
    error = grpc.aio.AioRpcError(grpc.StatusCode.INTERNAL, grpc.aio.Metadata(), trailing)
    assert from_rpc_error(error).status == 500
    assert from_rpc_error(grpc.aio.AioRpcError(grpc.StatusCode.INTERNAL)).status == 500


def test_a_refusal() -> None:
    error = from_refusal(Refusal.wrong_type("n", "an integer", None))
    assert (error.status, error.param, error.code) == (400, "n", "invalid_type")
    assert error.message == "Invalid type for 'n': expected an integer, but got null instead."


def test_what_nobody_foresaw_says_nothing() -> None:
    error = internal_error()
    assert (error.status, error.code, error.param) == (500, None, None)


def test_a_message_of_no_unicode_is_written_all_the_same() -> None:
    error = from_refusal(Refusal(error_pb2.ERROR_REASON_UNKNOWN_URL, "\udcff"))
    assert json.loads(error.body)["error"]["message"] == "?"
