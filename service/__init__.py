"""The service: what a chat completion is, and its gRPC face.

`ChatService` (chat.py) is the core: protobuf in, protobuf out, no transport. Models
(models.py) answer through engines (engine.py): scripted, embedded, upstream, anthropic, peer. The
gRPC server (server.py) and the in-process channel (inprocess.py) carry calls to the core; both let
callers in by entrance.py and turn errors.py into statuses by status.py.
"""
