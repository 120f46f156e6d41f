"""All benchmarks but those of forms and of peers, and the soak, one after the other.

One that fails costs the others nothing; what failed is told at the end.
"""

from . import affinity, cancel, chunks, embedded, idle, latency, overload, requests, startup
from .command import run

run(
    requests=requests.tables,
    chunks=chunks.tables,
    latency=latency.tables,
    idle=idle.tables,
    startup=startup.tables,
    overload=overload.tables,
    cancel=cancel.tables,
    embedded=embedded.tables,
    affinity=affinity.tables,
)
