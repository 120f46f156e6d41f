"""The HTTP face of Diglot: OpenAI's JSON and SSE, translated to and from the contract.

It decides nothing about completions. It holds a Channel, which is a connection to the
service or the service itself, and knows no difference between the two.
"""

from .app import build_app
from .channel import Channel, Metadata, StreamCall
from .options import FacadeOptions
from .remote_channel import RemoteChannel
from .server import HttpServer
from .watch import Look, Watch

__all__ = [
    "Channel",
    "FacadeOptions",
    "HttpServer",
    "Look",
    "Metadata",
    "RemoteChannel",
    "StreamCall",
    "Watch",
    "build_app",
]
