"""The program of the child process: llama.cpp's server, and a way to end it.

Nothing but the standard library and xllamacpp is imported: the model is loading 0.2 s after
the parent (supervisor.py) has started this.

    stdin   one line of JSON, the settings; then it stays open for as long as the parent lives
    stdout  one line of JSON: {"event": "listening", "url": "http://127.0.0.1:41891"}
                          or  {"event": "failed", "message": "..."}
    stderr  llama.cpp's log

The key comes with the settings, because arguments and environments can be read by others.
How far loading is, the child cannot say: xllamacpp holds the interpreter's lock meanwhile.
"""

from __future__ import annotations

import ctypes
import json
import os
import resource
import select
import signal
import sys
import threading
from typing import Any

PR_SET_PDEATHSIG = 1

# llama.cpp's threads wait for each other hundreds of times a token, and OpenMP has them spin
# meanwhile, 300,000 times by default: for longer than a time slice. If other processes want the
# cores, it is then the one that is waited for that has none. With few spins a token was 20 times
# as fast beside six busy processes on two cores.
SPINS = 1000


def main() -> None:
    _belong_to(os.getppid())
    events = os.dup(1)
    os.dup2(2, 1)  # whatever native code prints must not get between the events
    line = sys.stdin.buffer.readline()
    if not line or _at_end_of_stdin():
        os._exit(0)
    try:
        server = _serve(json.loads(line))
    except Exception as error:
        event = {"event": "failed", "message": str(error)}
    else:
        event = {"event": "listening", "url": server.listening_address}
    _tell(events, event)
    # The parent's end of stdin closes when the parent does, however it ends. Leaving without
    # clean-up is meant, here as with SIGTERM: llama.cpp's destructors can hang, and it holds
    # nothing that would survive the process. A child that failed waits too, for the parent to
    # end it when it has read the log.
    sys.stdin.buffer.read()
    os._exit(0)


def _at_end_of_stdin() -> bool:
    """Whether the parent died before this process could ask to be told."""
    return bool(select.select([0], [], [], 0)[0])  # nothing follows the line: it is the end


def _belong_to(parent: int) -> None:
    """Makes this process end with its parent, and never outside of the parent's will."""
    # Ctrl-C reaches the whole foreground group. The parent decides what it means.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # The kernel's own way to end: at once, also in the middle of native code.
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    # A core would have the prompts in it, and writing gigabytes would delay the restart.
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if sys.platform != "linux":
        threading.Thread(target=_leave_without, args=(parent,), daemon=True).start()
        return
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:  # it was gone before the call
        os._exit(0)
    try:
        with open("/proc/self/oom_score_adj", "w") as file:
            file.write("500")  # if memory is short, rather the child than the service
    except OSError:
        pass


def _leave_without(parent: int) -> None:
    """For systems without PR_SET_PDEATHSIG: acts once the model is loaded."""
    import time

    while os.getppid() == parent:
        time.sleep(1)  # in a thread of its own; there is nothing to wait for but the change
    os._exit(0)


def _serve(settings: dict[str, Any]) -> Any:
    """Returns once the model is loaded and the port answers."""
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", str(SPINS))  # read when the library is loaded
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.hostnames = ["127.0.0.1"]
    params.port = 0  # the kernel picks a free one
    params.api_keys = [settings["api_key"]]
    params.ui = False
    # Each open request holds one of these threads, waiting ones too; with too few of them,
    # requests would queue where their callers' leaving goes unnoticed.
    params.n_threads_http = 128

    params.model.path = settings["model"]
    if settings["projector"] is not None:
        params.mmproj.path = settings["projector"]
    params.use_jinja = True
    # Our contract knows no "continue this answer": a last message by the assistant is history.
    params.prefill_assistant = False

    params.n_parallel = settings["parallel"]
    params.n_ctx = settings["parallel"] * settings["context_tokens"]  # llama.cpp divides it again
    # A cache of its own for each slot. In a shared one, a long answer can leave others without
    # room in the middle of theirs.
    params.kv_unified = False
    params.ctx_shift = False  # it would forget the beginning silently; "length" is honest
    params.cont_batching = True  # new requests join the running batch
    # Saved prompts of idle slots may take 8 GiB by default. Each slot keeps its last one anyway.
    params.cache_ram_mib = 0

    # Between two batches llama.cpp looks for cancelled requests: a batch is how late it notices.
    params.n_batch = params.n_ubatch = settings["batch_tokens"]
    # Prompts being read write nothing, and who does not write does not notice a closed
    # connection. (The engine asks for progress events for the same reason.)
    params.sse_ping_interval = 1

    params.cpuparams.n_threads = settings["threads"]
    params.cpuparams_batch.n_threads = settings["threads"]
    # The parent waits for a first token before it says "ready", which warms up as well.
    params.warmup = False
    # Would load the model twice to find out what fits a GPU's memory; sizes are given here.
    params.fit_params = False
    return xllamacpp.Server(params)


def _tell(events: int, event: dict[str, str]) -> None:
    try:
        os.write(events, json.dumps(event).encode() + b"\n")
    except OSError:
        os._exit(0)  # nobody is listening any more


if __name__ == "__main__":
    main()
