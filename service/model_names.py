"""The names of models that a key may be limited to."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ModelNames:
    """Names as callers write them, and patterns: `gpt*` stands for all names that begin so.

    An alias is a name of its own. A model's fallback is not asked for by name: who may use the
    model gets its answers.
    """

    names: tuple[str, ...]

    def __post_init__(self) -> None:
        if not self.names:
            raise ValueError("at least one model must be named")
        for name in self.names:
            if not name or name != name.strip() or not name.isprintable():
                raise ValueError("a model's name has printable characters, no space at the ends")
            if "*" in name[:-1]:
                raise ValueError("the * of a pattern can only be its end")

    @classmethod
    def listed(cls, text: str) -> ModelNames:
        """From "a, b*". Raises ValueError."""
        return cls(tuple(dict.fromkeys(name.strip() for name in text.split(","))))

    def __contains__(self, name: str) -> bool:
        return any(
            name.startswith(each[:-1]) if each.endswith("*") else name == each
            for each in self.names
        )

    def __str__(self) -> str:
        return ", ".join(self.names)
