"""What a rule is, and the shapes that most rules have."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Set
from dataclasses import dataclass

from diglot.v1.chat_pb2 import CreateChatCompletionRequest

from ..capability import Capability
from ..errors import ChatError, InvalidValue, MissingValue, UnsupportedParameter

Check = Callable[[CreateChatCompletionRequest], Iterator[ChatError]]
Predicate = Callable[[CreateChatCompletionRequest], bool]


@dataclass(frozen=True, slots=True)
class Rule:
    """One row of the table.

    `check` yields what is wrong with a request. With `unless`, the rule holds only for models
    without that capability. Only the presence of one of the fields in `reads` can make anything
    wrong, which spares most rules a look at most requests; by default that is the field which the
    rule names. ALWAYS is for what is wrong when it is absent.
    """

    field: str
    refuses: str
    check: Check
    unless: Capability | None = None
    reads: tuple[str, ...] = ()

    def applies(self, present: Collection[str], capabilities: Set[Capability]) -> bool:
        """Whether a request with these fields can break it, when asked of such a model."""
        if self.unless is not None and self.unless in capabilities:
            return False
        reads = self.reads or (self.field.partition(".")[0].removesuffix("[]"),)
        return reads == ALWAYS or any(name in present for name in reads)


ALWAYS = ("*",)


def required(field: str) -> Rule:
    def check(request: CreateChatCompletionRequest) -> Iterator[ChatError]:
        if not getattr(request, field):
            yield MissingValue(f"Missing required parameter: '{field}'.", field=field)

    return Rule(field, "absent", check, reads=ALWAYS)


def between(field: str, low: float, high: float) -> Rule:
    def check(request: CreateChatCompletionRequest) -> Iterator[ChatError]:
        if request.HasField(field):  # type: ignore[arg-type]  # typed as literals
            yield from outside(field, getattr(request, field), low, high)

    return Rule(field, f"outside {low} to {high}", check)


def without(capability: Capability, field: str, refuses: str, applies: Predicate, why: str) -> Rule:
    """A parameter that only some models know. `why` completes "this model …"."""

    def check(request: CreateChatCompletionRequest) -> Iterator[ChatError]:
        if applies(request):
            yield UnsupportedParameter(
                f"Unsupported parameter: '{field}': this model {why}.", field=field
            )

    return Rule(field, refuses, check, unless=capability)


def present(field: str) -> Predicate:
    return lambda request: request.HasField(field)  # type: ignore[arg-type]  # typed as literals


def outside(field: str, value: float, low: float, high: float) -> Iterator[ChatError]:
    if not low <= value <= high:  # also refuses NaN
        yield InvalidValue(
            f"Invalid value for '{field}': expected a number from {low} to {high}, "
            f"but got {value:.12g}.",
            field=field,
        )


def more_than(field: str, count: int, most: int) -> Iterator[ChatError]:
    if count > most:
        yield InvalidValue(
            f"Invalid '{field}': expected at most {most}, but got {count}.", field=field
        )
