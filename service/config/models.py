"""The models of the file: each in one place, or in several."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import (
    BeforeValidator,
    Discriminator,
    Field,
    Tag,
    ValidationInfo,
    field_validator,
    model_validator,
)

from .checks import fault, is_path, resolve_path
from .model_table import ModelTable, Offered, as_tuple
from .section import MostTokens, Name, Section
from .upstreams import AnthropicModel, DiglotModel, UpstreamModel

PARALLEL = 4
"""Answers at a time of an embedded model, where the configuration is silent."""


class EmbeddedModel(ModelTable):
    """A model that Diglot runs itself, in llama.cpp."""

    kind: Literal["embedded"]
    name: Name
    """What requests call it."""
    max_completion_tokens: MostTokens = None
    """The most tokens that an answer may have: more is refused, and who asks for no limit gets
    this one. Absent: what the context has room for; of the catalogue's small models, which may
    not find an end, who asks for no limit gets 512."""
    source: str = Field(default_factory=lambda data: data.get("name", ""), min_length=1)
    """A name of the catalogue, a path or URL of a GGUF file, or org/repo:quant on Hugging Face.
    The model's name if absent."""
    projector: str | None = Field(default=None, min_length=1)
    """What turns images into something that the model reads (mmproj): a path or URL of a GGUF file,
    or org/repo/file.gguf on Hugging Face. Absent: the model takes no images."""
    context_tokens: int | None = Field(default=None, ge=64)
    """Prompt and answer together, at most. Absent: 4096. More than the model was trained for only
    costs memory."""
    parallel: int | None = Field(default=None, ge=1, le=256)
    """How many answers it generates at a time. Absent: 4."""
    threads: int | None = Field(default=None, ge=1, le=1024)
    """How many processor threads it uses. Absent: as many as there are cores."""
    temperature: float | None = Field(default=None, ge=0, le=2)
    """For requests that name none. Absent: what its authors recommend, if it is in the
    catalogue, else 1, as OpenAI has it."""
    top_p: float | None = Field(default=None, ge=0, le=1)
    """Likewise."""
    repeat_penalty: float | None = Field(default=None, gt=0, le=2)
    """Against going in circles: how much less likely words are that were just said. 1 is none. For
    requests for free text that name neither this nor a frequency_penalty, presence_penalty or
    dry_multiplier. Absent: 1.1 for the catalogue's model, else 1."""

    @property
    def slots(self) -> int:
        """How many answers llama.cpp is set up to generate at a time."""
        return self.parallel or PARALLEL

    @field_validator("source", "projector")
    @classmethod
    def _existing(cls, source: str | None, info: ValidationInfo) -> str | None:
        if source is None or not is_path(source):
            return source
        path = resolve_path(source, info)
        if not path.is_file():
            raise fault(f"there is no file {path}")
        return str(path)

    @field_validator("projector")
    @classmethod
    def _one_file(cls, projector: str | None) -> str | None:
        if projector and "://" not in projector and not projector.lower().endswith(".gguf"):
            # A repository's own choice would be a model.
            raise fault(
                f'found "{projector}"; name the file itself: a path, a URL or org/repo/file.gguf'
            )
        return projector


class ScriptedModel(ModelTable):
    """The engine without a model: deterministic, for tests, demos and load."""

    kind: Literal["scripted"]
    name: Name = "scripted"
    """What requests call it."""
    max_completion_tokens: MostTokens = None
    """The most tokens that an answer may have. Absent: no limit."""


SingleModel = Annotated[
    EmbeddedModel | UpstreamModel | AnthropicModel | DiglotModel | ScriptedModel,
    Field(discriminator="kind"),
]
KINDS: dict[str, type[Section]] = {
    "embedded": EmbeddedModel,
    "upstream": UpstreamModel,
    "anthropic": AnthropicModel,
    "diglot": DiglotModel,
    "scripted": ScriptedModel,
}

OF_THE_MODEL = (*Offered.model_fields, "max_completion_tokens")
"""Keys that a deployment has not."""


class RoutedModel(Offered):
    """A model that runs in several places."""

    refused: ClassVar[dict[str, str]] = {
        key: "belongs in each of the [[models.deployments]]"
        for kind in KINDS.values()
        for key in kind.model_fields
    }

    # Not to be configured: tells it from the others, which run in one place.
    kind: ClassVar[Literal["several"]] = "several"

    name: Name
    """What requests call it."""
    max_completion_tokens: MostTokens = None
    """The most tokens that an answer may have: more is refused, and who asks for no limit gets
    this one. Absent: what the deployment has."""
    deployments: Annotated[tuple[SingleModel, ...], BeforeValidator(as_tuple), Field(min_length=1)]
    """Where it runs: tables like that of a model. Their names are for the log."""

    @model_validator(mode="before")
    @classmethod
    def _named(cls, table: object) -> object:
        """What a deployment does not say of itself is as the model has it."""
        if not isinstance(table, dict) or not isinstance(table.get("deployments"), list):
            return table
        named = [
            _defaults(each, table.get("name", "")) | each if isinstance(each, dict) else each
            for each in table["deployments"]
        ]
        return table | {"deployments": named}

    @field_validator("deployments")
    @classmethod
    def _distinct(cls, deployments: tuple[SingleModel, ...]) -> tuple[SingleModel, ...]:
        first: dict[str, int] = {}
        for index, each in enumerate(deployments):
            for key in OF_THE_MODEL:
                if key in each.model_fields_set:
                    raise fault("belongs to the model, not to a deployment", key=f"[{index}].{key}")
            earlier = first.setdefault(each.name, index)
            if earlier != index:
                raise fault(
                    f'found "{each.name}", which deployments[{earlier}] is called already;'
                    " give each a name of its own",
                    key=f"[{index}].name",
                )
        return deployments


def _defaults(deployment: dict[str, Any], model: object) -> dict[str, Any]:
    match deployment.get("kind"):
        case "upstream" | "anthropic" | "diglot" as kind:
            url = deployment.get("base_url", deployment.get("target"))
            # For the log: without what a URL may hold before the host, or after it.
            where = str(url).rpartition("://")[2].partition("/")[0].rpartition("@")[2]
            return {"name": where if url else kind, "upstream_model": model}
        case "embedded" as kind:
            return {"name": kind, "source": model}
        case kind:
            return {"name": kind}


def _form(table: object) -> Literal["single", "several"]:
    several = "deployments" in table if isinstance(table, dict) else isinstance(table, RoutedModel)
    return "several" if several else "single"


ModelSettings = Annotated[
    Annotated[SingleModel, Tag("single")] | Annotated[RoutedModel, Tag("several")],
    Discriminator(_form),
]


def places_of(model: ModelSettings) -> tuple[SingleModel, ...]:
    """Where it runs."""
    return model.deployments if isinstance(model, RoutedModel) else (model,)
