"""From a request with images anywhere to one that holds them all."""

from __future__ import annotations

import asyncio

from yarl import URL

from diglot.v1.chat_pb2 import CreateChatCompletionRequest
from diglot.v1.message_pb2 import ImagePart

from ..config import MediaSettings
from ..errors import InvalidRequest, InvalidValue, UnsupportedValue
from .allowance import Allowance
from .data_url import SCHEME, Payload, data_url
from .image import look_at
from .web import Web, checked

AT_ONCE = 4
"""Images that are fetched or looked at together, of one request."""


def has_images(request: CreateChatCompletionRequest) -> bool:
    return any(part.HasField("image_url") for each in request.messages for part in each.parts)


async def inline_images(
    request: CreateChatCompletionRequest, settings: MediaSettings, web: Web
) -> CreateChatCompletionRequest:
    """A copy in which each image is a data: URL, and holds what was looked at and nothing else.

    Raises InvalidRequest, with the image's place. What can be refused without looking is
    refused before anything is fetched.
    """
    copy = CreateChatCompletionRequest()
    copy.CopyFrom(request)
    images = {
        f"messages[{index}].parts[{place}].image_url.url": part.image_url
        for index, message in enumerate(copy.messages)
        for place, part in enumerate(message.parts)
        if part.HasField("image_url")
    }
    if len(images) > settings.max_images:
        raise InvalidValue(
            f"Invalid images: expected at most {settings.max_images} in a request, "
            f"but got {len(images)}.",
            field="messages",
        )
    inlining = _Inlining(settings, web)
    sources = {field: inlining.source(field, image.url) for field, image in images.items()}
    try:
        async with asyncio.TaskGroup() as group:
            for field, image in images.items():
                group.create_task(inlining.inline(field, sources[field], image))
    except ExceptionGroup as failures:
        raise failures.exceptions[0] from None
    return copy


class _Inlining:
    """The work on one request."""

    def __init__(self, settings: MediaSettings, web: Web) -> None:
        self._settings = settings
        self._web = web
        self._allowance = Allowance(settings)
        self._turn = asyncio.Semaphore(AT_ONCE)

    def source(self, field: str, url: str) -> Payload | URL:
        """Where the image is to come from."""
        try:
            if url[: len(SCHEME)].lower() == SCHEME:
                payload = Payload(url)
                self._allowance.take_bytes(len(payload))
                return payload
            where = checked(url)
        except InvalidRequest as error:
            error.field = field
            raise
        if not self._settings.fetch_images:
            raise UnsupportedValue(
                "This server does not fetch images. Send the image itself in a data: URL "
                "('data:image/png;base64,…'), or ask its operator to set media.fetch_images.",
                field=field,
            )
        return where

    async def inline(self, field: str, source: Payload | URL, image: ImagePart) -> None:
        try:
            async with self._turn:
                if isinstance(source, Payload):
                    data = await asyncio.to_thread(source.decode)
                else:
                    seconds = self._settings.timeout_seconds
                    data = await self._web.fetch(source, self._allowance, seconds)
                found = look_at(data)
                self._allowance.take_pixels(found.pixels)
                await asyncio.to_thread(found.check)
                image.url = await asyncio.to_thread(data_url, found.kind.media_type, data)
        except InvalidRequest as error:
            error.field = field
            raise
