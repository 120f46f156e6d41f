"""`diglot key`, as an operator types it."""

from __future__ import annotations

import re
from pathlib import Path

from terminal import called, diglot

from diglot.service.keys import KeyRing


async def test_add_prints_the_key_and_nothing_else(tmp_path: Path) -> None:
    """So that a script can take it as it is; and it works."""
    outcome = await diglot("key", "add", "my laptop", "--state", str(tmp_path))
    assert (outcome.code, outcome.err) == (0, "")
    key = outcome.out.removesuffix("\n")
    assert KeyRing(tmp_path / "keys.json").authenticate(f"Bearer {key}").name == "my laptop"


def test_list_and_revoke(tmp_path: Path) -> None:
    """The table tells keys apart; an id takes one of them, a name all."""
    state = ["--state", str(tmp_path)]
    keys = [called("key", "add", name, *state).out for name in ("ci", "ci", "laptop")]
    listed = called("key", "list", *state).out.splitlines()
    assert listed[0].split() == ["ID", "NAME", "CREATED", "MODELS"]
    assert [line.split()[:2] for line in listed[1:]] == [
        [key[3:11], name] for key, name in zip(keys, ("ci", "ci", "laptop"), strict=True)
    ]
    assert all(re.search(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC  \*$", line) for line in listed[1:])

    assert called("key", "revoke", keys[2][3:11], *state).out == "revoked 1 key\n"
    assert called("key", "revoke", "ci", *state).out == "revoked 2 keys\n"
    assert called("key", "list", *state).out == "ID  NAME  CREATED  MODELS\n"
    again = called("key", "revoke", "ci", *state)
    assert again.code == 1
    assert again.err == "diglot: no key has the name or id ci; `diglot key list` shows all\n"


def test_a_key_for_some_models(tmp_path: Path) -> None:
    state = ["--state", str(tmp_path)]
    key = called("key", "add", "ci", "--models", "gpt, open*,gpt", *state).out.strip()
    models = KeyRing(tmp_path / "keys.json").authenticate(f"Bearer {key}").models
    assert models is not None
    assert models.names == ("gpt", "open*")
    (_, listed) = called("key", "list", *state).out.splitlines()
    assert listed.endswith("UTC  gpt, open*")

    refused = called("key", "add", "ci", "--models", "*gpt", *state)
    assert (refused.code, refused.out) == (1, "")
    assert refused.err == 'diglot: --models: found "*gpt"; the * of a pattern can only be its end\n'


def test_a_key_can_take_the_place_of_those_of_its_name(tmp_path: Path) -> None:
    """So that a line which makes one can be pasted any number of times."""
    state = ["--state", str(tmp_path)]
    old = [called("key", "add", name, *state).out.strip() for name in ("curl", "curl", "ci")]
    new = called("key", "add", "--replace", "curl", *state).out.strip()
    ids = [line.split()[0] for line in called("key", "list", *state).out.splitlines()[1:]]
    assert ids == [old[2][3:11], new[3:11]]


def test_keys_that_are_looked_for_where_there_are_none(tmp_path: Path) -> None:
    """A directory that is misspelt is said, and not made."""
    nowhere = tmp_path / "nowhere"
    for command in (["list"], ["revoke", "a"]):
        outcome = called("key", *command, "--state", str(nowhere))
        assert (outcome.code, outcome.out) == (1, "")
        assert outcome.err == f"diglot: there are no keys: there is no directory {nowhere}\n"
    assert not nowhere.exists()
    assert called("key", "list", "--state", str(tmp_path)).code == 0


def test_the_state_directory_comes_from_the_configuration(tmp_path: Path) -> None:
    """Also where the shell has none of the secrets that the configuration asks for."""
    (tmp_path / "diglot.toml").write_text(
        'state = "kept"\n[[models]]\nkind = "upstream"\nname = "a"\n'
        'base_url = "https://host/v1"\napi_key_env = "NOT_SET_HERE"\n'
    )
    config = ["--config", str(tmp_path / "diglot.toml")]
    assert called("key", "add", "a", *config).code == 0
    assert (tmp_path / "kept" / "keys.json").exists()
    environ = {"DIGLOT_STATE": str(tmp_path / "elsewhere")}
    assert called("key", "add", "a", *config, environ=environ).code == 0
    assert (tmp_path / "elsewhere" / "keys.json").exists()


def test_the_configuration_may_name_the_file_itself(tmp_path: Path) -> None:
    config = tmp_path / "diglot.toml"
    config.write_text('state = "kept"\n[auth]\nkeys_file = "keys/all.json"\n')
    key = called("key", "add", "a", "--config", str(config)).out.strip()
    assert KeyRing(tmp_path / "keys" / "all.json").authenticate(f"Bearer {key}").name == "a"
    assert not (tmp_path / "kept").exists()
    assert "a" in called("key", "list", "--config", str(config)).out
    config.write_text("[auth]\nkeys_file = 7\n")
    refused = called("key", "list", "--config", str(config))
    assert "auth.keys_file: found 7" in refused.err


def test_failures_are_one_line(tmp_path: Path) -> None:
    """No traceback for what an operator can mend."""
    (tmp_path / "keys.json").write_text("garbage")
    state = ["--state", str(tmp_path)]
    for arguments, says in [
        (["key", "add", "x" * 65, *state], "a key's name has 1 to 64 printable characters"),
        (["key", "add", "a", *state], "is no key file"),
        (["key", "list", *state], "is no key file"),
        (["key", "revoke", "a", *state], "is no key file"),
        (["key", "list", "--config", str(tmp_path)], "cannot read the configuration"),
        (["key", "list", "--config", str(tmp_path / "keys.json")], "cannot read the config"),
    ]:
        outcome = called(*arguments)
        assert (outcome.code, outcome.out) == (1, "")
        (line,) = outcome.err.splitlines()
        assert says in line
