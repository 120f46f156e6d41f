"""Models behind any server that speaks OpenAI's HTTP API."""

from .engine import Endpoint, UpstreamEngine

__all__ = ["Endpoint", "UpstreamEngine"]
