"""How often the process looks for garbage."""

from __future__ import annotations

import gc

_YOUNG = 10_000


def settle() -> None:
    """For when all is loaded: what is there now stays, and is not looked through ever again.

    Of what calls leave behind nearly all is freed when its last reference goes. What remains are
    a few cycles for each, and Python's default, to look for them after 700 objects, is several
    times for a single call.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(_YOUNG, 20, 20)
