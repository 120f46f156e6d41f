"""What a configuration says of images."""

from __future__ import annotations

from pathlib import Path

import pytest

from diglot.service.config import ConfigError, EmbeddedModel, load

SEEING = '[[models]]\nname = "seeing"\nkind = "embedded"\n'


def test_nothing_is_fetched_unless_the_configuration_says_so() -> None:
    media = load(environ={}).media
    assert not media.fetch_images
    assert (media.max_images, media.max_total_mib, media.max_total_megapixels) == (16, 20, 50)


def test_a_whole_table(tmp_path: Path) -> None:
    file = tmp_path / "diglot.toml"
    file.write_text(
        """
        [media]
        fetch_images = true
        timeout_seconds = 2.5
        max_images = 4
        max_total_mib = 8
        max_total_megapixels = 20
        """
    )
    assert load(file, environ={}).media.model_dump() == {
        "fetch_images": True,
        "timeout_seconds": 2.5,
        "max_images": 4,
        "max_total_mib": 8,
        "max_total_megapixels": 20,
    }


@pytest.mark.parametrize(
    ("projector", "means"),
    [
        ("eyes.gguf", "{here}/eyes.gguf"),
        ("./eyes.gguf", "{here}/eyes.gguf"),
        ("https://host/eyes.gguf?x=y", "https://host/eyes.gguf?x=y"),
        ("org/repo/mmproj-F16.gguf", "org/repo/mmproj-F16.gguf"),
    ],
)
def test_a_projector_is_named_as_a_model_is(projector: str, means: str, tmp_path: Path) -> None:
    (tmp_path / "eyes.gguf").touch()
    file = tmp_path / "diglot.toml"
    file.write_text(f'{SEEING}projector = "{projector}"')
    (model,) = load(file, environ={}).models
    assert isinstance(model, EmbeddedModel)
    assert model.projector == means.format(here=tmp_path)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[media]\nfetch_image = true", "media.fetch_image: unknown key; did you mean fetch_ima"),
        ("[media]\nfetch_images = 1", "media.fetch_images: found 1; it must be true or false"),
        ("[media]\nmax_images = 0", "media.max_images: found 0; it must be at least 1"),
        ("[media]\nmax_total_mib = 9999", "media.max_total_mib: found 9999; it must be at most"),
        ("[media]\ntimeout_seconds = 0", "media.timeout_seconds: found 0; it must be above 0"),
        (f'{SEEING}projector = "no.gguf"', "models[0].projector: there is no file"),
        (f'{SEEING}projector = ""', "models[0].projector: is empty"),
        (f"{SEEING}projector = 3", "models[0].projector: found 3; it must be a string"),
        (
            f'{SEEING}projector = "org/repo:F16"',
            'models[0].projector: found "org/repo:F16"; name the file itself: a path, a URL or org',
        ),
    ],
)
def test_faults_name_the_key_and_the_way_out(text: str, expected: str, tmp_path: Path) -> None:
    file = tmp_path / "diglot.toml"
    file.write_text(text)
    with pytest.raises(ConfigError) as refused:
        load(file, environ={})
    assert str(refused.value).startswith(f"{file}: {expected}")
