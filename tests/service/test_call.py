"""What is known of a call, and what becomes of it on its way."""

from __future__ import annotations

from dataclasses import fields, replace

from diglot.service.call import Call
from diglot.service.model_names import ModelNames


def test_a_unary_call_is_the_same_call_in_one_piece() -> None:
    call = Call(
        request_id="req_1",
        caller="key",
        deadline=5.0,
        models=ModelNames(("m",)),
        trace=(("traceparent", "00-1-2-01"),),
    )
    for field in fields(Call):
        assert field.name in ("meter", "whole") or getattr(call, field.name) != field.default
    unary = call.in_one_piece()
    assert unary == replace(call, whole=True)
    assert unary.meter is call.meter
    assert (call.whole, unary.whole) == (False, True)
