"""Retry-After in both of its forms, and in none."""

from __future__ import annotations

import pytest

from diglot.service.upstream.retry_after import LONGEST, seconds_of

NOW = 784111777.0  # Sun, 06 Nov 1994 08:49:37 GMT, the example of RFC 9110


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        (None, None),
        ("", None),
        ("7", 7),
        (" 7 ", 7),
        ("0.25", 0.25),
        ("-7", None),
        ("1e9", None),
        ("٣", None),
        ("9" * 20, LONGEST),
        ("9" * 400, None),
        ("Sun, 06 Nov 1994 08:49:37 GMT", 0),
        ("Sun, 06 Nov 1994 08:50:07 GMT", 30),
        ("Sunday, 06-Nov-94 08:50:07 GMT", 30),
        ("Sun Nov  6 08:50:07 1994", 30),
        ("Sun, 06 Nov 1994 09:50:07 +0100", 30),
        ("Sun, 06 Nov 1994 08:50:07 -0000", 30),
        ("Sun, 06 Nov 1994 08:00:00 GMT", 0),
        ("Sun, 06 Nov 9994 08:49:37 GMT", LONGEST),
        ("Sun, 06 Nov 99999999999 08:49:37 GMT", None),
        ("Sun, 06 Nov 1994 08:49:37 +99999999999", None),
        ("Sun, 99 Nov 1994 08:49:37 GMT", None),
        ("soon", None),
        ("Sun, 06 Nov 1994 08:49:37 GMT" + " " * 20 + "x", None),
    ],
)
def test_what_it_comes_to(header: str | None, seconds: float | None) -> None:
    assert seconds_of(header, lambda: NOW) == seconds
