"""The configuration: defaults, what overrides what, and the words for every fault."""

from __future__ import annotations

from pathlib import Path

import pytest
from certificates import self_signed
from hypothesis import given
from hypothesis import strategies as st

from diglot.service.config import Address, ConfigError, Flags, UpstreamModel, load
from diglot.service.state import default_state_directory, state_directory
from diglot.service.store import PostgresUrl, SqliteFile

UPSTREAM = '[[models]]\nname = "gpt"\nkind = "upstream"\nbase_url = "https://host/v1"\n'
SECRET = "sk-nobody-may-see-this"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "diglot.toml"


def faults(file: Path, text: str, flags: Flags | None = None) -> list[str]:
    """The lines of the error, without the file's name."""
    file.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError) as refused:
        load(file, flags, environ={})
    assert SECRET not in str(refused.value)
    return [line.removeprefix(f"{file}: ") for line in str(refused.value).splitlines()]


def test_without_a_file_the_defaults_hold() -> None:
    """A fresh machine serves the embedded model on loopback, to callers with a key."""
    settings = load(environ={})
    assert str(settings.http.address) == "127.0.0.1:8080"
    assert str(settings.grpc.address) == "127.0.0.1:50051"
    assert settings.auth.enabled
    assert (settings.log.format, settings.log.level) == ("text", "info")
    assert settings.http.keep_alive_seconds == 10
    (model,) = settings.models
    assert model.kind == "embedded"
    assert model.source == model.name == "smollm2-135m-instruct"


def test_a_whole_file(file: Path, tmp_path: Path) -> None:
    """Every key is taken; relative paths count from the file's own directory."""
    self_signed(tmp_path, "server")
    (tmp_path / "some.gguf").touch()
    (tmp_path / "key").write_text(f"{SECRET}\n")
    file.write_text(
        """
        state = "kept"
        [http]
        address = "[::1]:80"
        tls_cert = "server.crt"
        tls_key = "server.key"
        max_body_mib = 8
        keep_alive_seconds = 2.5
        timeout_seconds = 60
        [grpc]
        address = "0.0.0.0:0"
        tls_cert = "server.crt"
        tls_key = "server.key"
        tls_client_ca = "server.crt"
        max_message_mib = 4
        reflection = false
        [auth]
        enabled = false
        [log]
        format = "json"
        level = "debug"
        [facade]
        service = "dns:///diglot:50051"
        tls_ca = "server.crt"
        tls_cert = "server.crt"
        tls_key = "server.key"
        [[models]]
        name = "small"
        kind = "embedded"
        source = "some.gguf"
        context_tokens = 4096
        parallel = 2
        threads = 2
        [[models]]
        name = "org/big"
        kind = "upstream"
        base_url = "https://host/v1/"
        upstream_model = "big-2"
        api_key_file = "key"
        connect_timeout_seconds = 1
        [[models]]
        kind = "scripted"
        """
    )
    settings = load(file, environ={})
    assert settings.state == tmp_path / "kept"
    assert settings.http.tls_cert == tmp_path / "server.crt"
    small, big, scripted = settings.models
    assert small.kind == "embedded"
    assert small.source == str(tmp_path / "some.gguf")
    assert big.kind == "upstream"
    assert (big.base_url, big.upstream_model) == ("https://host/v1", "big-2")
    assert big.api_key is not None
    assert big.api_key.get_secret_value() == SECRET
    assert scripted.name == "scripted"


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


def test_completions_are_stored_in_a_file_unless_told_otherwise(file: Path, tmp_path: Path) -> None:
    """Relative paths count from the file's own directory; a URL with a password is elsewhere."""
    url = f"postgresql://me:{SECRET}@host/talks"
    (tmp_path / "url").write_text(f"{url}\n")
    state = tmp_path / "state"
    for text, expected in [
        ("", SqliteFile(state / "completions.db")),
        ("enabled = true", SqliteFile(state / "completions.db")),
        ('url = "sqlite:///kept/c.db"', SqliteFile(tmp_path / "kept/c.db")),
        ('url = "sqlite:////var/c.db"', SqliteFile(Path("/var/c.db"))),
        ('url = "postgresql://me@host/talks"', PostgresUrl("postgresql://me@host/talks")),
        ('url_env = "STORE"', PostgresUrl(url)),
        ('url_file = "url"', PostgresUrl(url)),
    ]:
        file.write_text(f'state = "state"\n[store]\n{text}\n')
        settings = load(file, environ={"STORE": url})
        assert settings.store.database(settings.state) == expected
        for dump in (repr(settings), settings.model_dump_json(), repr(settings.store.database)):
            assert SECRET not in dump


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("enabled = 1", "store.enabled: found 1; it must be true or false"),
        ("max_connections = 0", "store.max_connections: found 0; it must be at least 1"),
        (f'password = "{SECRET}"', "store.password: unknown key"),
        (f'url = "postgresql://me:{SECRET}@h/d"', "store.url: holds a password: use url_env or"),
        (f'url = "postgresql://me@h/d?password={SECRET}"', "store.url: holds a password"),
        (f'url = "mysql://me:{SECRET}@h/d"', "store.url: is of no database that can be used; wri"),
        (f'url = "postgresql://me:{SECRET}@h:x/d"', "store.url: is no URL; write sqlite:///PATH"),
        ('url = ""', "store.url: is of no database that can be used"),
        ('url = "sqlite://"', "store.url: is of no database that can be used"),
        ('url_env = "NOT_SET"', "store.url_env: the environment has no variable NOT_SET; set it"),
        (
            f'url_env = "postgresql://me:{SECRET}@h/d"',
            "store.url_env: must be the NAME of an environment variable",
        ),
        ('url_file = "no"', "store.url_file: cannot read /"),
        ('url_file = "/dev/null"', "store.url_file: the file /dev/null is empty"),
        ('url = "sqlite:///a"\nurl_file = "diglot.toml"', "store.url_file: the file"),
        (
            'url_env = "A"\nurl_file = "/dev/null"',
            "store.url_file: is one too many: url_env is set as well",
        ),
    ],
)
def test_what_is_wrong_with_a_database_is_named(file: Path, text: str, expected: str) -> None:
    (line,) = faults(file, f"[store]\n{text}")
    assert line.startswith(expected)


def test_a_database_is_named_once(file: Path, tmp_path: Path) -> None:
    (tmp_path / "url").write_text(f"postgresql://me:{SECRET}@host/talks")
    (line,) = faults(file, '[store]\nurl = "sqlite:///a"\nurl_file = "url"')
    assert line == "store.url: is one too many: url_file is set as well"
    (tmp_path / "url").write_text(f"nosql://me:{SECRET}@host/talks")
    (line,) = faults(file, '[store]\nurl_file = "url"')
    assert line.startswith("store.url_file: is of no database that can be used")


def test_flags_win_over_the_file(file: Path) -> None:
    """And the rest of a table stays as the file has it."""
    file.write_text('[http]\naddress = "127.0.0.1:1"\nmax_body_mib = 3\n[log]\nlevel = "error"')
    flags = Flags(
        http=Address("::1", 0), grpc="h:1", model="scripted", log_format="json", service="s:1"
    )
    settings = load(file, flags, environ={})
    assert (str(settings.http.address), settings.http.max_body_mib) == ("[::1]:0", 3)
    assert str(settings.grpc.address) == "h:1"
    assert (settings.log.format, settings.log.level) == ("json", "error")
    assert settings.facade.service == "s:1"
    assert [model.name for model in settings.models] == ["scripted"]


def test_faults_of_flags_name_the_flag(file: Path) -> None:
    """Not a place in a file that does not have them."""
    assert faults(file, "", Flags(http="80", model="no/such.gguf", log_format="xml")) == [
        '--http: found "80", which is not HOST:PORT; write for example "127.0.0.1:80"',
        '--log-format: found "xml"; it must be one of text, json',
        f"--model: there is no file {Path.cwd()}/no/such.gguf",
    ]


def test_the_state_directory(file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Flag, then DIGLOT_STATE, then the file, then the account's own; alike for `diglot key`."""
    monkeypatch.chdir(tmp_path)
    file.write_text('state = "from-file"')
    environ = {"DIGLOT_STATE": "from-environ"}
    for flag, variables, expected in [
        ("from-flag", environ, "from-flag"),
        (None, environ, "from-environ"),
        (None, {}, "from-file"),
    ]:
        assert load(file, Flags(state=flag), environ=variables).state == tmp_path / expected
        assert state_directory(flag, file, variables) == tmp_path / expected
    assert default_state_directory({"XDG_STATE_HOME": "/x"}) == Path("/x/diglot")
    assert default_state_directory({"XDG_STATE_HOME": "x"}).parts[-3:] == (
        ".local",
        "state",
        "diglot",
    )


def test_tables_that_a_command_does_not_use_are_not_looked_at(file: Path) -> None:
    """A facade on a machine of its own has none of the service's secrets and files."""
    file.write_text(UPSTREAM + 'api_key_env = "NOT_HERE"\n[grpc]\ntls_cert = "not-here"')
    assert load(file, environ={}, without={"models", "grpc"}).facade.service == "127.0.0.1:50051"


@pytest.mark.parametrize(
    ("flag", "name", "source"),
    [
        ("smollm2-135m-instruct", "smollm2-135m-instruct", "smollm2-135m-instruct"),
        ("org/repo:Q4_K_M", "org/repo:Q4_K_M", "org/repo:Q4_K_M"),
        ("https://host/a/tiny.gguf?x=y", "tiny", "https://host/a/tiny.gguf?x=y"),
        ("org/repo/tiny.gguf", "org/repo/tiny.gguf", "org/repo/tiny.gguf"),
        ("./tiny.gguf", "tiny", "{cwd}/tiny.gguf"),
        ("tiny.gguf", "tiny", "{cwd}/tiny.gguf"),
    ],
)
def test_the_model_flag(
    flag: str, name: str, source: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It means exactly one model, named so that a person would guess the name."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tiny.gguf").touch()
    (model,) = load(None, Flags(model=flag), environ={}).models
    assert model.kind == "embedded"
    assert (model.name, model.source) == (name, source.format(cwd=tmp_path))


def test_the_model_flag_picks_from_the_file(file: Path) -> None:
    """A name that the file knows means that model, as the file describes it."""
    file.write_text(UPSTREAM + '[[models]]\nkind = "scripted"')
    (model,) = load(file, Flags(model="gpt"), environ={}).models
    assert model.kind == "upstream"


@pytest.mark.parametrize(
    ("text", "host", "port", "loopback"),
    [
        ("127.0.0.1:8080", "127.0.0.1", 8080, True),
        ("localhost:1", "localhost", 1, True),
        ("[::1]:0", "::1", 0, True),
        ("[::ffff:127.0.0.1]:1", "::ffff:127.0.0.1", 1, True),
        ("0.0.0.0:80", "0.0.0.0", 80, False),
        ("[::]:80", "::", 80, False),
        ("my-host.example:65535", "my-host.example", 65535, False),
    ],
)
def test_addresses(text: str, host: str, port: int, loopback: bool) -> None:
    """What is parsed is written the same way again."""
    address = Address.parse(text)
    assert (address.host, address.port, address.is_loopback) == (host, port, loopback)
    assert str(address) == text


@given(st.text() | st.text().map("{}:80".format) | st.text().map("h:{}".format))
def test_any_text_is_an_address_or_a_value_error(text: str) -> None:
    """And an address can always be written and read again."""
    try:
        address = Address.parse(text)
    except ValueError:
        return
    assert Address.parse(str(address)) == address
