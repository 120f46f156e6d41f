"""Models of other servers in the configuration: what each kind takes, and what it makes of it."""

from __future__ import annotations

from pathlib import Path

import pytest
from certificates import self_signed

from diglot.service.anthropic import AnthropicEngine
from diglot.service.command.assembly import Service
from diglot.service.config import AnthropicModel, ConfigError, DiglotModel, UpstreamModel, load
from diglot.service.peer import PeerEngine

SECRET = "sk-nobody-may-see-this"
ANTHROPIC = '[[models]]\nname = "claude"\nkind = "anthropic"\n'
UPSTREAM = '[[models]]\nname = "gpt"\nkind = "upstream"\nbase_url = "https://host/v1"\n'
DIGLOT = '[[models]]\nname = "theirs"\nkind = "diglot"\ntarget = "host:50051"\n'


def test_anthropics_defaults(file: Path) -> None:
    """A name is enough."""
    file.write_text(ANTHROPIC)
    (model,) = load(file, environ={}).models
    assert isinstance(model, AnthropicModel)
    assert (model.base_url, model.upstream_model) == ("https://api.anthropic.com", "claude")
    assert (model.default_max_tokens, model.thinking) == (16384, "adaptive")
    assert model.api_key is None


async def test_what_a_file_says_is_what_is_asked(file: Path, tmp_path: Path) -> None:
    """Every key is taken; no secret is in what is logged of it."""
    self_signed(tmp_path, "ca")
    file.write_text(
        f'state = "{tmp_path}"\n'
        + ANTHROPIC
        + """
        base_url = "https://host/anthropic/"
        upstream_model = "claude-x"
        api_key_env = "KEY"
        connect_timeout_seconds = 1
        default_max_tokens = 10
        max_completion_tokens = 20
        thinking = "budget"
        """
        + DIGLOT
        + """
        upstream_model = "big"
        api_key_env = "KEY"
        connect_timeout_seconds = 2
        tls_ca = "ca.crt"
        tls_cert = "ca.crt"
        tls_key = "ca.key"
        """
    )
    settings = load(file, environ={"KEY": SECRET})
    claude, theirs = settings.models
    assert isinstance(claude, AnthropicModel)
    assert isinstance(theirs, DiglotModel)
    assert (claude.base_url, claude.thinking) == ("https://host/anthropic", "budget")
    assert (theirs.target, theirs.tls_ca) == ("host:50051", tmp_path / "ca.crt")
    for model in (claude, theirs):
        assert model.api_key is not None
        assert model.api_key.get_secret_value() == SECRET
    assert SECRET not in repr(settings) + settings.model_dump_json()

    service = Service(settings)
    try:
        asked, peer = (service.models.resolve(name) for name in ("claude", "theirs"))
        assert isinstance(asked.engine, AnthropicEngine)
        assert asked.max_completion_tokens == 20
        assert asked.model.owned_by == "anthropic"
        assert isinstance(peer.engine, PeerEngine)
        assert peer.model.owned_by == "diglot"
    finally:
        await service.close()


@pytest.mark.parametrize("kind", [UPSTREAM, DIGLOT])
def test_an_upstream_is_asked_for_streams_unless_it_says_otherwise(file: Path, kind: str) -> None:
    told = []
    for more in ("", 'unary = "streamed"', 'unary = "whole"'):
        file.write_text(kind + more)
        (model,) = load(file, environ={}).models
        assert isinstance(model, UpstreamModel | DiglotModel)
        told.append(model.unary)
    assert told == ["streamed", "streamed", "whole"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (ANTHROPIC + 'base_url = "https://host/v1"', 'leave out /v1, which is added'),
        (ANTHROPIC + 'base_url = "host"', 'no http(s) URL; write it like "https://host"'),
        (ANTHROPIC + 'thinking = "much"', 'found "much"; it must be one of adaptive, budget'),
        (ANTHROPIC + 'unary = "whole"', 'unary: is not for kind = "anthropic": such a server is'),
        (UPSTREAM + 'unary = "all"', 'found "all"; it must be one of streamed, whole'),
        (ANTHROPIC + "default_max_tokens = 0", "default_max_tokens: found 0; it must be at least"),
        (ANTHROPIC + f'api_key = "{SECRET}"', "api_key: secrets do not belong in this file"),
        (ANTHROPIC + 'api_key_env = "NOT_SET"', "the environment has no variable NOT_SET"),
        (DIGLOT.replace("host:50051", "http://host"), "models[0].target: found"),
        (DIGLOT.replace("host:50051", "host"), "no gRPC target; write HOST:PORT"),
        ('[[models]]\nname = "a"\nkind = "diglot"', "models[0].target: missing; add it: the other"),
        (DIGLOT + 'base_url = "http://h"', "models[0].base_url: unknown key"),
        (DIGLOT + 'tls_ca = "no"', "models[0].tls_ca: cannot read"),
        (DIGLOT + f'api_key = "{SECRET}"', "api_key: secrets do not belong in this file"),
    ],
)  # fmt: skip
def test_every_fault_names_its_place_and_the_way_out(file: Path, text: str, expected: str) -> None:
    file.write_text(text)
    with pytest.raises(ConfigError) as refused:
        load(file, environ={})
    assert expected in str(refused.value)
    assert SECRET not in str(refused.value)


def test_a_certificate_needs_someone_to_show_it_to(file: Path, tmp_path: Path) -> None:
    self_signed(tmp_path, "own")
    file.write_text(DIGLOT + 'tls_cert = "own.crt"\ntls_key = "own.key"')
    with pytest.raises(ConfigError, match=r"models\[0\]\.tls_cert: needs tls_ca beside it"):
        load(file, environ={})
