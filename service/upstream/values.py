"""Parts of an upstream's answer, from JSON to the contract.

Upstreams are not trusted to keep to the types: what is not of its type counts as absent.
"""

from __future__ import annotations

import math
from typing import Any

from diglot.v1 import completion_pb2 as c
from diglot.v1 import message_pb2 as m

from ..extra import known_keys, unknown, written

UNLIKELY = -9999.0
"""OpenAI's log-probability for "very unlikely"; JSON has no infinity."""

_INT32_MAX = 2**31 - 1

_COUNTS = frozenset({"prompt_tokens", "completion_tokens", "total_tokens"})
_USAGE = known_keys(c.Usage)
_DETAILS = {
    "prompt_tokens_details": known_keys(c.PromptTokensDetails),
    "completion_tokens_details": known_keys(c.CompletionTokensDetails),
}
_TOKEN = known_keys(c.TokenLogprob)
_LIKELY = known_keys(c.TopLogprob)
_ANNOTATION = known_keys(m.Annotation)
_CITATION = known_keys(m.UrlCitation)

# Also said beside the details, where OpenAI has them: DeepSeek; Together; SGLang.
_BESIDE = (
    ("prompt_cache_hit_tokens", "prompt_tokens_details", "cached_tokens"),
    ("cached_tokens", "prompt_tokens_details", "cached_tokens"),
    ("reasoning_tokens", "completion_tokens_details", "reasoning_tokens"),
)


def text(value: Any) -> str | None:
    return value if isinstance(value, str) else None


def parts(content: list[Any]) -> tuple[str, str]:
    """The text, and the thought, of content in parts: so Mistral's models send it that think."""
    said, thought = [], []
    for part in _dicts(content):
        if part.get("type") == "text":
            said.append(text(part.get("text")) or "")
        elif part.get("type") == "thinking":
            thought += [text(piece.get("text")) or "" for piece in _dicts(part.get("thinking"))]
    return "".join(said), "".join(thought)


def number(value: Any) -> float | None:
    """A finite one, which a double can hold."""
    if type(value) is float:  # as most are
        return value if math.isfinite(value) else None
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        return float(value) if math.isfinite(value) else None
    except OverflowError:
        return None


def count(value: Any) -> int | None:
    """A number of tokens."""
    if type(value) is int and 0 <= value <= _INT32_MAX:  # as most are
        return value
    found = number(value)
    return None if found is None else min(max(int(found), 0), _INT32_MAX)


def usage(body: dict[str, Any]) -> c.Usage:
    prompt = count(body.get("prompt_tokens")) or 0
    completion = count(body.get("completion_tokens")) or 0
    total = count(body.get("total_tokens"))
    value = c.Usage()  # its fields by hand: a constructor's keywords are slow
    value.prompt_tokens = prompt
    value.completion_tokens = completion
    value.total_tokens = (count(prompt + completion) or 0) if total is None else total
    if _COUNTS.issuperset(body):
        return value
    for name, known in _DETAILS.items():
        details = body.get(name)
        if isinstance(details, dict):
            target = getattr(value, name)
            target.SetInParent()
            for key, told in details.items():
                if key in known and count(told) is not None:
                    setattr(target, key, count(told))
            if extra := unknown(details, known):
                target.extra_json = written(extra)
    for key, name, place in _BESIDE:
        if key in body and (told := count(body[key])) is not None:
            details = getattr(value, name)
            if not details.HasField(place):
                setattr(details, place, told)
    if extra := unknown(body, _USAGE):
        value.extra_json = written(extra)
    return value


def logprobs(
    body: dict[str, Any], most_likely: int, *, keep_unknown: bool = True
) -> c.ChoiceLogprobs:
    """With at most so many `top_logprobs` as were asked for: some servers send more."""
    value = c.ChoiceLogprobs()
    for name, target in (("content", value.content), ("refusal", value.refusal)):
        for entry in _dicts(body.get(name)):
            token = target.add()
            _token(token, entry)
            if keep_unknown and not _TOKEN.issuperset(entry):
                _add_extra(token, entry, _TOKEN)
            for likely in _dicts(entry.get("top_logprobs"))[:most_likely]:
                other = token.top_logprobs.add()
                _token(other, likely)
                if keep_unknown and not _LIKELY.issuperset(likely):
                    _add_extra(other, likely, _LIKELY)
    return value


def _add_extra(
    target: c.TokenLogprob | c.TopLogprob, entry: dict[str, Any], known: frozenset[str]
) -> None:
    if extra := unknown(entry, known):
        target.extra_json = written(extra)


def _token(target: c.TokenLogprob | c.TopLogprob, entry: dict[str, Any]) -> None:
    target.token = text(entry.get("token")) or ""
    logprob = number(entry.get("logprob"))
    target.logprob = UNLIKELY if logprob is None else max(logprob, UNLIKELY)
    octets = entry.get("bytes")
    if isinstance(octets, list):
        try:
            target.bytes = bytes(octets)
        except (TypeError, ValueError):
            target.bytes = target.token.encode()


def annotations_of(body: Any) -> list[m.Annotation]:
    found = []
    for entry in _dicts(body):
        value = m.Annotation()
        extra = unknown(entry, _ANNOTATION)
        citation = entry.get("url_citation")
        if isinstance(citation, dict):
            value.url_citation.CopyFrom(_citation(citation))
            extra.pop("type", None)
        if extra:
            value.extra_json = written(extra)
        if value.ByteSize():
            found.append(value)
    return found


def _citation(body: dict[str, Any]) -> m.UrlCitation:
    value = m.UrlCitation(
        start_index=count(body.get("start_index")) or 0,
        end_index=count(body.get("end_index")) or 0,
        url=text(body.get("url")) or "",
        title=text(body.get("title")) or "",
    )
    if extra := unknown(body, _CITATION):
        value.extra_json = written(extra)
    return value


def moderation(body: dict[str, Any]) -> c.Moderation:
    value = c.Moderation()
    for side in ("input", "output"):
        outcome = body.get(side)
        if not isinstance(outcome, dict):
            continue
        target: c.ModerationOutcome = getattr(value, side)
        if outcome.get("type") == "error":
            target.error.code = text(outcome.get("code")) or ""
            target.error.message = text(outcome.get("message")) or ""
        else:
            target.results.model = text(outcome.get("model")) or ""
            for result in _dicts(outcome.get("results")):
                _verdict(target.results.results.add(), result)
    return value


def _verdict(target: c.ModerationResult, result: dict[str, Any]) -> None:
    target.model = text(result.get("model")) or ""
    target.flagged = result.get("flagged") is True
    for category, applies in _items(result.get("categories")):
        target.categories[category] = applies is True
    for category, score in _items(result.get("category_scores")):
        if (told := number(score)) is not None:
            target.category_scores[category] = told
    for category, kinds in _items(result.get("category_applied_input_types")):
        if isinstance(kinds, list):
            applied = target.category_applied_input_types[category]
            applied.types.extend(kind for kind in kinds if isinstance(kind, str))


def _dicts(value: Any) -> list[dict[str, Any]]:
    return [entry for entry in value if isinstance(entry, dict)] if isinstance(value, list) else []


def _items(value: Any) -> list[tuple[str, Any]]:
    return list(value.items()) if isinstance(value, dict) else []
