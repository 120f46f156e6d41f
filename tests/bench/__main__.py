"""All benchmarks, one after the other."""

from . import chunks, embedded, requests, startup
from .command import run

run(requests.tables, chunks.tables, embedded.tables, startup.tables)
