"""The reference as a page: the OpenAPI document in HTML, with nothing to fetch and no script."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterable
from functools import cache
from html import escape
from typing import Any

from .docs_style import STYLE
from .docs_types import limits, type_of
from .openapi import document
from .openapi_errors import EVERY, row

_STYLE_HASH = base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()
HEADERS = {
    "Content-Security-Policy": (
        f"default-src 'none'; style-src 'sha256-{_STYLE_HASH}'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}

_CODE = re.compile(r"`([^`]*)`")
_EXAMPLE = """\
curl http://127.0.0.1:8080/v1/chat/completions \\
  -H "Authorization: Bearer $DIGLOT_API_KEY" \\
  -H "Content-Type: application/json" \\
  -d '{
    "model": "smollm2-135m-instruct",
    "messages": [{"role": "user", "content": "What is a prime number? Answer in one sentence."}]
  }'"""


@cache
def page() -> bytes:
    api = document()
    info = api["info"]
    groups = [(tag["name"], _operations(api, tag["name"])) for tag in api["tags"]]
    schemas: dict[str, Any] = api["components"]["schemas"]
    sections = "".join(
        f"<h2>{escape(name)}</h2>" + "".join(_operation(*call) for call in calls)
        for name, calls in groups
    )
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{escape(info["title"])} API</title>
<style>{STYLE}</style>
</head>
<body>
<div class="page">
<nav aria-label="Contents"><details><summary>Contents</summary>{_contents(groups)}</details>
</nav>
<main>
<h1>{escape(info["title"])} API <small>{escape(info["version"])}</small></h1>
{_prose(info["description"])}
<p>The same for programs: <a href="openapi.json">openapi.json</a></p>
<h2 id="example">A first call</h2>
<pre><code>{escape(_EXAMPLE)}</code></pre>
<p>{_inline(api["components"]["securitySchemes"]["key"]["description"])}</p>
{sections}
<h2 id="errors">Errors</h2>
{_errors()}
<h2 id="objects">Objects</h2>
{"".join(_schema(name, one) for name, one in schemas.items() if not name.endswith("Request"))}
</main>
</div>
</body>
</html>
""".encode()


def _operations(api: dict[str, Any], tag: str) -> list[tuple[str, str, dict[str, Any]]]:
    return [
        (method.upper(), path, operation)
        for path, methods in api["paths"].items()
        for method, operation in methods.items()
        if tag in operation["tags"]
    ]


def _contents(groups: list[tuple[str, list[tuple[str, str, dict[str, Any]]]]]) -> str:
    items = ['<ul><li><a href="#example">A first call</a></li></ul>']
    for name, calls in groups:
        links = "".join(
            f'<li><a href="#{call["operationId"]}">{escape(call["summary"])}</a></li>'
            for _, _, call in calls
        )
        items.append(f"<strong>{escape(name)}</strong><ul>{links}</ul>")
    items.append('<strong>More</strong><ul><li><a href="#errors">Errors</a></li>')
    items.append('<li><a href="#objects">Objects</a></li></ul>')
    return "".join(items)


def _operation(method: str, path: str, operation: dict[str, Any]) -> str:
    pieces = [
        f'<article id="{operation["operationId"]}">',
        f'<div class="call"><span class="method {method}">{method}</span>',
        f"<code>{escape(path)}</code></div><h3>{escape(operation['summary'])}</h3>",
        _prose(operation.get("description", "")),
    ]
    if operation.get("security") == []:
        pieces.append("<p>Needs no key.</p>")
    if parameters := operation.get("parameters"):
        fields = {one["name"]: {**one["schema"], "description": one["description"]}
                  for one in parameters}  # fmt: skip
        required = [one["name"] for one in parameters if one.get("required")]
        pieces.append("<h4>Parameters</h4>" + _fields(fields, required))
    if body := operation.get("requestBody"):
        name = body["content"]["application/json"]["schema"]["$ref"].rpartition("/")[2]
        schema = document()["components"]["schemas"][name]
        pieces.append(f'<h4 id="{name}">Body <code>{name}</code></h4>{_of_schema(schema)}')
    responses = operation["responses"]
    pieces.append(f"<h4>Answer</h4>{_answer(responses['200'])}")
    errors = {status: answer for status, answer in responses.items() if status != "200"}
    if errors:
        pieces.append('<details class="errors"><summary>What can go wrong</summary>')
        pieces += [
            f"<h4>{status}</h4>{_prose(one['description'])}" for status, one in errors.items()
        ]
        pieces.append("</details>")
    return "".join(pieces) + "</article>"


def _answer(answer: dict[str, Any]) -> str:
    pieces = [_prose(answer["description"])]
    for kind, content in answer["content"].items():
        schema = content["schema"]
        name = "" if kind == "text/event-stream" else type_of(schema)
        pieces.append(f"<p><code>{escape(kind)}</code> {name}</p>")
        pieces.append(_prose(schema.get("description", "")))
    return "".join(pieces)


def _schema(name: str, schema: dict[str, Any]) -> str:
    return f'<article id="{name}"><h3>{escape(name)}</h3>{_of_schema(schema)}</article>'


def _of_schema(schema: dict[str, Any]) -> str:
    if "oneOf" in schema:
        return f"<p>{type_of(schema)}</p>"
    return _fields(schema.get("properties", {}), schema.get("required", ()))


def _fields(fields: dict[str, dict[str, Any]], required: Iterable[str]) -> str:
    rows = []
    for name, schema in fields.items():
        marks = '<span class="must">required</span>' if name in required else ""
        if schema.get("deprecated"):
            marks += '<span class="old">deprecated</span>'
        bounds = limits(schema)
        if bounds:
            bounds = f'<span class="range">{escape(bounds)}</span>'
        rows.append(
            f'<div><dt><code>{escape(name)}</code><span class="type">{type_of(schema)}</span>'
            f"{bounds}{marks}</dt><dd>{_prose(schema.get('description', ''))}</dd></div>"
        )
    return f'<dl class="fields">{"".join(rows)}</dl>'


def _errors() -> str:
    rows = "".join(
        f"<tr><td>{one.status}</td><td><code>{escape(one.code or 'null')}</code></td>"
        f"<td><code>{escape(one.type)}</code></td><td>{'yes' if one.retryable else 'no'}</td>"
        f"<td>{_inline(one.text)}</td></tr>"
        for one in sorted(map(row, EVERY), key=lambda one: one.status)
    )
    return (
        '<div class="scroll"><table><thead><tr><th>Status</th><th>code</th><th>type</th>'
        f"<th>Try again</th><th>Meaning</th></tr></thead><tbody>{rows}</tbody></table></div>"
    )


def _prose(text: str) -> str:
    """Paragraphs, and lists whose lines begin with a dash."""
    blocks = []
    for block in text.split("\n\n"):
        items = re.split(r"(?:^|\n)- ", block)
        if items[0].strip():
            blocks.append(f"<p>{_inline(items[0])}</p>")
        if len(items) > 1:
            blocks.append(
                "<ul>" + "".join(f"<li>{_inline(item)}</li>" for item in items[1:]) + "</ul>"
            )
    return "".join(blocks)


def _inline(text: str) -> str:
    return _CODE.sub(_code, escape(text, quote=False))


def _code(quoted: re.Match[str]) -> str:
    text = quoted[1]
    if text in document()["components"]["schemas"]:
        return f'<a href="#{text}">{text}</a>'
    return f"<code>{text}</code>"
