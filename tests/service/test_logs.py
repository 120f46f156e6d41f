"""The log: lines for people and machines, without secrets, whatever they are given."""

from __future__ import annotations

import importlib
import io
import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from diglot.service import logs
from diglot.service.keys import KeyRing
from diglot.service.log_line import _SECRETS, JsonFormatter, TextFormatter, redact

cygrpc: Any = importlib.import_module("grpc._cython.cygrpc")  # has no types
logger = logging.getLogger("diglot.test")
KEY = "dg-0123abcd-" + "aZ09_-" * 7 + "x"


@pytest.fixture
def stream() -> Iterator[io.StringIO]:
    """What the log writes to. Afterwards the process's log is as it was."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield io.StringIO()
    root.handlers[:] = handlers
    root.setLevel(level)


class Unprintable:
    def __repr__(self) -> str:
        raise RuntimeError


def record_of(fields: dict[str, Any]) -> logging.LogRecord:
    return logging.makeLogRecord({"name": "diglot.test", "levelname": "INFO", **fields})


def as_text(**record: Any) -> str:
    return TextFormatter().format(record_of(record))


def as_json(**record: Any) -> dict[str, Any]:
    line = JsonFormatter().format(record_of(record))
    assert "\n" not in line
    parsed: dict[str, Any] = json.loads(line, parse_constant=pytest.fail)
    return parsed


def test_text_lines(stream: io.StringIO) -> None:
    """Time, level, logger, message, then what extra has, quoted where it must be."""
    logs.configure("text", "info", stream)
    logger.info("%s is up", "it", extra={"port": 80, "model": "a b", "empty": ""})
    logger.debug("not shown")
    time, _, rest = stream.getvalue().partition(" INFO ")
    assert len(time) == len("2026-11-22 19:41:14.123")
    assert rest == '   test: it is up port=80 model="a b" empty=""\n'


def test_json_lines(stream: io.StringIO) -> None:
    """One object a line, with the values of extra as they are."""
    logs.configure("json", "debug", stream)
    logger.debug("up", extra={"port": 80, "ids": ["a", None], "level": "mine"})
    entry = json.loads(stream.getvalue())
    assert entry.pop("time").endswith("Z")
    assert entry == {
        "level": "debug",
        "logger": "diglot.test",
        "message": "up",
        "port": 80,
        "ids": ["a", None],
        "extra.level": "mine",
    }


def test_configuring_twice_writes_once(stream: io.StringIO) -> None:
    """The later set-up holds."""
    logs.configure("text", "info", stream)
    logs.configure("json", "info", stream)
    logger.warning("once")
    assert json.loads(stream.getvalue())["message"] == "once"


def test_tracebacks_are_kept() -> None:
    """For people below the line, for machines in a field."""
    try:
        raise ValueError("so it goes")
    except ValueError as error:
        info = (type(error), error, error.__traceback__)
    assert as_text(msg="a", exc_info=info).endswith("\nValueError: so it goes")
    assert as_json(msg="a", exc_info=info)["exception"].endswith("\nValueError: so it goes")


@pytest.mark.parametrize(
    "value",
    [object(), Unprintable(), float("nan"), float("inf"), {1j: 2}, {"a": {object()}}, b"\xff"],
)
def test_json_takes_any_value(value: object) -> None:
    """What JSON cannot say is said in Python's words."""
    assert isinstance(as_json(msg="a", value=value)["value"], str)
    assert "value=" in as_text(msg="a", value=value)


def test_json_takes_a_value_that_holds_itself() -> None:
    """Which would otherwise end in a ValueError inside the logging call."""
    circle: list[Any] = []
    circle.append(circle)
    assert as_json(msg="a", value=circle)["value"] == "[[...]]"


@given(st.text(), st.text(), st.text())
def test_any_text_is_one_line(message: str, argument: str, value: str) -> None:
    """No caller can forge a line, and a mistaken format loses nothing but its form."""
    record = {"msg": message, "args": (argument,), "value": value}
    assert len(as_text(**record).splitlines()) == 1
    as_text(**record).encode()
    as_json(**record)


@pytest.mark.parametrize(
    ("secret", "shown"),
    [
        (KEY, "dg-0123abcd-[redacted]"),
        (f"Bearer {KEY}", "Bearer [redacted]"),
        ("authorization: bearer abc.def", "authorization: bearer [redacted]"),
        (f"key=({KEY})", "key=(dg-0123abcd-[redacted])"),
        (f"{{'a': b'{KEY}'}}", "{'a': b'dg-0123abcd-[redacted]'}"),
        ("sk-proj-0123456789abcdefghij", "sk-[redacted]"),
        ("Send it as 'Authorization: Bearer KEY'", "Send it as 'Authorization: Bearer KEY'"),
        ("a dg-file and a risk-free word", "a dg-file and a risk-free word"),
    ],
)
def test_keys_are_redacted(secret: str, shown: str) -> None:
    """In the message, in extra, and in tracebacks."""
    error = ValueError(secret)
    record: dict[str, Any] = {"msg": secret, "value": secret, "exc_info": (ValueError, error, None)}
    assert shown in as_text(**record)
    entry = as_json(**record)
    assert entry["message"] == entry["value"] == shown
    assert entry["exception"].endswith(shown)
    if shown != secret:
        assert secret not in as_text(**record)


def test_keys_that_the_ring_makes_are_recognised(tmp_path: Path) -> None:
    """The pattern and the key's form must not drift apart."""
    key = KeyRing(tmp_path / "keys.json").add("a")
    assert redact(key) == f"{key[:12]}[redacted]"


def test_a_client_that_hangs_up_is_no_error(stream: io.StringIO) -> None:
    """grpc logs a traceback when a client dies mid-write; of many clients, many do."""
    logs.configure("text", "info", stream)
    cython = logging.getLogger("grpc._cython.cygrpc")
    said = "%s raised in core by servicer method [%s]"  # as grpc 1.85 says it
    for error in (cygrpc.ExecuteBatchError("gone"), cygrpc.UsageError("a bug")):
        try:
            raise error
        except Exception as caught:
            cython.exception(said, type(caught).__name__, "/diglot.v1.ChatService/Stream")
    assert "ExecuteBatchError" not in stream.getvalue()
    assert "UsageError raised in core" in stream.getvalue()


@given(st.text(st.sampled_from("dDgG-sSkKſK bBeEaArRyY012aZ\t'")))
def test_no_secret_slips_past_the_first_look(text: str) -> None:
    """What is spared the expression has nothing that it would find."""
    assert redact(text) == _SECRETS.sub(
        lambda found: f"{found[found.lastgroup or 0]}[redacted]", text
    )


def test_the_time_is_the_record_s_own() -> None:
    """Also when the second before was spelt already."""
    for created, millis in ((1_795_400_000.25, "250"), (1_795_400_000.999, "999")):
        assert as_json(msg="a", created=created)["time"] == f"2026-11-23T02:13:20.{millis}Z"
        assert as_text(msg="a", created=created).split(" ")[1].endswith(f":20.{millis}")
    formatter = TextFormatter()
    lines = [
        formatter.format(record_of({"msg": "a", "created": created}))
        for created in (1_795_400_000.5, 1_795_400_001.5, 1_795_400_000.5)
    ]
    assert [line.split(" ")[1][-6:] for line in lines] == ["20.500", "21.500", "20.500"]


def configure_alone(form: Any, level: str, stream: io.StringIO) -> None:
    """Where nobody else listens, as pytest does."""
    logging.root.handlers.clear()
    logs.configure(form, level, stream)


values = st.text() | st.text('aZ09._-= "') | st.integers() | st.floats() | st.booleans()
MINE = st.text("abc_").map("x_{}".format)


@pytest.mark.parametrize("form", ["text", "json"])
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(message=st.text(), fields=st.dictionaries(MINE, values | st.none() | st.binary()))
def test_an_event_is_the_line_that_logging_makes(
    stream: io.StringIO, form: Any, message: str, fields: dict[str, Any]
) -> None:
    stream.truncate(stream.seek(0))
    configure_alone(form, "info", stream)
    with pytest.MonkeyPatch.context() as patch:
        # Records ask either, by version. Half a second is the same in both, to the last bit.
        patch.setattr("time.time", lambda: 1_795_400_000.5)
        patch.setattr("time.time_ns", lambda: 1_795_400_000_500_000_000)
        logs.event(logger, message, fields)
        patch.setattr(logs, "_only_handler", lambda _: None)
        logs.event(logger, message, fields)
    direct, by_record, _ = stream.getvalue().split("\n")
    assert direct == by_record


def test_an_event_makes_no_record_that_nobody_sees(
    stream: io.StringIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    configure_alone("text", "info", stream)
    monkeypatch.setattr(logger, "makeRecord", pytest.fail)
    logs.event(logger, "called", {"ms": 1.5})
    assert stream.getvalue().endswith(" INFO    test: called ms=1.5\n")


class Listener(logging.Handler):
    """Which can be a filter as well."""

    def __init__(self) -> None:
        super().__init__()
        self.heard: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.heard.append(f"{record.getMessage()} {vars(record)['ms']}")

    def filter(self, record: logging.LogRecord) -> bool:
        self.emit(record)
        return False


INNER = "diglot.test.inner"


@pytest.mark.parametrize(
    ("logger_name", "attribute"),
    [("", "handlers"), (INNER, "handlers"), ("diglot.test", "handlers"), (INNER, "filters")],
)
def test_whoever_else_listens_gets_a_record(
    stream: io.StringIO, logger_name: str, attribute: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    configure_alone("text", "info", stream)
    place, listener = logging.getLogger(logger_name), Listener()
    monkeypatch.setattr(place, attribute, [*getattr(place, attribute), listener])
    logs.event(logging.getLogger(INNER), "called", {"ms": 1.5})
    assert set(listener.heard) == {"called 1.5"}
    assert stream.getvalue().endswith("called ms=1.5\n") == (attribute == "handlers")


def test_so_does_who_filters_what_we_write(stream: io.StringIO) -> None:
    configure_alone("text", "info", stream)
    listener = Listener()
    logging.root.handlers[0].addFilter(listener)
    logs.event(logger, "called", {"ms": 1.5})
    assert (listener.heard, stream.getvalue()) == (["called 1.5"], "")


def test_so_does_who_makes_records(stream: io.StringIO) -> None:
    """As instrumentation does."""
    configure_alone("text", "info", stream)
    made: list[str] = []

    class Record(logging.LogRecord):
        def getMessage(self) -> str:
            made.append(self.name)
            return super().getMessage()

    logging.setLogRecordFactory(Record)
    try:
        logs.event(logger, "called", {"ms": 1.5})
    finally:
        logging.setLogRecordFactory(logging.LogRecord)
    assert made == ["diglot.test"]


def test_an_event_that_is_not_wanted_is_not_written(stream: io.StringIO) -> None:
    configure_alone("text", "warning", stream)
    logs.event(logger, "called", {})
    assert not stream.getvalue()


def test_an_event_that_cannot_be_written_harms_nobody(
    stream: io.StringIO, capsys: pytest.CaptureFixture[str]
) -> None:
    """`logging` complains where it always does."""
    configure_alone("text", "info", stream)
    stream.close()
    logs.event(logger, "called", {"ms": 1.5})
    assert "Logging error" in capsys.readouterr().err
