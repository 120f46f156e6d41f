"""Models behind Anthropic's Messages API, and servers that speak it."""

from .engine import AnthropicEngine, MessagesEndpoint
from .thinking import Options

__all__ = ["AnthropicEngine", "MessagesEndpoint", "Options"]
