"""Several processes that serve on the same ports, and the one that keeps them.

    parent ── Crew ──┬── worker 1 ─┐
       │             ├── worker 2 ─┼─ asks ─▶ the embedded models' processes,
       │             └── …         ┘          which are the parent's children
       └── Ports, Lending

The parent serves nothing itself. It takes the ports, fetches and runs the embedded models, reads
the configuration, and starts again what ends. With each worker it has a Link; where that ends,
or the parent does, the worker does too.
"""

from .parent import run_workers

__all__ = ["run_workers"]
