"""What can be configured, and with which defaults."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import (
    BeforeValidator,
    Field,
    PrivateAttr,
    ValidationInfo,
    field_validator,
    model_validator,
)

from ..state import STORE_FILE, default_state_directory
from ..store.database import Database, PostgresUrl, SqliteFile, read_url
from .address import Address
from .checks import (
    AnyFile,
    Directory,
    GrpcTarget,
    ListenAddress,
    Megabytes,
    ReadableFile,
    Seconds,
    base_of,
    check_tls,
    fault,
    read_secret,
)
from .model_table import as_tuple
from .models import EmbeddedModel, ModelSettings
from .names import check_default, check_fallbacks, check_names
from .origin import Origin
from .section import GrpcClient, Name, Section
from .telemetry import AdminSettings, TracesSettings

DEFAULT_MODEL = "smollm2-135m-instruct"


class HttpSettings(Section):
    """The HTTP face."""

    address: ListenAddress = Address("127.0.0.1", 8080)
    """Where to listen."""
    tls_cert: ReadableFile | None = None
    """Certificate chain, PEM. With it the face speaks only HTTPS."""
    tls_key: ReadableFile | None = None
    """The certificate's private key, PEM, without passphrase."""
    allowed_origins: Annotated[tuple[Origin, ...], BeforeValidator(as_tuple)] = ()
    """Web pages that may call from a browser, as its origin each: "https://app.example", or "*" for
    all. Absent: none."""
    max_body_mib: Megabytes = 32
    """Longest request body. Images travel in it as base64."""
    keep_alive_seconds: Seconds = 10
    """How long a stream may be silent before a comment keeps proxies from cutting it."""
    timeout_seconds: Seconds = 600
    """The longest a call may take: what OpenAI's own clients wait by default. Callers that wait
    for less say so in X-Request-Timeout."""
    headers_timeout_seconds: Seconds = 30
    """How long the headers of a connection's first request may take to arrive."""
    body_timeout_seconds: Seconds = 60
    """How long a request's body may take to arrive, with a second more for each 64 KiB of it."""
    write_timeout_seconds: Seconds = 60
    """How long a client may leave unread what was sent to it, before it is cut off."""

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
    write_timeout_seconds: Seconds = 60
    """How long a client may leave a stream unread, before it is cut off."""
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
    keys_file: AnyFile | None = None
    """The keys, where they come from elsewhere: read, and never written, by servers. Absent:
    keys.json under `state`, made at the first start."""


class LogSettings(Section):
    """The log, which goes to standard error."""

    format: Literal["text", "json"] = "text"
    """Lines for people, or one JSON object a line for machines."""
    level: Literal["debug", "info", "warning", "error"] = "info"
    """The least important kind of line to write."""


class MediaSettings(Section):
    """Images for the embedded models. Upstreams get what callers send, and judge it themselves."""

    fetch_images: bool = False
    """Whether images may be named by https: URLs, which Diglot then fetches from public
    addresses. Off, callers send the image itself in a data: URL."""
    timeout_seconds: Seconds = 10
    """The longest that fetching an image may take."""
    max_images: int = Field(default=16, ge=1, le=1000)
    """The most images in a request."""
    max_total_mib: Megabytes = 20
    """The largest that all images of a request may be together, as files."""
    max_total_megapixels: int = Field(default=50, ge=1, le=1000)
    """And unpacked. llama.cpp needs 6 MB for one, and 16 where a colour takes 16 bits."""


class StoreSettings(Section):
    """Completions that are kept because a request says `store`."""

    enabled: bool = True
    """Whether completions can be stored."""
    url: str | None = None
    """The database: postgresql://user@host/name, or sqlite:///path. Absent: a file of SQLite's
    under `state`."""
    url_env: str | None = None
    """The environment variable that holds the URL, where it has a password."""
    url_file: ReadableFile | None = None
    """The file that holds the URL, where it has a password."""
    max_connections: int = Field(default=10, ge=1, le=1000)
    """How many connections to the database a server keeps at most."""

    _database: Database | None = PrivateAttr(default=None)

    def database(self, state: Path) -> Database:
        """What the URL says, as it was when the configuration was read."""
        return self._database or SqliteFile(state / STORE_FILE)

    @model_validator(mode="after")
    def _read(self, info: ValidationInfo) -> Self:
        secret = read_secret("url", self.url_env, self.url_file, info)
        key = "url_env" if self.url_env else "url_file" if self.url_file else "url"
        if secret is not None and self.url is not None:
            raise fault(f"is one too many: {key} is set as well", key="url")
        url = secret.get_secret_value() if secret else self.url
        if url is None:
            return self
        try:
            self._database = read_url(url, base_of(info))
        except ValueError as error:
            raise fault(f"{error}; write sqlite:///PATH or postgresql://…", key=key) from None
        if key == "url" and isinstance(self._database, PostgresUrl) and self._database.has_password:
            raise fault("holds a password: use url_env or url_file", key=key)
        return self


class FacadeSettings(GrpcClient):
    """How `diglot facade` reaches the service."""

    service: GrpcTarget = "127.0.0.1:50051"
    """The service as a gRPC target: host:port, dns:///name:port, unix:/path."""


class Settings(Section):
    """The whole configuration."""

    state: Directory = Field(default_factory=default_state_directory)
    """Where keys, models and stored completions are kept."""
    workers: int = Field(default=1, ge=1, le=256)
    """How many processes serve, on the same ports. 1: no process besides."""
    grace_seconds: Seconds = 30
    """How long calls in flight may go on once the server is told to stop."""
    hang_seconds: Seconds = 30
    """How long a process that the server has started, a model's or a worker, may give no sign of
    life before it is killed and started again."""
    http: HttpSettings = HttpSettings()
    grpc: GrpcSettings = GrpcSettings()
    auth: AuthSettings = AuthSettings()
    log: LogSettings = LogSettings()
    admin: AdminSettings = AdminSettings()
    traces: TracesSettings = TracesSettings()
    store: StoreSettings = StoreSettings()
    media: MediaSettings = MediaSettings()
    facade: FacadeSettings = FacadeSettings()
    models: Annotated[tuple[ModelSettings, ...], BeforeValidator(as_tuple), Field(min_length=1)] = (
        EmbeddedModel(kind="embedded", name=DEFAULT_MODEL),
    )
    """The models on offer; the first is the one that `diglot chat` talks to."""
    default_model: Name | None = None
    """The model that answers requests for "default". Absent: there is no model of that name."""

    @field_validator("models")
    @classmethod
    def _agree(cls, models: tuple[ModelSettings, ...]) -> tuple[ModelSettings, ...]:
        check_names(models)
        check_fallbacks(models)
        for index, model in enumerate(models):
            if "weight" in model.model_fields_set:
                raise fault("is for one of several [[models.deployments]]", key=f"[{index}].weight")
        return models

    @field_validator("default_model")
    @classmethod
    def _default(cls, default: str | None, info: ValidationInfo) -> str | None:
        if default is not None and "models" in info.data:
            check_default(default, info.data["models"])
        return default

    @model_validator(mode="after")
    def _apart(self, info: ValidationInfo) -> Self:
        """Those that are used: each listens at a place of its own. Port 0 is another each time."""
        unused = (info.context or {}).get("without", ())
        taken: dict[Address, str] = {}
        for key in ("http", "grpc", "admin"):
            address = getattr(self, key).address
            if key in unused or address is None or address.port == 0:
                continue
            if address in taken:
                raise fault(f"is {taken[address]}.address as well", key=f"{key}.address")
            taken[address] = key
        return self
