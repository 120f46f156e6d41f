"""`diglot config check`, as an operator types it."""

from __future__ import annotations

from pathlib import Path

from terminal import called


def test_a_good_configuration_is_ok_and_summed_up(tmp_path: Path) -> None:
    """Who can reach what, on a screen; and no secret."""
    file = tmp_path / "diglot.toml"
    file.write_text(
        f'state = "{tmp_path}"\n[http]\naddress = "0.0.0.0:80"\n[auth]\nenabled = false\n'
        '[[models]]\nkind = "upstream"\nname = "gpt"\nbase_url = "https://host/v1"\n'
        'api_key_env = "GPT_KEY"\n[[models]]\nkind = "scripted"\n'
    )
    outcome = called(*("config", "check", "--config", str(file)), environ={"GPT_KEY": "secret"})
    assert (outcome.code, outcome.err) == (0, "")
    assert outcome.out.splitlines() == [
        "ok",
        f"state  {tmp_path}",
        "http   0.0.0.0:80, plain",
        "grpc   127.0.0.1:50051, plain",
        f"store  SQLite, {tmp_path}/completions.db",
        "auth   off: everybody may call",
        "model  gpt: gpt at https://host/v1, with a key",
        "model  scripted: scripted",
    ]


def test_the_file_may_stand_by_itself(tmp_path: Path) -> None:
    """As with other commands that check a file."""
    file = tmp_path / "diglot.toml"
    file.write_text('grpc.address = "127.0.0.1:8080"\n')
    outcome = called("config", "check", str(file))
    assert outcome.code == 1
    assert outcome.err.splitlines()[1:] == [f"{file}: grpc.address: is http.address as well"]
    assert called("config", "check", str(file), "--config", str(file)).code == 2


def test_who_may_look_on_is_shown(tmp_path: Path) -> None:
    file = tmp_path / "diglot.toml"
    file.write_text('admin.address = "0.0.0.0:9464"\ntraces.endpoint = "http://collector:4318"\n')
    outcome = called("config", "check", "--config", str(file))
    assert outcome.out.splitlines()[-2:] == [
        "admin  0.0.0.0:9464, without a key",
        "trace  to http://collector:4318",
    ]


def test_pages_that_may_call_are_shown(tmp_path: Path) -> None:
    file = tmp_path / "diglot.toml"
    file.write_text('http.allowed_origins = ["https://app.example", "http://localhost:3000"]\n')
    outcome = called("config", "check", str(file))
    shown = "http   127.0.0.1:8080, plain, for pages of https://app.example, http://localhost:3000"
    assert shown in outcome.out.splitlines()


def test_a_source_that_means_nothing_is_a_fault(tmp_path: Path) -> None:
    """Told here, and not first by the server that looks for it."""
    file = tmp_path / "diglot.toml"
    file.write_text(
        '[[models]]\nname = "smollm"\nkind = "embedded"\n'
        '[[models]]\nname = "two"\n'
        '[[models.deployments]]\nkind = "scripted"\n'
        '[[models.deployments]]\nkind = "embedded"\nsource = "also-none"\n'
        '[[models]]\nname = "there"\nkind = "embedded"\nsource = "org/repo:Q4_K_M"\n'
    )
    outcome = called("config", "check", str(file))
    assert (outcome.code, outcome.out) == (1, "")
    (_, first, second) = outcome.err.splitlines()
    assert first.startswith(f"{file}: models[0].source: there is no model 'smollm' in the catalog")
    assert second.startswith(f"{file}: models[1].deployments[1].source: there is no model 'also-n")


def test_the_database_is_shown_without_its_password(tmp_path: Path) -> None:
    file = tmp_path / "diglot.toml"
    for store, environ, shown in [
        ("enabled = false", {}, "off"),
        ('url = "postgresql://me@host/talks"', {}, "PostgreSQL, talks at host"),
        (
            'url_env = "STORE"',
            {"STORE": "postgresql://me:s3cret@host:5/talks?password=s3cret"},
            "PostgreSQL, talks at host:5",
        ),
    ]:
        file.write_text(f"[store]\n{store}\n")
        outcome = called("config", "check", "--config", str(file), environ=environ)
        assert outcome.code == 0
        assert f"store  {shown}" in outcome.out.splitlines()
        assert "s3cret" not in outcome.out + outcome.err


def test_without_a_file_the_defaults_are_checked() -> None:
    """They are a configuration too."""
    outcome = called("config", "check")
    assert outcome.code == 0
    assert "model  smollm2-135m-instruct: embedded" in outcome.out


def test_faults_are_listed(tmp_path: Path) -> None:
    """All of them, and 1."""
    file = tmp_path / "diglot.toml"
    file.write_text('[http]\nadress = "x"\n[log]\nlevel = "loud"\n')
    outcome = called("config", "check", "--config", str(file))
    assert (outcome.code, outcome.out) == (1, "")
    assert outcome.err.splitlines() == [
        "diglot: the configuration cannot be used",
        f"{file}: http.adress: unknown key; did you mean address?",
        f'{file}: log.level: found "loud"; it must be one of debug, info, warning, error',
    ]
