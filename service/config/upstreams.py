"""Models that other servers answer for, in each of the dialects that Diglot asks in."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal, Self

from pydantic import (
    BeforeValidator,
    Field,
    PrivateAttr,
    SecretStr,
    ValidationInfo,
    field_validator,
    model_validator,
)

from ..capability import Capability
from .checks import GrpcTarget, ReadableFile, Seconds, fault, http_url, read_secret
from .model_table import ModelTable, as_tuple
from .section import GrpcClient, MostTokens, Name

Unary = Literal["streamed", "whole"]


class _Elsewhere(ModelTable):
    """A model of another server."""

    refused: ClassVar[dict[str, str]] = {
        "api_key": "secrets do not belong in this file: name an environment variable with"
        " api_key_env, or a file with api_key_file"
    }

    name: Name
    """What requests call it."""
    max_completion_tokens: MostTokens = None
    """The most tokens that an answer may have: more is refused, and who asks for no limit gets
    this one. Absent: the server's own limit."""
    upstream_model: str = Field(default_factory=lambda data: data.get("name", ""), min_length=1)
    """What the server calls it. The model's name if absent."""
    api_key_env: str | None = None
    """The environment variable that holds the server's key."""
    api_key_file: ReadableFile | None = None
    """The file that holds the server's key."""
    connect_timeout_seconds: Seconds = 5
    """How long to wait for a connection. Answers may take as long as the call has."""
    lacks: Annotated[tuple[str, ...], BeforeValidator(as_tuple)] = ()
    """What the model cannot do: requests that need it are refused, or go to another deployment.
    Absent: it is asked, and refuses itself."""

    _api_key: SecretStr | None = PrivateAttr(default=None)

    @property
    def api_key(self) -> SecretStr | None:
        """The server's key, as it was when the configuration was read."""
        return self._api_key

    @field_validator("lacks")
    @classmethod
    def _known(cls, lacks: tuple[str, ...]) -> tuple[str, ...]:
        known = [capability.name.lower() for capability in Capability]
        for index, each in enumerate(lacks):
            if each not in known:
                raise fault(
                    f'found "{each}"; it must be one of {", ".join(known)}', key=f"[{index}]"
                )
        return lacks

    @model_validator(mode="after")
    def _secret(self, info: ValidationInfo) -> Self:
        self._api_key = read_secret("api_key", self.api_key_env, self.api_key_file, info)
        return self


class UpstreamModel(_Elsewhere):
    """A model behind any server that speaks OpenAI's API."""

    kind: Literal["upstream"]
    base_url: str
    """The server's API, as an OpenAI client would be given it: with /v1."""
    continuous_usage: bool = False
    """Asks the server to tell with each token what was spent so far, as vLLM can: answers that end
    early are then accounted with their prompt, and to the token. OpenAI itself refuses the key."""
    unary: Unary = "streamed"
    """How the server is asked for an answer that its caller has in one piece: as a stream, which
    ends at once when the caller leaves, or for the whole of it."""

    @field_validator("base_url")
    @classmethod
    def _url(cls, url: str) -> str:
        return _checked(url, "https://host/v1")


class AnthropicModel(_Elsewhere):
    """A model behind Anthropic's Messages API."""

    refused: ClassVar[dict[str, str]] = _Elsewhere.refused | {
        "unary": 'is not for kind = "anthropic": such a server is always asked for streams'
    }

    kind: Literal["anthropic"]
    base_url: str = "https://api.anthropic.com"
    """The server's API, as an Anthropic client would be given it: without /v1."""
    default_max_tokens: int = Field(default=16384, ge=1, le=2**31 - 1)
    """The limit for requests that set none: this API must be told one."""
    thinking: Literal["adaptive", "budget"] = "adaptive"
    """How the model is told how much to think: adaptive since Claude 4.6, budget before."""
    mid_conversation_system: bool = False
    """Whether the model takes instructions between turns, as Claude does since Opus 4.8. Where it
    does not, all of a request's stand before its first turn."""

    @field_validator("base_url")
    @classmethod
    def _url(cls, url: str) -> str:
        checked = _checked(url, "https://host")
        if checked.endswith("/v1"):
            raise fault(f'found "{url}"; leave out /v1, which is added')
        return checked


class DiglotModel(_Elsewhere, GrpcClient):
    """A model of another Diglot, asked over gRPC."""

    kind: Literal["diglot"]
    target: GrpcTarget
    """The other Diglot as a gRPC target: host:port, dns:///name:port, unix:/path."""
    unary: Unary = "streamed"
    """How it is asked for an answer that its caller has in one piece: as a stream, whose tokens are
    accounted also when the caller leaves, or for the whole of it, as it may ask a server itself."""


def _checked(url: str, example: str) -> str:
    parts = http_url(url, f'write it like "{example}"', "use api_key_env or api_key_file")
    if parts.query or parts.fragment:
        raise fault(f'found "{url}"; the part from "{"?" if parts.query else "#"}" on must go')
    return url.rstrip("/")
