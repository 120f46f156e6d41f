"""What is wrong in a configuration: the words for every fault, and no secret in them."""

from __future__ import annotations

from pathlib import Path

import pytest
from certificates import self_signed
from configurations import SECRET, UPSTREAM, faults

from diglot.service.config import ConfigError, UpstreamModel, load


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("=", "is not TOML: Invalid statement (at line 1, column 1)"),
        ('[http]\nadress = "x"', "http.adress: unknown key; did you mean address?"),
        ("[htpt]\n", "htpt: unknown key; did you mean http?"),
        ("[auth]\nzzz = 1", "auth.zzz: unknown key; the keys here are enabled"),
        (f'[auth]\npassword = "{SECRET}"', "auth.password: unknown key"),
        ('http = "x"', 'http: found "x"; it must be a table: [http]'),
        ("state = 3", "state: found 3; it must be a path, in quotes"),
        ('state = ""', 'state: found ""; it must be a path, in quotes'),
        ('[http]\naddress = "8080"', 'is not HOST:PORT; write for example "127.0.0.1:8080"'),
        ('[http]\naddress = ":80"', 'has no host; "0.0.0.0:80" is every IPv4 interface'),
        ('[grpc]\naddress = "::1:80"', 'needs brackets around IPv6; write "[::1]:PORT"'),
        ('[http]\naddress = "http://a:1"', "is a URL; write HOST:PORT, without the scheme"),
        ("[http]\naddress = 80", "http.address: found 80; it must be HOST:PORT, in quotes"),
        ('[http]\nmax_body_mib = "8"', 'max_body_mib: found "8"; it must be a whole number'),
        ("[http]\nmax_body_mib = 0", "http.max_body_mib: found 0; it must be at least 1"),
        ("[http]\nmax_body_mib = 9999", "found 9999; it must be at most 1024"),
        ("[http]\ntimeout_seconds = inf", "found inf; it must be a finite number"),
        ("[http]\ntimeout_seconds = 0", "timeout_seconds: found 0; it must be above 0"),
        ("[http]\nkeep_alive_seconds = true", "found true; it must be a number"),
        ("[grpc]\nreflection = 1", "grpc.reflection: found 1; it must be true or false"),
        ('[log]\nlevel = "INFO"', 'log.level: found "INFO"; did you mean info?'),
        ('[log]\nformat = "x"', 'log.format: found "x"; it must be one of text, json'),
        ('[http]\ntls_cert = "no"', "http.tls_cert: cannot read"),
        ('[facade]\nservice = "http://a:1"', "facade.service: found"),
        ('[facade]\nservice = "a"', 'found "a", which is no gRPC target; write HOST:PORT'),
        ("models = []", "models: found none; at least one is needed"),
        ("models = 3", "models: found 3; it must be an array of tables: [[models]]"),
        ("models = [3]", "models[0]: found 3; it must be a table: [[models]]"),
        ('[[models]]\nname = "a"', "models[0].kind: missing; it must be one of embedded, upst"),
        ('[[models]]\nkind = "embeded"', 'kind: found "embeded"; did you mean embedded?'),
        ('[[models]]\nkind = "embedded"', "models[0].name: missing; add it: what requests"),
        ('[[models]]\nkind = "embedded"\nname = "a b"', '"a b"; it must be 1 to 256 characters'),
        (
            '[[models]]\nkind = "embedded"\nname = "a"\nsource = "no.gguf"',
            "models[0].source: there is no file /",
        ),
        ('[[models]]\nkind = "upstream"\nname = "a"', "models[0].base_url: missing; add it"),
        (
            UPSTREAM.replace("https", "ftp"),
            'found "ftp://host/v1", which is no http(s) URL; write it like "https://host/v1"',
        ),
        (UPSTREAM.replace("host", "host:x"), "which is no http(s) URL"),
        (UPSTREAM.replace("host", f"me:{SECRET}@host"), "base_url: holds a password"),
        (UPSTREAM.replace("host", f"me:{SECRET}@host:x"), "base_url: is no http(s) URL"),
        (UPSTREAM.replace("https://", f"me:{SECRET}@"), "base_url: is no http(s) URL"),
        (
            '[traces]\nendpoint = "http://[::1"',
            'endpoint: found "http://[::1", which is no http(s)',
        ),
        ('[traces]\nendpoint = "http://host:99999"', "write http://HOST:4318, as OTLP over HTTP"),
        (f'[traces]\nendpoint = "http://me:{SECRET}@host"', "traces.endpoint: holds a password"),
        (f'[traces]\nendpoint = "me:{SECRET}@host"', "traces.endpoint: is no http(s) URL"),
        (UPSTREAM.replace("/v1", "/v1?a=b"), 'the part from "?" on must go'),
        (UPSTREAM + f'api_key = "{SECRET}"', "models[0].api_key: secrets do not belong in"),
        (
            UPSTREAM + 'api_key_env = "NOT_SET"',
            "models[0].api_key_env: the environment has no variable NOT_SET; set it",
        ),
        (
            UPSTREAM + f'api_key_env = "{SECRET}"',
            "models[0].api_key_env: must be the NAME of an environment variable",
        ),
        (UPSTREAM + 'api_key_file = "no"', "models[0].api_key_file: cannot read /"),
        (UPSTREAM + 'api_key_file = "/dev/null"', "the file /dev/null is empty"),
        (
            UPSTREAM + 'api_key_file = "/dev/null"\napi_key_env = "A"',
            "models[0].api_key_file: is one too many: api_key_env is set as well",
        ),
        (UPSTREAM + "connect_timeout_seconds = -1", "found -1; it must be above 0"),
        (
            UPSTREAM + '[[models]]\nkind = "scripted"\nname = "gpt"',
            'models[1].name: found "gpt", which models[0] is called already',
        ),
    ],
)
def test_every_fault_names_its_place_and_the_way_out(file: Path, text: str, expected: str) -> None:
    """One line, with the key, what was found, and what to do; never the value of a secret."""
    (line,) = faults(file, text)
    assert expected in line


def test_all_faults_are_told_at_once(file: Path) -> None:
    """Nobody wants to start a server five times to find five faults."""
    text = '[http]\naddress = "x"\n[log]\nlevel = "loud"\n' + UPSTREAM + "zzz = 1"
    assert [line.split(":")[0] for line in faults(file, text)] == [
        "http.address",
        "log.level",
        "models[0].zzz",
    ]


@pytest.mark.parametrize("content", [b"\xff\xfe", None])
def test_a_file_that_cannot_be_read_is_named(file: Path, content: bytes | None) -> None:
    """Missing, or no text: an error like every other."""
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(ConfigError, match=r"not UTF-8|No such file") as refused:
        load(file)
    assert str(refused.value).startswith(f"{file}: ")


def test_certificate_and_key_must_belong_together(file: Path, tmp_path: Path) -> None:
    """Told at the start, in words, and not by the first client's handshake."""
    self_signed(tmp_path, "a")
    self_signed(tmp_path, "b")
    (line,) = faults(file, '[http]\ntls_cert = "a.crt"\ntls_key = "b.key"')
    assert line.startswith("http.tls_cert: cannot use ")
    assert line.endswith("KEY_VALUES_MISMATCH")
    (line,) = faults(file, '[http]\ntls_cert = "a.crt"')
    assert line.startswith("http.tls_key: missing: tls_cert is set")
    (line,) = faults(file, '[grpc]\ntls_key = "a.key"')
    assert line.startswith("grpc.tls_cert: missing: tls_key is set")
    (line,) = faults(file, '[grpc]\ntls_client_ca = "a.crt"')
    assert line == "grpc.tls_client_ca: needs tls_cert and tls_key beside it"
    (line,) = faults(file, '[facade]\ntls_cert = "a.crt"\ntls_key = "a.key"')
    assert line == "facade.tls_cert: needs tls_ca beside it"


def test_secrets_stay_out_of_dumps(file: Path) -> None:
    """What is logged of a configuration cannot give a key away."""
    file.write_text(UPSTREAM + 'api_key_env = "GPT_KEY"')
    settings = load(file, environ={"GPT_KEY": f" {SECRET}\n"})
    (model,) = settings.models
    assert isinstance(model, UpstreamModel)
    assert model.api_key is not None
    assert model.api_key.get_secret_value() == SECRET
    for dump in (repr(settings), str(settings), settings.model_dump_json(), repr(model.api_key)):
        assert SECRET not in dump


@pytest.mark.parametrize("value", ["", "  ", "two\nlines", "smörgås"])
def test_a_secret_must_fit_a_header(file: Path, value: str) -> None:
    """A line break in a key would smuggle a header into every request."""
    file.write_text(UPSTREAM + 'api_key_env = "GPT_KEY"')
    with pytest.raises(ConfigError, match=r"models\[0\]\.api_key_env: the variable GPT_KEY"):
        load(file, environ={"GPT_KEY": value})
