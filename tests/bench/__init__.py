"""How fast and how steady Diglot is, on the machine at hand. Each benchmark is a command:

    python -m tests.bench             all of them, but for the last five
    python -m tests.bench.requests    whole answers: CPU of each, and how many a second
    python -m tests.bench.chunks      streamed answers: CPU of each chunk, and how many a second
    python -m tests.bench.latency     what is added to the time that an upstream takes
    python -m tests.bench.idle        memory of open streams
    python -m tests.bench.startup     from the command to the first answer
    python -m tests.bench.overload    what is answered in time when too much is asked
    python -m tests.bench.cancel      how soon it ends when a caller leaves
    python -m tests.bench.embedded    the embedded model, beside llama.cpp's own server
    python -m tests.bench.affinity    what it is worth to keep conversations together
    python -m tests.bench.compare     two revisions side by side: HEAD . or any of git's
    python -m tests.bench.peers       other gateways beside it (peer_packages fetches them)
    python -m tests.bench.prefill     what the embedded model's batch size was chosen by
    python -m tests.bench.forms       how many answers by schema are valid
    python -m tests.bench.soak        everything at once, for as long as you like

Each has --help; --quick finds out in seconds whether it works. What --save keeps in results/,
`python -m tests.bench.report` turns into tables, and `python -m tests.bench.plots` into pictures.

The servers are the `diglot` command in processes of its own, set up as users run it, keys
included; the clients live in the benchmark's process. Machines are noisy: what is to be
compared is measured in turns, several times, and the medians are told, with the range.
"""
