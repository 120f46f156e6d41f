"""The configuration: defaults, and what overrides what."""

from __future__ import annotations

from pathlib import Path

import pytest
from certificates import self_signed
from configurations import SECRET, UPSTREAM, faults

from diglot.service.config import Address, Flags, load
from diglot.service.state import default_state_directory, state_directory


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


def test_each_listens_at_a_place_of_its_own(file: Path) -> None:
    """Each that is used: the HTTP face of `diglot service` has a default, and no port."""
    text = 'grpc.address = "127.0.0.1:8080"\nadmin.address = "127.0.0.1:8080"\n'
    assert faults(file, text) == ["grpc.address: is http.address as well"]
    moved = Flags(http=Address("127.0.0.1", 80))
    assert faults(file, text, moved) == ["admin.address: is grpc.address as well"]
    free = Flags(grpc=Address("127.0.0.1", 0), http=Address("127.0.0.1", 0))
    assert load(file, free, environ={}).http.address.port == 0
    alone = Flags(admin=Address("127.0.0.1", 0))
    assert load(file, alone, environ={}, without={"http"}).grpc.address.port == 8080


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
