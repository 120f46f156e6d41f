"""HTTP/1.1 to upstreams: requests with a body, and answers read as they come.

Here and not by a library since it is the hot path: aiohttp's client took a quarter of the CPU of
a short request, most of it for what a gateway has no use for (cookies, redirects, proxies,
encodings). What parses is llhttp (httptools), as in Node.js.
"""

from .channel import HttpChannel
from .reply import Broken, Reply

__all__ = ["Broken", "HttpChannel", "Reply"]
