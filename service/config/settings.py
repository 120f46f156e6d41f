"""What can be configured, and with which defaults."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal, Self
from urllib.parse import urlsplit

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PrivateAttr,
    SecretStr,
    ValidationInfo,
    field_validator,
    model_validator,
)

from ..state import default_state_directory
from .address import Address
from .checks import (
    Directory,
    ListenAddress,
    Megabytes,
    ReadableFile,
    Seconds,
    check_tls,
    fault,
    is_path,
    read_secret,
    resolve_path,
)

DEFAULT_MODEL = "smollm2-135m-instruct"

Name = Annotated[str, Field(pattern=r"^[^\s\x00-\x1f\x7f]{1,256}$")]


class Section(BaseModel):
    """One table of the file."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", strict=True, allow_inf_nan=False, use_attribute_docstrings=True
    )
    # What to say about a key that is likely to be tried and does not exist.
    refused: ClassVar[dict[str, str]] = {}


class HttpSettings(Section):
    """The HTTP face."""

    address: ListenAddress = Address("127.0.0.1", 8080)
    """Where to listen."""
    tls_cert: ReadableFile | None = None
    """Certificate chain, PEM. With it the face speaks only HTTPS."""
    tls_key: ReadableFile | None = None
    """The certificate's private key, PEM, without passphrase."""
    max_body_mib: Megabytes = 32
    """Longest request body. Images travel in it as base64."""
    keep_alive_seconds: Seconds = 10
    """How long a stream may be silent before a comment keeps proxies from cutting it."""
    timeout_seconds: Seconds = 600
    """The longest a call may take: what OpenAI's own clients wait by default."""

    @model_validator(mode="after")
    def _tls(self) -> Self:
        check_tls(self.tls_cert, self.tls_key)
        return self


class GrpcSettings(Section):
    """The gRPC face."""

    address: ListenAddress = Address("127.0.0.1", 50051)
    """Where to listen."""
    tls_cert: ReadableFile | None = None
    """Certificate chain, PEM. With it the face speaks only TLS."""
    tls_key: ReadableFile | None = None
    """The certificate's private key, PEM, without passphrase."""
    tls_client_ca: ReadableFile | None = None
    """Certificates, PEM, one of which must have signed a client's own (mTLS)."""
    max_message_mib: Megabytes = 32
    """Longest message, either way."""
    reflection: bool = True
    """Whether grpcurl and its like may ask for the contract."""

    @model_validator(mode="after")
    def _tls(self) -> Self:
        check_tls(self.tls_cert, self.tls_key)
        if self.tls_client_ca and not self.tls_cert:
            raise fault("needs tls_cert and tls_key beside it", key="tls_client_ca")
        return self


class AuthSettings(Section):
    """API keys."""

    enabled: bool = True
    """Whether calls need a key. Health never does."""


class LogSettings(Section):
    """The log, which goes to standard error."""

    format: Literal["text", "json"] = "text"
    """Lines for people, or one JSON object a line for machines."""
    level: Literal["debug", "info", "warning", "error"] = "info"
    """The least important kind of line to write."""


class FacadeSettings(Section):
    """How `diglot facade` reaches the service."""

    service: str = "127.0.0.1:50051"
    """The service as a gRPC target: host:port, dns:///name:port, unix:/path."""
    tls_ca: ReadableFile | None = None
    """Certificates, PEM, one of which signed the service's. With it the face uses TLS."""
    tls_cert: ReadableFile | None = None
    """The face's own certificate, PEM, where the service wants one (mTLS)."""
    tls_key: ReadableFile | None = None
    """That certificate's private key, PEM, without passphrase."""

    @field_validator("service")
    @classmethod
    def _target(cls, target: str) -> str:
        if "://" in target and target.startswith(("http", "grpc")):
            raise fault(f'found "{target}", which is a URL; write HOST:PORT')
        if ":" not in target or any(map(str.isspace, target)):
            raise fault(f'found "{target}", which is no gRPC target; write HOST:PORT')
        return target

    @model_validator(mode="after")
    def _tls(self) -> Self:
        check_tls(self.tls_cert, self.tls_key)
        if self.tls_cert and not self.tls_ca:
            raise fault("needs tls_ca beside it", key="tls_cert")
        return self


class EmbeddedModel(Section):
    """A model that Diglot runs itself, in llama.cpp."""

    kind: Literal["embedded"]
    name: Name
    """What requests call it."""
    source: str = Field(default_factory=lambda data: data.get("name", ""), min_length=1)
    """A name of the catalogue, a path or URL of a GGUF file, or org/repo:quant on Hugging Face.
    The model's name if absent."""
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

    @field_validator("source")
    @classmethod
    def _existing(cls, source: str, info: ValidationInfo) -> str:
        if not is_path(source):
            return source
        path = resolve_path(source, info)
        if not path.is_file():
            raise fault(f"there is no file {path}")
        return str(path)


class UpstreamModel(Section):
    """A model behind any server that speaks OpenAI's API."""

    refused: ClassVar[dict[str, str]] = {
        "api_key": "secrets do not belong in this file: name an environment variable with"
        " api_key_env, or a file with api_key_file"
    }

    kind: Literal["upstream"]
    name: Name
    """What requests call it."""
    base_url: str
    """The server's API, as an OpenAI client would be given it: with /v1."""
    upstream_model: str = Field(default_factory=lambda data: data.get("name", ""), min_length=1)
    """What the server calls it. The model's name if absent."""
    api_key_env: str | None = None
    """The environment variable that holds the server's key."""
    api_key_file: ReadableFile | None = None
    """The file that holds the server's key."""
    connect_timeout_seconds: Seconds = 5
    """How long to wait for a connection. Answers may take as long as the call has."""

    _api_key: SecretStr | None = PrivateAttr(default=None)

    @property
    def api_key(self) -> SecretStr | None:
        """The server's key, as it was when the configuration was read."""
        return self._api_key

    @field_validator("base_url")
    @classmethod
    def _url(cls, url: str) -> str:
        try:
            parts = urlsplit(url)
            valid = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
        except ValueError:
            valid = False
        if not valid:
            raise fault(f'found "{url}", which is no http(s) URL; write it like "https://host/v1"')
        if parts.username is not None or parts.password is not None:
            raise fault("holds a password: use api_key_env or api_key_file")
        if parts.query or parts.fragment:
            raise fault(f'found "{url}"; the part from "{"?" if parts.query else "#"}" on must go')
        return url.rstrip("/")

    @model_validator(mode="after")
    def _secret(self, info: ValidationInfo) -> Self:
        self._api_key = read_secret(self.api_key_env, self.api_key_file, info)
        return self


class ScriptedModel(Section):
    """The engine without a model: deterministic, for tests, demos and load."""

    kind: Literal["scripted"]
    name: Name = "scripted"
    """What requests call it."""


ModelSettings = Annotated[
    EmbeddedModel | UpstreamModel | ScriptedModel, Field(discriminator="kind")
]
KINDS: dict[str, type[Section]] = {
    "embedded": EmbeddedModel,
    "upstream": UpstreamModel,
    "scripted": ScriptedModel,
}


def _tuple(value: object) -> object:
    return tuple(value) if isinstance(value, list) else value


class Settings(Section):
    """The whole configuration."""

    state: Directory = Field(default_factory=default_state_directory)
    """Where keys and models are kept."""
    http: HttpSettings = HttpSettings()
    grpc: GrpcSettings = GrpcSettings()
    auth: AuthSettings = AuthSettings()
    log: LogSettings = LogSettings()
    facade: FacadeSettings = FacadeSettings()
    models: Annotated[tuple[ModelSettings, ...], BeforeValidator(_tuple), Field(min_length=1)] = (
        EmbeddedModel(kind="embedded", name=DEFAULT_MODEL),
    )
    """The models on offer; the first is the one that `diglot chat` talks to."""

    @field_validator("models")
    @classmethod
    def _distinct(cls, models: tuple[ModelSettings, ...]) -> tuple[ModelSettings, ...]:
        first: dict[str, int] = {}
        for index, model in enumerate(models):
            earlier = first.setdefault(model.name, index)
            if earlier != index:
                raise fault(
                    f'found "{model.name}", which models[{earlier}] is called already;'
                    " each needs a name of its own",
                    key=f"[{index}].name",
                )
        return models
