"""`diglot config check`, as an operator types it."""

from __future__ import annotations

from pathlib import Path

from terminal import diglot


async def test_a_good_configuration_is_ok_and_summed_up(tmp_path: Path) -> None:
    """Who can reach what, on a screen; and no secret."""
    file = tmp_path / "diglot.toml"
    file.write_text(
        f'state = "{tmp_path}"\n[http]\naddress = "0.0.0.0:80"\n[auth]\nenabled = false\n'
        '[[models]]\nkind = "upstream"\nname = "gpt"\nbase_url = "https://host/v1"\n'
        'api_key_env = "GPT_KEY"\n[[models]]\nkind = "scripted"\n'
    )
    outcome = await diglot(
        *("config", "check", "--config", str(file)), environ={"GPT_KEY": "secret"}
    )
    assert (outcome.code, outcome.err) == (0, "")
    assert outcome.out.splitlines() == [
        "ok",
        f"state  {tmp_path}",
        "http   0.0.0.0:80, plain",
        "grpc   127.0.0.1:50051, plain",
        "auth   off: everybody may call",
        "model  gpt: gpt at https://host/v1, with a key",
        "model  scripted: scripted",
    ]


async def test_without_a_file_the_defaults_are_checked() -> None:
    """They are a configuration too."""
    outcome = await diglot("config", "check")
    assert outcome.code == 0
    assert "model  smollm2-135m-instruct: embedded" in outcome.out


async def test_faults_are_listed(tmp_path: Path) -> None:
    """All of them, and 1."""
    file = tmp_path / "diglot.toml"
    file.write_text('[http]\nadress = "x"\n[log]\nlevel = "loud"\n')
    outcome = await diglot("config", "check", "--config", str(file))
    assert (outcome.code, outcome.out) == (1, "")
    assert outcome.err.splitlines() == [
        "diglot: the configuration cannot be used",
        f"{file}: http.adress: unknown key; did you mean address?",
        f'{file}: log.level: found "loud"; it must be one of debug, info, warning, error',
    ]
