"""What a rule is, and the shapes that most rules have."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Set
from dataclasses import dataclass

from diglot.v1.chat_pb2 import CreateChatCompletionRequest

from ..capability import Capability
from ..errors import ChatError, InvalidValue, MissingValue, UnsupportedParameter

Check = Callable[[CreateChatCompletionRequest], Iterable[ChatError]]
Predicate = Callable[[CreateChatCompletionRequest], bool]


@dataclass(frozen=True, slots=True)
class Rule:
    """One row of the table.

    `check` yields what is wrong with a request. With `unless`, the rule holds only for models
    without that capability. It needs a look only where one of the places in `reads` is notable
    (see table.py), which spares most requests most rules; by default that is the place which the
    rule names, for example `tools` or `messages[].parts`.
    """

    field: str
    refuses: str
    check: Check
    unless: Capability | None = None
    reads: tuple[str, ...] = ()

    def applies(self, notable: Set[str], capabilities: Set[Capability]) -> bool:
        """Whether a request with these notable places can break it, when asked of such a model."""
        if self.unless is not None and self.unless in capabilities:
            return False
        return not notable.isdisjoint(self.reads or (_place(self.field),))


def _place(field: str) -> str:
    top, *inner = field.split(".")
    if top == "messages[]":
        return f"{top}.{inner[0].removesuffix('[]')}"
    return top.removesuffix("[]")


def required(field: str) -> Rule:
    def check(request: CreateChatCompletionRequest) -> Iterator[ChatError]:
        if not getattr(request, field):
            yield MissingValue(f"Missing required parameter: '{field}'.", field=field)

    return Rule(field, "absent", check)


def between(field: str, low: float, high: float) -> Rule:
    def check(request: CreateChatCompletionRequest) -> Iterable[ChatError]:
        value = getattr(request, field)
        if low <= value <= high or not request.HasField(field):  # type: ignore[arg-type]  # literals
            return ()
        return outside(field, value, low, high)

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
