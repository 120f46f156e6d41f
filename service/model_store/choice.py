"""Which of a repository's files a name means."""

from __future__ import annotations

import re
from collections.abc import Iterable

from .errors import ModelStoreError

DEFAULT_QUANT = "Q4_K_M"  # a third of the size of FP16, and hard to tell from it

_SPLIT = re.compile(r"-\d{5}-of-\d{5}\.gguf$", re.IGNORECASE)
# What lies beside models in the same format: image encoders, and statistics for quantizing.
_NO_MODEL = re.compile(r"mmproj|imatrix", re.IGNORECASE)


def choose(repo: str, files: Iterable[str], quant: str | None) -> str:
    """The file, or ModelStoreError that lists what there is."""
    models = sorted(
        file for file in files if file.lower().endswith(".gguf") and not _NO_MODEL.search(file)
    )
    if not models:
        raise ModelStoreError(
            f"{repo} holds no GGUF file; look for a repository of the same model"
            " whose name ends in -GGUF"
        )
    matching = [file for file in models if _is_quant(file, quant or DEFAULT_QUANT)]
    if not matching and quant is None:
        matching = models
    if len(matching) == 1:
        refuse_split(repo, matching[0])
        return matching[0]
    if matching and all(map(_SPLIT.search, matching)):
        refuse_split(repo, matching[0])
    whole = [file for file in models if not _SPLIT.search(file)]
    raise ModelStoreError(
        f"{repo} holds {'no' if not matching else 'more than one'} {quant or 'model'}"
        f" that could be meant; name one like {repo}/FILE: {', '.join(whole or models)}"
    )


def refuse_split(repo: str, file: str) -> None:
    """Raises ModelStoreError for one part of a model that comes in several files."""
    if _SPLIT.search(file):
        raise ModelStoreError(
            f"{repo} holds this model in parts ({file}), which Diglot does not fetch: choose a"
            " quantization that is one file, or join the parts with llama-gguf-split --merge"
            " and name the path"
        )


def _is_quant(file: str, quant: str) -> bool:
    """Whether the file's name has it as a word: Q4_K is not in Q4_K_M."""
    word = rf"(?:^|[-._/]){re.escape(quant)}(?=[-./]|$)"
    return re.search(word, file, re.IGNORECASE) is not None
