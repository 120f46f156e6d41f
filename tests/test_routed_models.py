"""Models of several deployments, names and stand-ins: who is asked, and for what."""

from __future__ import annotations

import asyncio
from pathlib import Path

import aiohttp
from faces import GRPC, HTTP, faces
from faults import deployment
from faulty_upstream import Exchange, saying, status, upstream
from held_upstream import QUICK, TALKING, held_upstream


async def test_the_fallback_model_answers_when_all_deployments_fail(tmp_path: Path) -> None:
    async with upstream(status("503 No")) as faulty, upstream(saying("well", " said")) as good:
        config = (
            '[[models]]\nname = "m"\nfallback = "other"\n'
            + deployment(faulty.base_url, 1)
            + deployment(f"{faulty.base_url}/", 1).replace("weight", 'name = "b"\nweight')
            + '[[models]]\nname = "other"\nkind = "upstream"\n'
            + f'base_url = "{good.base_url}"\nupstream_model = "real"\n'
        )
        async with faces(tmp_path, config) as both:
            for face in (HTTP, GRPC):
                seen = await both.ask(face)
                assert (seen.text, seen.model, seen.ended) == ("well said", "other", True)
        assert len(faulty.exchanges) == 4
        assert [exchange.body["model"] for exchange in good.exchanges] == ["real", "real"]


async def test_a_fallback_takes_on_no_more_for_standing_in(tmp_path: Path) -> None:
    """Its places and its queue are for those who ask for it and for those who do not."""
    async with upstream(status("503 No")) as faulty, held_upstream() as held:
        config = f"""
            [[models]]
            name = "m"
            kind = "upstream"
            base_url = "{faulty.base_url}"
            fallback = "other"
            [[models]]
            name = "other"
            kind = "upstream"
            base_url = "{held.base_url("other")}"
            max_running = 1
            max_queued = 1
            """
        async with faces(tmp_path, config) as both:
            other = both.service.models.resolve("other").admission
            assert other is not None
            for face in (HTTP, GRPC):
                first = asyncio.ensure_future(both.ask(face, TALKING))
                await held.asked(TALKING, times=1)
                waits = asyncio.ensure_future(both.ask(face, QUICK))
                while not other.queued:
                    await asyncio.sleep(0)
                assert (await both.ask(face, QUICK)).error == "UPSTREAM_UNAVAILABLE"
                refused = await both.ask(face, QUICK, model="other")
                assert refused.error == {HTTP: "SERVER_OVERLOADED", GRPC: "QUEUE_FULL"}[face]
                assert not held.askers(QUICK)
                held.release()
                for each in await asyncio.gather(first, waits):
                    assert (each.text, each.model, each.ended) == ("one two", "other", True)
                held.hold()


async def test_who_leaves_is_noticed_by_whoever_serves(tmp_path: Path) -> None:
    """Also by the one that took over."""
    left = asyncio.Event()

    async def held(exchange: Exchange) -> None:
        await exchange.answer("half")
        await exchange.gone()
        left.set()

    async with upstream(status("503 No")) as faulty, upstream(held) as good:
        config = '[[models]]\nname = "m"\n' + deployment(faulty.base_url, 1000)
        async with faces(tmp_path, config + deployment(good.base_url, 0.001)) as both:
            asking = asyncio.ensure_future(both.ask(GRPC))
            while not (good.exchanges and good.exchanges[0].sent):
                await asyncio.sleep(0.01)
            asking.cancel()
            await left.wait()


async def test_names_aliases_wildcards_and_the_default(tmp_path: Path) -> None:
    """What a caller asks for, what the upstream is asked for, and what is listed."""
    async with upstream(saying("well")) as good:
        place = f'kind = "upstream"\nbase_url = "{good.base_url}"\n'
        config = f"""
            default_model = "m"
            [[models]]
            name = "m"
            aliases = ["gpt-4o"]
            upstream_model = "real"
            {place}
            [[models]]
            name = "open/*"
            upstream_model = "*"
            {place}
            [[models]]
            name = "whole/*"
            {place}
            """
        async with faces(tmp_path, config) as both:
            for asked, real in [
                ("m", "real"),
                ("gpt-4o", "real"),
                ("default", "real"),
                ("open/gpt-5", "gpt-5"),
                ("open/a/b", "a/b"),
                ("whole/x", "whole/x"),
            ]:
                for face in (HTTP, GRPC):
                    assert (await both.ask(face, model=asked)).text == "well"
                    assert good.exchanges[-1].body["model"] == real
            assert (await both.ask(HTTP, model="gpt-4")).status == 404
            async with aiohttp.ClientSession() as session:
                async with session.get(f"{both.http}/models") as listed:
                    names = [entry["id"] for entry in (await listed.json())["data"]]
                async with session.get(f"{both.http}/models/open/gpt-5") as found:
                    assert (await found.json())["id"] == "open/gpt-5"
            assert names == ["m", "gpt-4o", "default"]


async def test_one_conversation_goes_to_one_deployment(tmp_path: Path) -> None:
    async with upstream(saying("well")) as one, upstream(saying("well")) as other:
        config = '[[models]]\nname = "m"\n'
        config += deployment(one.base_url, 1) + deployment(other.base_url, 1)
        async with faces(tmp_path, config) as both:
            for number in range(12):
                before = len(one.exchanges), len(other.exchanges)
                for face in (HTTP, GRPC, HTTP):
                    await both.ask(face, prompt_cache_key=f"talk {number}")
                after = len(one.exchanges), len(other.exchanges)
                assert after in ((before[0] + 3, before[1]), (before[0], before[1] + 3))
        assert one.exchanges
        assert other.exchanges
