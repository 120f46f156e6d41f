"""Parts of messages as content blocks of the Messages API."""

from __future__ import annotations

import base64
import binascii
from typing import Any

from diglot.v1 import message_pb2 as m

from ..errors import InvalidValue, UnsupportedValue
from ..extra import Extended
from ..upstream.request_json import beside

Json = dict[str, Any]

_IMAGES = ("image/jpeg", "image/png", "image/gif", "image/webp")
_PDF = "application/pdf"
_PDF_START = "JVBERi0"  # %PDF-

# How long a prompt is kept, to the API's next longer time.
_CACHED = {"5m": "5m", "30m": "1h", "1h": "1h"}


def blocks_of(message: m.Message, path: str) -> list[Json]:
    """The content's blocks. Raises an InvalidRequest that names the part."""
    if message.HasField("content"):
        return [text_block(message.content)] if message.content else []
    blocks = []
    for place, part in enumerate(message.parts):
        where = f"{path}.parts[{place}]"
        block = _block(part, where)
        if block is not None:
            if part.HasField("prompt_cache_breakpoint"):
                block["cache_control"] = _cache_control(part.prompt_cache_breakpoint, where)
            blocks.append(block | vendor_keys(part, block, where))
    return blocks


def text_block(text: str) -> Json:
    return {"type": "text", "text": text}


def vendor_keys(extended: Extended, body: Json, where: str) -> Json:
    """Keys of the API's own: cache_control, citations …"""
    extra = beside(extended)
    for key in extra:
        if key in body:
            raise InvalidValue(
                f"'{key}' in '{where}.extra_json' contradicts what the request says elsewhere.",
                field=f"{where}.extra_json.{key}",
            )
    return extra


def _block(part: m.ContentPart, where: str) -> Json | None:
    match part.WhichOneof("part"):
        case "text":
            return text_block(part.text.text) if part.text.text else None
        case "refusal":
            return text_block(part.refusal.refusal) if part.refusal.refusal else None
        case "image_url":
            return {"type": "image", "source": _image(part.image_url.url, f"{where}.image_url.url")}
        case "file":
            return _document(part.file, f"{where}.file")
    raise UnsupportedValue("This model does not take such parts.", field=where)


def _image(url: str, field: str) -> Json:
    if url[:5].lower() != "data:":
        return {"type": "url", "url": url}
    media_type, data = _data_url(url, field)
    if media_type not in _IMAGES:
        raise UnsupportedValue(
            f"This model takes images of the types {', '.join(_IMAGES)}.", field=field
        )
    return {"type": "base64", "media_type": media_type, "data": data}


def _document(file: m.FilePart, where: str) -> Json:
    if file.HasField("file_id"):
        raise UnsupportedValue(
            "This model takes files only within the request: set 'file_data'.",
            field=f"{where}.file_id",
        )
    field = f"{where}.file_data"
    data = file.file_data
    if data[:5].lower() == "data:":
        media_type, data = _data_url(data, field)
    else:
        media_type = _PDF if data.startswith(_PDF_START) else ""
    if media_type == _PDF:
        source = {"type": "base64", "media_type": _PDF, "data": data}
    elif media_type == "text/plain":
        source = {"type": "text", "media_type": media_type, "data": _text(data, field)}
    else:
        raise UnsupportedValue("This model takes files of PDF and of plain text.", field=field)
    block: Json = {"type": "document", "source": source}
    if file.filename:
        block["title"] = file.filename
    return block


def _data_url(url: str, field: str) -> tuple[str, str]:
    """The media type, and the content, still in base64."""
    head, comma, data = url.partition(",")
    media_type, *parameters = head[5:].lower().split(";")
    if not comma or parameters[-1:] != ["base64"]:
        raise InvalidValue(
            f"Invalid '{field}': expected a data: URL like 'data:image/png;base64,…'.",
            field=field,
        )
    return media_type, data


def _text(data: str, field: str) -> str:
    try:
        return base64.b64decode(data, validate=True).decode()
    except (binascii.Error, ValueError):
        raise InvalidValue(f"Invalid '{field}': expected text in base64.", field=field) from None


def _cache_control(mark: m.PromptCacheBreakpoint, where: str) -> Json:
    if not mark.HasField("ttl"):
        return {"type": "ephemeral"}
    if mark.ttl not in _CACHED:
        raise UnsupportedValue(
            f"This model's prompts are cached for at most an hour: {', '.join(_CACHED)}.",
            field=f"{where}.prompt_cache_breakpoint.ttl",
        )
    return {"type": "ephemeral", "ttl": _CACHED[mark.ttl]}
