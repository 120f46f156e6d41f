"""The kinds of values that settings have, and what is asked of each."""

from __future__ import annotations

import os
import re
import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated
from urllib.parse import SplitResult, urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr, ValidationInfo
from pydantic_core import PydanticCustomError

from ..state import absolute
from .address import Address

_VARIABLE = re.compile("[A-Za-z_][A-Za-z0-9_]*")


def fault(text: str, key: str = "") -> PydanticCustomError:
    """An error whose text is whole. `key` points below the value that is being checked."""
    return PydanticCustomError("fault", "{text}", {"text": text, "key": key})


def is_path(source: str) -> bool:
    """Whether a model's source means a file here, rather than a name or a URL.

    org/repo/file.gguf is a file of a Hugging Face repository, unless there is one here.
    """
    if source.startswith(("/", "./", "../", "~")):
        return True
    if not source.endswith(".gguf") or "://" in source:
        return False
    return source.count("/") != 2 or Path(source).is_file()


def resolve_path(value: str, info: ValidationInfo) -> Path:
    """Relative paths count from the directory of the file that names them."""
    return absolute(value, base_of(info))


def base_of(info: ValidationInfo) -> Path:
    """The directory of the file that is being read; without one, ours."""
    base = (info.context or {}).get("base")
    return base if isinstance(base, Path) else Path.cwd()


def _directory(value: object, info: ValidationInfo) -> object:
    if isinstance(value, str) and value:
        return resolve_path(value, info)
    if isinstance(value, Path):
        return value
    raise fault(f"found {quoted(value)}; it must be a path, in quotes")


def _readable(value: object, info: ValidationInfo) -> object:
    path = _directory(value, info)
    assert isinstance(path, Path)
    try:
        path.read_bytes()
    except OSError as error:
        raise fault(f"cannot read {path}: {error.strerror}") from None
    return path


def _address(value: object) -> object:
    if isinstance(value, Address):
        return value
    if not isinstance(value, str):
        raise fault(f"found {quoted(value)}; it must be HOST:PORT, in quotes")
    try:
        return Address.parse(value)
    except ValueError as error:
        raise fault(f"found {quoted(value)}, which {error}") from None


def _target(target: str) -> str:
    if "://" in target and target.startswith(("http", "grpc")):
        raise fault(f'found "{target}", which is a URL; write HOST:PORT')
    if ":" not in target or any(map(str.isspace, target)):
        raise fault(f'found "{target}", which is no gRPC target; write HOST:PORT')
    return target


Directory = Annotated[Path, BeforeValidator(_directory)]
ReadableFile = Annotated[Path, BeforeValidator(_readable)]
AnyFile = Annotated[Path, BeforeValidator(_directory)]
"""Read by who needs it, and not when the configuration is."""
ListenAddress = Annotated[Address, BeforeValidator(_address)]
GrpcTarget = Annotated[str, AfterValidator(_target)]
Seconds = Annotated[float, Field(gt=0, le=86400)]
# Each is read into memory whole, on the event loop: more would let one call stop all others.
Megabytes = Annotated[int, Field(ge=1, le=1024)]


def check_tls(certificate: Path | None, key: Path | None) -> None:
    """Both or neither, and belonging together."""
    if certificate is None and key is None:
        return
    if key is None:
        raise fault("missing: tls_cert is set, and needs its private key beside it", key="tls_key")
    if certificate is None:
        raise fault("missing: tls_key is set, and needs its certificate beside it", key="tls_cert")
    try:
        # The password keeps OpenSSL from asking the terminal for one.
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate, key, password=str)
    except (ssl.SSLError, OSError) as error:
        reason = getattr(error, "reason", None) or "not a certificate and its key in PEM"
        raise fault(f"cannot use {certificate} with {key}: {reason}", key="tls_cert") from None


def read_secret(
    name: str, variable: str | None, file: Path | None, info: ValidationInfo
) -> SecretStr | None:
    """The secret that `<name>_env` or `<name>_file` names. Nothing of it gets into an error."""
    in_variable, in_file = f"{name}_env", f"{name}_file"
    if variable is not None and file is not None:
        raise fault(f"is one too many: {in_variable} is set as well", key=in_file)
    if variable is not None:
        if not _VARIABLE.fullmatch(variable):
            # Not shown: it may well be the key itself.
            raise fault("must be the NAME of an environment variable", key=in_variable)
        environ: Mapping[str, str] = (info.context or {}).get("environ", os.environ)
        if variable not in environ:
            raise fault(f"the environment has no variable {variable}; set it", key=in_variable)
        return _secret(environ[variable], f"the variable {variable}", in_variable)
    if file is not None:
        text = file.read_bytes().decode("utf-8", "replace")
        return _secret(text, f"the file {file}", in_file)
    return None


def _secret(text: str, where: str, key: str) -> SecretStr:
    secret = text.strip()
    if not secret:
        raise fault(f"{where} is empty", key=key)
    if not (secret.isascii() and secret.isprintable()):
        raise fault(f"{where} holds more than one line of plain characters", key=key)
    return SecretStr(secret)


def http_url(url: str, write: str, password: str) -> SplitResult:
    """Its parts. The arguments tell what to write instead, and where a password belongs."""
    try:
        parts = urlsplit(url)
        valid = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:
        valid = False
    if not valid:
        # What stands before an @ could be a password, also in what is no URL.
        found = "is" if "@" in url else f"found {quoted(url)}, which is"
        raise fault(f"{found} no http(s) URL; {write}")
    if parts.username is not None or parts.password is not None:
        raise fault(f"holds a password: {password}")
    return parts


def quoted(value: object) -> str:
    """A value as TOML would spell it, cut short."""
    match value:
        case bool():
            return str(value).lower()
        case str():
            text = '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
        case dict():
            return "a table"
        case list() | tuple():
            return "an array"
        case _:
            text = str(value)
    text = (
        text.encode("unicode_escape", "backslashreplace").decode()
        if not text.isprintable()
        else text
    )
    return text if len(text) <= 80 else text[:77] + "…" + '"' * (text[0] == '"')
