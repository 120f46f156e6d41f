"""The configuration: one TOML file, a few flags, checked as a whole before anything starts."""

from __future__ import annotations

from .address import Address
from .faults import ConfigError
from .load import Flags, load
from .settings import (
    AuthSettings,
    EmbeddedModel,
    FacadeSettings,
    GrpcSettings,
    HttpSettings,
    LogSettings,
    ModelSettings,
    ScriptedModel,
    Settings,
    UpstreamModel,
)

__all__ = [
    "Address",
    "AuthSettings",
    "ConfigError",
    "EmbeddedModel",
    "FacadeSettings",
    "Flags",
    "GrpcSettings",
    "HttpSettings",
    "LogSettings",
    "ModelSettings",
    "ScriptedModel",
    "Settings",
    "UpstreamModel",
    "load",
]
