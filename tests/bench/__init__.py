"""How fast Diglot is, on the machine at hand. Each benchmark is a command:

    python -m tests.bench             all of them
    python -m tests.bench.requests    whole answers of the scripted model
    python -m tests.bench.chunks      streamed answers of the scripted model
    python -m tests.bench.embedded    the embedded model, beside llama.cpp's own server
    python -m tests.bench.startup     from the command to the first answer

The servers are the `diglot` command in processes of its own, set up as users run it, keys
included; the clients live in the benchmark's process. Machines are noisy: what is to be
compared is measured in turns, several times, and the medians are told, with the range.
"""
