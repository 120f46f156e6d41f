"""What the tables of the file have in common."""

from __future__ import annotations

from typing import Annotated, ClassVar, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from .checks import ReadableFile, check_tls, fault

Name = Annotated[str, Field(pattern=r"^[^\s\x00-\x1f\x7f]{1,256}$")]
MostTokens = Annotated[int | None, Field(ge=1, le=2**31 - 1)]


class Section(BaseModel):
    """One table of the file."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", strict=True, allow_inf_nan=False, use_attribute_docstrings=True
    )
    # What to say about a key that is likely to be tried and does not exist.
    refused: ClassVar[dict[str, str]] = {}


class GrpcClient(Section):
    """Who calls a gRPC server."""

    tls_ca: ReadableFile | None = None
    """Certificates, PEM, one of which signed the server's. With it the calls use TLS."""
    tls_cert: ReadableFile | None = None
    """The caller's own certificate, PEM, where the server wants one (mTLS)."""
    tls_key: ReadableFile | None = None
    """That certificate's private key, PEM, without passphrase."""

    @model_validator(mode="after")
    def _tls(self) -> Self:
        check_tls(self.tls_cert, self.tls_key)
        if self.tls_cert and not self.tls_ca:
            raise fault("needs tls_ca beside it", key="tls_cert")
        return self
