"""Whatever strangers send: nothing crashes, nothing is the server's fault, it goes on serving.

    PYTHONPATH=tests python -m fuzz --minutes 10

`mutation` spoils good inputs, `targets` are what they are given to, `campaign` does it again and
again and keeps what went wrong as a file. The tests do the same for some seconds, and always with
the same inputs.
"""
