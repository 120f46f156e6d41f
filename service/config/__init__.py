"""The configuration: one TOML file, a few flags, checked as a whole before anything starts."""

from __future__ import annotations

from .address import Address
from .faults import ConfigError
from .load import Flags, load
from .models import EmbeddedModel, ModelSettings, RoutedModel, ScriptedModel, SingleModel, places_of
from .names import DEFAULT
from .section import GrpcClient
from .settings import (
    AuthSettings,
    FacadeSettings,
    GrpcSettings,
    HttpSettings,
    LogSettings,
    MediaSettings,
    Settings,
)
from .upstreams import AnthropicModel, DiglotModel, UpstreamModel

__all__ = [
    "DEFAULT",
    "Address",
    "AnthropicModel",
    "AuthSettings",
    "ConfigError",
    "DiglotModel",
    "EmbeddedModel",
    "FacadeSettings",
    "Flags",
    "GrpcClient",
    "GrpcSettings",
    "HttpSettings",
    "LogSettings",
    "MediaSettings",
    "ModelSettings",
    "RoutedModel",
    "ScriptedModel",
    "Settings",
    "SingleModel",
    "UpstreamModel",
    "load",
    "places_of",
]
