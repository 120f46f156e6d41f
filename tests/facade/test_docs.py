"""The reference as a page: one answer, with all in it, and nothing that a browser would run."""

from __future__ import annotations

import base64
import hashlib
import re
from html.parser import HTMLParser

from diglot.facade.openapi import document

from .fake import over
from .memory_channel import MemoryChannel

VOID = {"meta", "link", "br", "hr", "img", "input"}


class Page(HTMLParser):
    """What a browser would see of it."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.ids: list[str] = []
        self.links: list[str] = []
        self.fetched: list[str] = []
        self.text = ""
        self._open: list[str] = []
        self.feed(text)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        if tag not in VOID:
            self._open.append(tag)
        for name, value in attrs:
            assert not name.startswith("on"), "a script"
            assert name != "style", "the policy forbids it"
            match name:
                case "id":
                    self.ids.append(value or "")
                case "href":
                    self.links.append(value or "")
                case "src" | "srcset" | "data":
                    self.fetched.append(value or "")

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self._open and self._open[-1] != "style":
            self.text += data


async def page() -> tuple[dict[str, str], str]:
    async with (
        over(MemoryChannel()) as running,
        running.http.get(f"{running.url}/docs") as answer,
    ):
        assert answer.status == 200
        return dict(answer.headers), await answer.text()


async def test_it_is_a_page_that_nobody_needs_a_key_for() -> None:
    headers, text = await page()
    assert headers["Content-Type"] == "text/html; charset=utf-8"
    assert text.startswith("<!doctype html>")
    assert {"main", "nav", "h1", "table", "pre"} <= Page(text).tags


async def test_it_fetches_nothing_and_runs_nothing() -> None:
    headers, text = await page()
    seen = Page(text)
    assert not {"script", "link", "img", "iframe", "form", "object"} & seen.tags
    assert seen.fetched == []
    assert "url(" not in text
    assert "@import" not in text
    policy = headers["Content-Security-Policy"]
    [style] = re.findall(r"<style>(.*?)</style>", text, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    assert policy == (
        f"default-src 'none'; style-src 'sha256-{digest}'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    assert headers["X-Content-Type-Options"] == "nosniff"


async def test_its_links_lead_somewhere() -> None:
    _, text = await page()
    seen = Page(text)
    assert len(seen.ids) == len(set(seen.ids))
    inside = {link.removeprefix("#") for link in seen.links if link.startswith("#")}
    assert inside <= set(seen.ids)
    assert {link for link in seen.links if not link.startswith("#")} == {"openapi.json"}


async def test_it_has_all_of_the_document() -> None:
    _, text = await page()
    seen = Page(text)
    said = " ".join(seen.text.split())
    api = document()
    for path, operations in api["paths"].items():
        for method, operation in operations.items():
            assert f"{method.upper()}{path}{operation['summary']}" in said
            assert operation["operationId"] in seen.ids
    for name, schema in api["components"]["schemas"].items():
        assert name in seen.ids
        for field, node in schema.get("properties", {}).items():
            assert field in said
            told = node.get("description", "").replace("`", "")
            assert " ".join(told.split()) in said


async def test_it_shows_ranges_and_what_is_required() -> None:
    _, text = await page()
    said = Page(text).text
    assert "temperaturenumber or null0 to 2" in said
    assert "modelstringnot emptyrequired" in said
    assert "stopstring or array of string or nullnot empty; at most 4 items" in said
