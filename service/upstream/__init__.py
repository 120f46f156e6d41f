"""Models behind any server that speaks OpenAI's HTTP API."""

from .endpoint import Endpoint
from .engine import UpstreamEngine

__all__ = ["Endpoint", "UpstreamEngine"]
