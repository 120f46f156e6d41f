"""The connection to another Diglot: not there, mute, late, encrypted, and its bounds."""

from __future__ import annotations

import asyncio
from pathlib import Path

import grpc
import pytest
from certificates import self_signed
from other_diglot import asking, chunks_of, other_diglot
from serving import ask

from diglot.service import errors
from diglot.service.peer import Peer
from diglot.service.server import ServerTls


async def test_nobody_listens() -> None:
    async with asking("127.0.0.1:1") as asks:
        with pytest.raises(errors.UpstreamUnavailable, match="cannot be reached") as caught:
            await chunks_of(asks)
        assert caught.value.retry_after == 1
        assert not asks.readiness.ready
        assert asks.readiness.reason == "127.0.0.1:1 cannot be reached, or is not ready"


async def test_a_server_that_takes_connections_and_says_nothing_is_given_up() -> None:
    """After the time to connect, which is gRPC's handshake too."""
    held = []
    silent = await asyncio.start_server(
        lambda _, writer: held.append(writer), "127.0.0.1", 0, start_serving=True
    )
    target = "{}:{}".format(*silent.sockets[0].getsockname())
    try:
        async with asking(Peer(target, connect_timeout=1)) as asks, asyncio.timeout(10):
            with pytest.raises(errors.UpstreamUnavailable):
                await chunks_of(asks)
        assert held
    finally:
        for writer in held:
            writer.close()
        silent.close()


async def test_a_peer_that_comes_late_is_found(caplog: pytest.LogCaptureFixture) -> None:
    """And the log says meanwhile what a server waits for: once, however often it tries."""
    caplog.set_level("INFO", "diglot.peer")
    async with other_diglot() as gone:
        target = gone.target
    async with asking(Peer(target, connect_timeout=0.1)) as asks:
        with pytest.raises(errors.UpstreamUnavailable):
            await chunks_of(asks)
        async with other_diglot(target=target):
            await asks.readiness.wait()
            assert await chunks_of(asks)
    told = [record.getMessage() for record in caplog.records if record.name == "diglot.peer"]
    assert told == [
        f"{target} cannot be reached, or is not ready",
        f"{target} is ready",
    ]


async def test_it_is_ready_as_long_as_the_peer_is() -> None:
    """Told by the peer's own health service, without asking again and again."""
    changed = asyncio.Event()
    async with other_diglot() as peer, asking(peer.target) as asks:
        asks.readiness.subscribe(changed.set)
        await asks.readiness.wait()
        changed.clear()
        peer.engine.readiness.down("reloading")
        await changed.wait()
        assert not asks.readiness.ready
        peer.engine.readiness.up()
        await asks.readiness.wait()


async def test_a_server_that_knows_no_health_is_taken_to_be_ready() -> None:
    """A proxy between, for example."""
    bare = grpc.aio.server()
    port = bare.add_insecure_port("127.0.0.1:0")
    await bare.start()
    try:
        async with asking(f"127.0.0.1:{port}") as asks:
            await asks.readiness.wait()
    finally:
        await bare.stop(0)


async def test_over_tls(tmp_path: Path) -> None:
    """With the certificates that the configuration trusts, and no others."""
    theirs, key = self_signed(tmp_path, "theirs")
    another, _ = self_signed(tmp_path, "another")
    tls = ServerTls(theirs.read_bytes(), key.read_bytes())
    async with other_diglot(tls=tls) as peer:
        trusting = Peer(peer.target, grpc.ssl_channel_credentials(theirs.read_bytes()))
        async with asking(trusting) as asks:
            assert await chunks_of(asks)
        for wrong in (grpc.ssl_channel_credentials(another.read_bytes()), None):
            async with asking(Peer(peer.target, wrong)) as asks:
                with pytest.raises(errors.UpstreamUnavailable):
                    await chunks_of(asks)


async def test_a_request_that_is_too_large_for_the_peer() -> None:
    async with other_diglot() as peer, asking(peer.target) as asks:
        with pytest.raises(errors.UpstreamRefused, match="larger than the upstream takes"):
            await chunks_of(asks, ask("x" * 2**20, model="ours"))


async def test_an_answer_that_is_too_large_for_us() -> None:
    request = ask("x" * 2000, model="ours", logprobs=True, top_logprobs=1)  # says it five times
    async with other_diglot() as peer, asking(Peer(peer.target, max_message_bytes=5000)) as asks:
        with pytest.raises(errors.UpstreamInvalid, match="too long"):
            await chunks_of(asks, request)
