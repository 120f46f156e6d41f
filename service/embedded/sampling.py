"""How an embedded model picks its words where a request leaves that open."""

from __future__ import annotations

from dataclasses import dataclass

from ..config import EmbeddedModel
from ..model_store import CATALOGUE
from ..upstream.request_json import Json
from .answer_form import AnswerForm

# Who asks for one of these has a way of their own.
_AGAINST_REPETITION = {"frequency_penalty", "presence_penalty", "repeat_penalty", "dry_multiplier"}
# Where a small model finds no end: tokens of a text whose caller sets no limit, some five seconds.
_RAMBLING_ENDS = 512


@dataclass(frozen=True, slots=True)
class Sampling:
    """What a request gets that says nothing of it: llama.cpp has a mind of its own there."""

    temperature: float
    top_p: float
    repeat_penalty: float
    """1 is none. For free text alone: a form has to repeat its keys and its commas."""
    max_tokens: int | None
    """For what may be text, be it instead of a call: other forms have their own end."""

    @classmethod
    def of(cls, model: EmbeddedModel) -> Sampling:
        """As it is configured, else as the catalogue knows the model, else as OpenAI has it."""
        known = CATALOGUE.get(model.source)
        return cls(
            temperature=_first(model.temperature, known.temperature if known else None, 1.0),
            top_p=_first(model.top_p, known.top_p if known else None, 1.0),
            repeat_penalty=_first(
                model.repeat_penalty, known.repeat_penalty if known else None, 1.0
            ),
            max_tokens=_RAMBLING_ENDS if known is not None and known.rambles else None,
        )

    def fill(self, body: Json, form: AnswerForm) -> None:
        """Puts into llama.cpp's request what is open."""
        body.setdefault("temperature", self.temperature)
        body.setdefault("top_p", self.top_p)
        if self.max_tokens and form.may_be_text and "max_completion_tokens" not in body:
            body.setdefault("max_tokens", self.max_tokens)
        if self.repeat_penalty != 1 and form.is_text and _AGAINST_REPETITION.isdisjoint(body):
            body["repeat_penalty"] = self.repeat_penalty


def _first(*values: float | None) -> float:
    """The first that is set; the last always is."""
    return next(value for value in values if value is not None)
