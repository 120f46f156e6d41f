"""Statuses that no Diglot of this version makes: from grpc itself, proxies, and newer peers."""

from __future__ import annotations

import grpc
import grpc.aio
import pytest
from google.protobuf import any_pb2
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status

from diglot.service import errors
from diglot.service.peer.refusal import error_of

Code = grpc.StatusCode


def bare(code: grpc.StatusCode, text: str = "secret") -> grpc.aio.AioRpcError:
    return grpc.aio.AioRpcError(code, grpc.aio.Metadata(), grpc.aio.Metadata(), text)


def told(code: grpc.StatusCode, reason: str, domain: str = "diglot") -> grpc.aio.AioRpcError:
    detail = any_pb2.Any()
    detail.Pack(error_details_pb2.ErrorInfo(reason=reason, domain=domain))
    status = rpc_status.to_status(
        status_pb2.Status(code=code.value[0], message="words", details=[detail])
    )
    trailing = grpc.aio.Metadata(*status.trailing_metadata)
    return grpc.aio.AioRpcError(code, grpc.aio.Metadata(), trailing, "words")


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (bare(Code.UNAVAILABLE), errors.UpstreamUnavailable),
        (bare(Code.CANCELLED), errors.UpstreamUnavailable),
        (bare(Code.DEADLINE_EXCEEDED), errors.DeadlineExceeded),
        (bare(Code.UNAUTHENTICATED), errors.UpstreamInvalid),
        (bare(Code.PERMISSION_DENIED), errors.UpstreamInvalid),
        (bare(Code.RESOURCE_EXHAUSTED), errors.RateLimited),
        (bare(Code.INVALID_ARGUMENT), errors.UpstreamInvalid),
        (bare(Code.UNIMPLEMENTED), errors.UpstreamInvalid),
        (bare(Code.UNKNOWN), errors.UpstreamInvalid),
        (told(Code.UNAVAILABLE, "QUEUE_FULL", "another"), errors.UpstreamUnavailable),
    ],
)
def test_what_no_diglot_said_is_put_in_our_words(
    error: grpc.aio.AioRpcError, kind: type[errors.ChatError]
) -> None:
    """Theirs name addresses and machinery."""
    made = error_of(error, "ours")
    assert type(made) is kind
    assert "secret" not in made.message
    assert "words" not in made.message


@pytest.mark.parametrize(
    ("code", "reason", "kind"),
    [
        (Code.UNAVAILABLE, "QUEUE_FULL", errors.QueueFull),
        (Code.UNAVAILABLE, "NEWER_THAN_US", errors.UpstreamUnavailable),
        (Code.INVALID_ARGUMENT, "REQUEST_TOO_LARGE", errors.UpstreamRefused),
        (Code.NOT_FOUND, "NEWER_THAN_US", errors.UpstreamRefused),
        (Code.RESOURCE_EXHAUSTED, "NEWER_THAN_US", errors.RateLimited),
        (Code.DEADLINE_EXCEEDED, "NEWER_THAN_US", errors.DeadlineExceeded),
        (Code.UNIMPLEMENTED, "NEWER_THAN_US", errors.NotImplementedYet),
        (Code.INTERNAL, "NEWER_THAN_US", errors.UpstreamInvalid),
        (Code.DATA_LOSS, "NEWER_THAN_US", errors.UpstreamInvalid),
    ],
)
def test_a_reason_that_is_not_known_keeps_the_meaning_of_its_code(
    code: grpc.StatusCode, reason: str, kind: type[errors.ChatError]
) -> None:
    made = error_of(told(code, reason), "ours")
    assert (type(made), made.message) == (kind, "words")
