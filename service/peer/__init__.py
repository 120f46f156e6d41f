"""Models of another Diglot, asked over gRPC."""

from .engine import Peer, PeerEngine

__all__ = ["Peer", "PeerEngine"]
