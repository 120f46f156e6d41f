"""What was made of what callers send again and again, for as long as it is small.

A cache that counts its entries has no bound where callers choose how large each is: a schema of
a megabyte takes thirty, compiled, and there would be room for hundreds.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache, wraps
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


def kept(entries: int, small: Callable[P, bool]) -> Callable[[Callable[P, T]], Callable[P, T]]:
    """Keeps the last results of a function, so many, where its arguments are `small`."""

    def keeping(make: Callable[P, T]) -> Callable[P, T]:
        known = lru_cache(maxsize=entries)(make)

        @wraps(make)
        def get(*args: P.args, **kwargs: P.kwargs) -> T:
            if small(*args, **kwargs):
                return known(*args, **kwargs)  # type: ignore[arg-type]  # hashable, or it raises
            return make(*args, **kwargs)

        return get

    return keeping
