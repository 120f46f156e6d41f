"""The engine that asks another Diglot, against a real one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from pathlib import Path

import grpc
import pytest
from certificates import self_signed
from serving import ask

from diglot.service import errors
from diglot.service.call import Call
from diglot.service.chat import ChatService
from diglot.service.entrance import Authenticator, NoKeys
from diglot.service.errors import InvalidKey
from diglot.service.keys import Caller
from diglot.service.models import Models, ServedModel
from diglot.service.peer import Peer, PeerEngine
from diglot.service.scripted import ScriptedEngine
from diglot.service.server import GrpcServer, ServerTls
from diglot.v1.chat_pb2 import CreateChatCompletionRequest, StreamOptions
from diglot.v1.chunk_pb2 import ChatCompletionChunk
from diglot.v1.model_pb2 import Model

CALL = Call(request_id="req_test", caller="tester")
LONG = {"tokens": 1000, "interval_ms": 10}


class Recording(ScriptedEngine):
    """The scripted model, with what reached it; or what it fails with."""

    def __init__(self, failure: errors.ChatError | Exception | None = None) -> None:
        super().__init__()
        self.failure = failure
        self.asked: list[tuple[CreateChatCompletionRequest, Call]] = []
        self.freed = asyncio.Event()

    async def stream(
        self, request: CreateChatCompletionRequest, call: Call
    ) -> AsyncGenerator[ChatCompletionChunk, None]:
        self.asked.append((request, call))
        if self.failure is not None:
            raise self.failure
        try:
            async with aclosing(super().stream(request, call)) as chunks:
                async for chunk in chunks:
                    yield chunk
        finally:
            self.freed.set()


class OneKey:
    def authenticate(self, authorization: str | None) -> Caller:
        if authorization == "Bearer sesame":
            return Caller("k1", "us")
        raise InvalidKey("Incorrect API key provided.")


class OtherDiglot:
    def __init__(self, engine: ScriptedEngine, server: GrpcServer, target: str) -> None:
        self.engine = engine
        self.server = server
        self.target = target


@asynccontextmanager
async def other_diglot(
    engine: ScriptedEngine | None = None,
    authenticator: Authenticator | None = None,
    tls: ServerTls | None = None,
    target: str = "127.0.0.1:0",
) -> AsyncIterator[OtherDiglot]:
    engine = engine or ScriptedEngine()
    models = Models([ServedModel(Model(id="theirs"), engine)])
    chat = ChatService(models)
    server = GrpcServer(chat, models, authenticator or NoKeys(), tls=tls, max_message_bytes=2**20)
    port = await server.start(target)
    await models.start()
    try:
        yield OtherDiglot(engine, server, f"127.0.0.1:{port}")
    finally:
        await server.stop(0)
        await models.close()


@asynccontextmanager
async def asking(peer: Peer | str) -> AsyncIterator[PeerEngine]:
    engine = PeerEngine(Peer(peer) if isinstance(peer, str) else peer, "theirs")
    await engine.start()
    try:
        yield engine
    finally:
        await engine.close()


async def chunks_of(
    engine: PeerEngine, request: CreateChatCompletionRequest | None = None, call: Call = CALL
) -> list[ChatCompletionChunk]:
    return [chunk async for chunk in engine.stream(request or ask(model="ours"), call)]


async def test_requests_and_chunks_pass_whole() -> None:
    """Under the peer's name for the model, and the id that the call has here."""
    request = ask("a b", model="ours", n=2, logprobs=True, script={"reasoning": "hm"})
    untouched = CreateChatCompletionRequest()
    untouched.CopyFrom(request)
    engine = Recording()
    async with other_diglot(engine) as peer, asking(peer.target) as asks:
        chunks = await chunks_of(asks, request)
    ((asked, call),) = engine.asked
    assert request == untouched
    assert asked.stream_options == StreamOptions(include_usage=True)
    asked.ClearField("stream_options")
    asked.model = "ours"
    assert asked == untouched
    assert call.request_id == "req_test"
    assert call.deadline is None
    assert [choice.index for choice in chunks[0].choices] == [0]
    assert chunks[-1].usage.completion_tokens > 0
    assert not chunks[-1].choices
    assert sum(choice.HasField("finish_reason") for each in chunks for choice in each.choices) == 2


async def test_what_is_stored_and_padded_is_what_we_answer() -> None:
    """Not what the peer answered us. Where nothing is stored, metadata is the peer's to judge."""
    engine = Recording()
    padded = StreamOptions(include_obfuscation=True)
    async with other_diglot(engine) as peer, asking(peer.target) as asks:
        for store in (True, None):
            request = ask(model="ours", store=store, metadata={"k": "v"}, stream_options=padded)
            chunks = await chunks_of(asks, request)
            assert not any(chunk.HasField("obfuscation") for chunk in chunks)
    (stored, _), (silent, _) = engine.asked
    assert not stored.HasField("store")
    assert not stored.metadata
    assert silent.metadata == {"k": "v"}


async def test_its_key_is_shown_and_not_told() -> None:
    engine = Recording()
    async with other_diglot(engine, OneKey()) as peer:
        good = Peer(peer.target, api_key="sesame")
        assert "sesame" not in repr(good)
        async with asking(good) as asks:
            await chunks_of(asks)
        for bad in (Peer(peer.target), Peer(peer.target, api_key="wrong")):
            async with asking(bad) as asks:
                with pytest.raises(errors.UpstreamUnavailable, match="this server's key"):
                    await chunks_of(asks)
    ((_, call),) = engine.asked
    assert call.caller == "k1"


async def test_a_deadline_is_passed_on() -> None:
    engine = Recording()
    async with other_diglot(engine) as peer, asking(peer.target) as asks:
        now = asyncio.get_running_loop().time()
        await chunks_of(asks, call=Call("req_test", "tester", now + 60))
        ((_, call),) = engine.asked
        assert call.deadline is not None
        assert now + 50 < call.deadline < now + 61
        soon = Call("req_test", "tester", asyncio.get_running_loop().time() + 0.1)
        with pytest.raises(errors.DeadlineExceeded):
            await chunks_of(asks, ask(model="ours", script=LONG), soon)
        gone = Call("req_test", "tester", now - 1)
        with pytest.raises(errors.DeadlineExceeded):
            await chunks_of(asks, call=gone)


async def test_whoever_leaves_frees_the_peers_model() -> None:
    engine = Recording()
    async with other_diglot(engine) as peer, asking(peer.target) as asks:
        async with aclosing(asks.stream(ask(model="ours", script=LONG), CALL)) as chunks:
            await anext(chunks)
        await engine.freed.wait()
        assert engine.active == 0


class Stalled(ScriptedEngine):
    """Says nothing: it queues, or reads the prompt."""

    def __init__(self) -> None:
        super().__init__()
        self.came, self.left = asyncio.Event(), asyncio.Event()

    async def stream(
        self, request: CreateChatCompletionRequest, call: Call
    ) -> AsyncGenerator[ChatCompletionChunk, None]:
        self.came.set()
        try:
            await asyncio.Event().wait()
            yield ChatCompletionChunk()
        finally:
            self.left.set()


async def test_whoever_leaves_before_the_first_chunk_does_so_too() -> None:
    engine = Stalled()
    async with other_diglot(engine) as peer, asking(peer.target) as asks:
        waiting = asyncio.ensure_future(chunks_of(asks))
        await engine.came.wait()
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        await engine.left.wait()


async def test_closing_ends_calls_in_flight_with_an_error() -> None:
    engine = Recording()
    async with other_diglot(engine) as peer, asking(peer.target) as asks:
        chunks = asks.stream(ask(model="ours", script=LONG), CALL)
        await anext(chunks)
        closing = asyncio.ensure_future(asks.close())
        with pytest.raises(errors.UpstreamUnavailable):
            async for _ in chunks:
                pass
        await closing
        await engine.freed.wait()
        assert not asks.readiness.ready
        with pytest.raises(errors.NotReady):
            asks.stream(ask(), CALL)


async def test_a_peer_that_goes_in_the_middle_is_an_error_not_an_end() -> None:
    async with other_diglot() as peer, asking(peer.target) as asks:
        chunks = asks.stream(ask(model="ours", script=LONG), CALL)
        await anext(chunks)
        stopping = asyncio.ensure_future(peer.server.stop(0))
        with pytest.raises(errors.Unavailable):
            async for _ in chunks:
                pass
        await stopping


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


ERRORS: list[errors.ChatError] = [
    errors.MissingValue("m", field="messages[0].content"),
    errors.InvalidValue("v", field="temperature"),
    errors.UnsupportedParameter("p", field="seed"),
    errors.UnsupportedValue("v", field="n"),
    errors.InvalidSchema("s", field="tools[0].function.parameters_json"),
    errors.ContextLengthExceeded(10, 99),
    errors.UpstreamRefused("r", field="x", details={"http_status": "422", "type": "t"}),
    errors.NotFound("n"),
    errors.NotImplementedYet("n"),
    errors.RateLimited("slow", retry_after=7),
    errors.NotReady("n", retry_after=1.5),
    errors.ShuttingDown("s"),
    errors.EngineLost("e", retry_after=1),
    errors.UpstreamUnavailable("u"),
    errors.StoreUnavailable("s"),
    errors.UpstreamInvalid("u"),
    errors.InvalidAnswer("a"),
    errors.DeadlineExceeded(),
]


@pytest.mark.parametrize("error", ERRORS, ids=errors.name_of)
async def test_a_refusal_is_the_very_error_that_the_peer_raised(error: errors.ChatError) -> None:
    async with other_diglot(Recording(error)) as peer, asking(peer.target) as asks:
        with pytest.raises(errors.ChatError) as caught:
            await chunks_of(asks)
    same = caught.value
    assert type(same) is type(error)
    assert (same.message, same.field, same.retry_after, same.details) == (
        error.message,
        error.field,
        error.retry_after,
        error.details,
    )


async def test_what_the_peer_says_of_us_is_not_our_callers() -> None:
    """A bug there is no bug here; and our caller's name for the model is the one it knows."""
    async with other_diglot(Recording(RuntimeError("secret"))) as peer, asking(peer.target) as asks:
        with pytest.raises(errors.UpstreamInvalid, match="failed"):
            await chunks_of(asks)
        stranger = PeerEngine(Peer(peer.target), "no-such-model")
        await stranger.start()
        try:
            with pytest.raises(errors.ModelNotFound, match="'ours'"):
                await chunks_of(stranger)
        finally:
            await stranger.close()


async def test_an_error_in_the_middle_comes_after_what_was_said() -> None:
    script = {"fail": "RATE_LIMIT_EXCEEDED", "fail_after": 2}
    async with other_diglot() as peer, asking(peer.target) as asks:
        said = ""
        with pytest.raises(errors.RateLimited):
            async for chunk in asks.stream(ask(model="ours", script=script), CALL):
                said += chunk.choices[0].delta.content
    assert said == "hello there"


async def test_text_that_came_merged_is_counted_token_by_token() -> None:
    """What failed before its end is accounted with what was delivered of it."""
    call = Call(request_id="req_test", caller="tester")
    script = {"tokens": 100, "fail": "ENGINE_LOST", "fail_after": 90}
    said: list[ChatCompletionChunk] = []
    async with other_diglot() as peer, asking(peer.target) as asks:
        with pytest.raises(errors.EngineLost):
            async for chunk in asks.stream(ask(model="ours", script=script), call):
                said.append(chunk)
    assert len(said) < 90, "nothing was merged"
    usage = call.meter.usage()
    assert usage is not None
    assert usage.completion_tokens == 90
    assert not any(chunk.HasField("merged_chunks") for chunk in said)


async def test_a_request_that_is_too_large_for_the_peer() -> None:
    async with other_diglot() as peer, asking(peer.target) as asks:
        with pytest.raises(errors.UpstreamRefused, match="larger than the upstream takes"):
            await chunks_of(asks, ask("x" * 2**20, model="ours"))


async def test_an_answer_that_is_too_large_for_us() -> None:
    request = ask("x" * 2000, model="ours", logprobs=True, top_logprobs=1)  # says it five times
    async with other_diglot() as peer, asking(Peer(peer.target, max_message_bytes=5000)) as asks:
        with pytest.raises(errors.UpstreamInvalid, match="too long"):
            await chunks_of(asks, request)
