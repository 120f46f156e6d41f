"""One table of scenarios, over both faces: what OpenAI's API promises, and that we keep it.

    scenarios.py     requests that are answered, and with what
    failures.py      requests that fail, and how that looks on each face
    ways.py          the four ways in: OpenAI's SDK over both kinds of channel, gRPC over a
                     socket, and the channel without one
    plain.py         what came back, in one form, whichever way it came

Requests are written once, as OpenAI has them. Whoever adds a feature adds rows here.
"""
