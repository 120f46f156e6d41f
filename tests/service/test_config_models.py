"""Models in the configuration: where they run, what they are called, who stands in for them."""

from __future__ import annotations

from pathlib import Path

import pytest

from diglot.service.config import ConfigError, Flags, RoutedModel, UpstreamModel, load

SEVERAL = """
[[models]]
name = "gpt"
aliases = ["gpt-4o", "best"]
fallback = "small"
max_completion_tokens = 100

[[models.deployments]]
kind = "upstream"
base_url = "https://one.example/v1"
weight = 2.5
first_token_timeout_seconds = 3
between_tokens_timeout_seconds = 2
total_timeout_seconds = 60
connect_timeout_seconds = 1
lacks = ["images", "web_search"]

[[models.deployments]]
name = "second"
kind = "anthropic"
upstream_model = "claude"

[[models]]
name = "small"
kind = "scripted"
"""
ONE = '[[models]]\nname = "a"\nkind = "upstream"\nbase_url = "https://host/v1"\n'
TWO = ONE + '[[models]]\nname = "b"\nkind = "scripted"\n'
PLACES = '[[models]]\nname = "a"\n'
PLACE = '[[models.deployments]]\nkind = "upstream"\nbase_url = "https://host/v1"\n'


def test_a_model_with_several_deployments(file: Path) -> None:
    file.write_text(SEVERAL)
    model, small = load(file, environ={}).models
    assert isinstance(model, RoutedModel)
    assert (model.aliases, model.fallback) == (("gpt-4o", "best"), "small")
    first, second = model.deployments
    assert isinstance(first, UpstreamModel)
    assert (first.name, first.upstream_model, first.weight) == ("one.example", "gpt", 2.5)
    assert first.lacks == ("images", "web_search")
    assert second.kind == "anthropic"
    assert (second.name, second.upstream_model) == ("second", "claude")
    assert small.name == "small"


def test_a_wildcard_and_a_default(file: Path) -> None:
    file.write_text('default_model = "b"\n' + TWO.replace('"a"', '"x/*"\nupstream_model = "*"'))
    settings = load(file, environ={})
    assert settings.default_model == "b"
    assert settings.models[0].name == "x/*"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (PLACES + "deployments = []", "models[0].deployments: found none; at least one is needed"),
        (PLACES + "deployments = 3", "models[0].deployments: found 3; it must be an array of tab"),
        (PLACES + "deployments = [3]", "models[0].deployments[0]: found 3; it must be a table"),
        (
            PLACES + "[[models.deployments]]",
            "models[0].deployments[0].kind: missing; it must be one of embedded, upstream",
        ),
        (
            PLACES + '[[models.deployments]]\nkind = "upstraem"',
            'models[0].deployments[0].kind: found "upstraem"; did you mean upstream?',
        ),
        (
            PLACES + '[[models.deployments]]\nkind = "upstream"',
            "models[0].deployments[0].base_url: missing; add it: the server's API",
        ),
        (
            PLACES + PLACE + "wieght = 2",
            "models[0].deployments[0].wieght: unknown key; did you mean weight?",
        ),
        (PLACES + PLACE + "weight = 0", "models[0].deployments[0].weight: found 0; it must be ab"),
        (
            PLACES + PLACE + "first_token_timeout_seconds = 0",
            "models[0].deployments[0].first_token_timeout_seconds: found 0; it must be above 0",
        ),
        (
            PLACES + PLACE + 'lacks = ["sight"]',
            'models[0].deployments[0].lacks[0]: found "sight"; it must be one of tools,',
        ),
        (
            PLACES + PLACE + 'api_key = "x"',
            "models[0].deployments[0].api_key: secrets do not belong in this file",
        ),
        (
            PLACES + PLACE + 'api_key_env = "NOT_SET"',
            "models[0].deployments[0].api_key_env: the environment has no variable NOT_SET",
        ),
        (
            PLACES + PLACE + PLACE,
            'models[0].deployments[1].name: found "host", which deployments[0] is called already',
        ),
        (
            PLACES + PLACE + 'aliases = ["b"]',
            "models[0].deployments[0].aliases: belongs to the model, not to a deployment",
        ),
        (
            PLACES + PLACE + 'fallback = "b"',
            "models[0].deployments[0].fallback: belongs to the model",
        ),
        (
            PLACES + PLACE + "max_running = 2",
            "models[0].deployments[0].max_running: belongs to the model, not to a deployment",
        ),
        (
            PLACES + PLACE + "timeout_seconds = 2",
            "models[0].deployments[0].timeout_seconds: belongs to the model, not to a deployment",
        ),
        (ONE + "max_running = 0", "models[0].max_running: found 0; it must be at least 1"),
        (ONE + "max_queued = -1", "models[0].max_queued: found -1; it must be at least 0"),
        (
            ONE + "max_queue_seconds = 0",
            "models[0].max_queue_seconds: found 0; it must be above 0",
        ),
        (
            PLACES + 'kind = "upstream"\n' + PLACE,
            "models[0].kind: belongs in each of the [[models.deployments]]",
        ),
        (PLACES + "alias = 1\n" + PLACE, "models[0].alias: unknown key; did you mean aliases?"),
        (PLACE.replace(".deployments", "") + "weight = 2\nname = 'a'", "models[0].weight: is for"),
        (ONE + 'aliases = ["a"]', 'models[0].aliases[0]: found "a", which models[0] is called'),
        (ONE + 'aliases = "b"', 'models[0].aliases: found "b"; it must be an array'),
        (ONE + "aliases = [1]", "models[0].aliases[0]: found 1; it must be a string"),
        (ONE + 'aliases = ["x*"]', 'models[0].aliases[0]: found "x*"; only a name can end in *'),
        (TWO + 'aliases = ["a"]', 'models[1].aliases[0]: found "a", which models[0] is called'),
        (TWO + 'fallback = "c"', 'models[1].fallback: found "c"; it must be one of a, b'),
        (TWO + 'fallback = "b"', "models[1].fallback: goes round in a circle: b -> b"),
        (
            TWO.replace('"scripted"', '"scripted"\nfallback = "a"') + ONE.replace('"a"', '"c"')
            + 'fallback = "b"\n' + ONE.replace('"a"', '"d"') + 'fallback = "d"',
            "models[3].fallback: goes round in a circle: d -> d",
        ),
        (
            ONE.replace('"a"', '"a"\nfallback = "b"') + '[[models]]\nname = "b"\n'
            'kind = "scripted"\nfallback = "a"',
            "models[0].fallback: goes round in a circle: a -> b -> a",
        ),
        (
            TWO.replace('"a"', '"x/*"') + 'fallback = "x/*"',
            'models[1].fallback: found "x/*", which stands for many models; name one',
        ),
        ('default_model = "c"\n' + TWO, 'default_model: found "c"; it must be one of a, b'),
        (
            'default_model = "x/*"\n' + TWO.replace('"a"', '"x/*"'),
            'default_model: found "x/*", which stands for many models',
        ),
        (
            'default_model = "a"\n' + TWO.replace('"b"', '"default"'),
            'default_model: is one too many: models[1] is called "default" already',
        ),
        (ONE.replace('"a"', '"a*b"'), 'models[0].name: found "a*b"; a * can only be the end'),
        (
            '[[models]]\nname = "a/*"\nkind = "embedded"',
            'models[0].name: found "a/*"; an embedded model has one name',
        ),
        (ONE + 'upstream_model = "*"', 'models[0].upstream_model: found "*"; its * stands for'),
        (
            PLACES + PLACE + 'upstream_model = "*"',
            'models[0].deployments[0].upstream_model: found "*"; its * stands for what',
        ),
    ],
)  # fmt: skip
def test_every_fault_names_its_place(file: Path, text: str, expected: str) -> None:
    file.write_text(text)
    with pytest.raises(ConfigError) as refused:
        load(file, environ={})
    (line,) = str(refused.value).splitlines()
    assert expected in line


def test_a_model_that_is_picked_stands_alone(file: Path) -> None:
    """It has no fallback then, and the default is what there is."""
    file.write_text('default_model = "small"\n' + SEVERAL)
    settings = load(file, Flags(model="gpt"), environ={})
    assert [model.name for model in settings.models] == ["gpt"]
    assert (settings.models[0].fallback, settings.default_model) == (None, None)
    assert load(file, Flags(model="small"), environ={}).default_model == "small"
    assert load(file, Flags(model="scripted"), environ={}).default_model is None
