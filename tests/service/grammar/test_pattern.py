"""Patterns, held against what checks the answers: both ways, string by string."""

from __future__ import annotations

import itertools
import json

import jsonschema_rs
import pytest
from grammars import Language

from diglot.service.embedded.grammar.pattern import PatternError, compile_pattern

# Signs that JSON must escape, that it may not hold, and that do not fit into 16 bits.
SIGNS = ["", "a", "b", "Z", "0", "9", "_", "-", "]", "{", "}", '"', "\\", "/", "\n", "\t", "\x08"]
SIGNS += [" ", "\u00a0", "\u2003", "\u2028", "é", "ф", "😀"]
STRINGS = [*SIGNS, *("".join(pair) for pair in itertools.product(SIGNS[1:12], repeat=2))]
STRINGS += ["aaa", "aab", "abc", "a{2}", "aa{3}", "2024-01-31", "a.b", "foo", "xfoo", "foox"]

PATTERNS = [
    *["a", "^a", "a$", "^a$", "^$", "", "^a|b$", "^(a|b)$", "^(?:a|b)+$", "^(?<name>a)b?$"],
    *["^a*$", "^a+$", "^a?$", "^a{2}$", "^a{2,}$", "^a{1,2}$", "^a{0}$", "^a+?$", "^(a|ab)*$"],
    *["^(a?)*$", "^(a*)*b$", "^(|a)+$", "^((a?){3}b?){2}$", "^(a?b?){0,2}$", "^()*$"],
    *["^.$", "^[ab]$", "^[^ab]$", "^[a-c]+$", "^[-a]$", "^[a-]$", "^[\\]a]$", "^[a[]$", "^[{}]$"],
    *["^[\\d_]$", "^[^\\d]$", "^\\d$", "^\\D$", "^\\w$", "^\\W$", "^\\s$", "^\\S$", "^[^\\s]$"],
    *["^\\\\$", '^"$', "^\\/$", "^\\.$", "^a\\.b$", "^\\n$", "^[\\t\\n]$", "^\\x61$", "^\\u0061$"],
    *["^\\u{1F600}$", "^😀$", "^[😀-😂]$", "^\\cJ$", "^\\{$", "^a\\{2\\}$", "^]$", "^a}$", "^\\-$"],
    *["^\\d{4}-\\d{2}-\\d{2}$", "foo|^b", "^(foo|x)+$", "(a|b)$", "^[^\\x00-\\x7F]$"],
]


@pytest.mark.parametrize("pattern", PATTERNS)
def test_a_pattern_means_what_the_check_of_the_answer_takes_it_for(pattern: str) -> None:
    validator = jsonschema_rs.validator_for({"type": "string", "pattern": pattern})
    language = Language.of({"type": "string", "pattern": pattern})
    for text in language.some(40):
        assert validator.is_valid(json.loads(text)), text
    for string in STRINGS:
        if string == "\u2028" and pattern == "^.$":
            continue  # ECMA has it for the end of a line, Rust has not: left out
        written = json.dumps(string, ensure_ascii=False)
        assert (written in language) == validator.is_valid(string), string


@pytest.mark.parametrize(
    ("pattern", "why"),
    [
        ("a(?=b)", "a lookaround at position 1"),
        ("a(?<!b)", "a lookaround at position 1"),
        ("(?i)a", "a lookaround at position 0"),
        ("(a)\\1", "a backreference at position 3"),
        ("a\\bb", "'\\\\b' at position 1"),
        ("\\p{L}", "'\\\\p' at position 0"),
        ("a(b", r"an unmatched '\(' at position 1"),
        ("ab)", r"an unmatched '\)' at position 2"),
        ("a[bc", r"an unmatched '\[' at position 1"),
        ("a[]b]", "a class without characters at position 1"),
        ("a[^]b]", "a class without characters at position 1"),
        ("a\\x01", "a class without characters at position 1"),
        ("ab\\", "ends too early, at position 3"),
        ("*a", "nothing to repeat at position 0"),
        ("{2}a", "nothing to repeat at position 0"),
        ("a{2}{3}", "a repeated repetition at position 4"),
        ("a++", "a repeated repetition at position 2"),
        ("a{3,2}", "bounds exchanged at position 1"),
        ("a{1000000000}", "too long a repetition at position 1"),
        ("a{" + "9" * 5000 + "}", "too long a repetition at position 1"),
        ("[b-a]", "a range without order before position 4"),
        ("[a-\\d]", "a range without order before position 5"),
        ("a^b", r"'\^' inside the pattern, at position 1"),
        ("a$b", r"'\$' inside the pattern, at position 1"),
        ("\\u12", "a bad escape at position 0"),
        ("\\x+1", "a bad escape at position 0"),
        ("\\u{110000}", "a bad escape at position 0"),
        ("(" * 60 + ")" * 60, "nested deeper than 50 at position 50"),
    ],
    ids=lambda value: value[:30],
)
def test_what_cannot_be_followed_is_named_with_its_position(pattern: str, why: str) -> None:
    with pytest.raises(PatternError, match=why):
        compile_pattern(pattern, None)


def test_from_end_to_end() -> None:
    """As the input of a custom tool is meant."""
    language = Language(compile_pattern("SELECT [a-z]+|x", None, whole=True))
    assert "SELECT abc" in language
    assert "x" in language
    assert "SELECT abcx " not in language
    assert "xx" not in language


def test_a_limit_bounds_what_has_no_end_of_its_own() -> None:
    language = Language(compile_pattern("^a*b{2,}c{5}$", 3))
    assert "aaabbbccccc" in language
    assert "aaaabbccccc" not in language
    assert "bbbbccccc" not in language
    assert "bbbbb" in Language(compile_pattern("^b{5,}$", 3))
