"""The web port, loaded by its first request: aiohttp takes a fifth of the time a start may take."""

import asyncio
from collections.abc import Mapping
from importlib import import_module
from typing import TYPE_CHECKING

from mainspring.adapters.http_client.addresses import parse
from mainspring.ports.database import StartError
from mainspring.ports.http_client import WebAnswer
from mainspring.ports.opening import SYSTEM_SOURCES, Sources

if TYPE_CHECKING:
    from mainspring.adapters.http_client.aiohttp import AiohttpWeb

_ADAPTER = "mainspring.adapters.http_client.aiohttp"


def open(url: str, sources: Sources = SYSTEM_SOURCES) -> "LazyHttpClient":
    """Connect to whoever is asked for: ``direct:``, or ``direct:private`` to private addresses too.

    Raises StartError.
    """
    _, _, reach = url.partition(":")
    if reach not in {"", "private"}:
        raise StartError(f"{url!r}: write direct:, or direct:private to reach private addresses")
    return LazyHttpClient(allow_private=reach == "private")


class LazyHttpClient:
    """``AiohttpWeb``, made when it is needed."""

    __slots__ = ("_allow_private", "_loading", "_web")

    def __init__(self, *, allow_private: bool = False) -> None:
        self._allow_private = allow_private
        self._loading = asyncio.Lock()
        self._web: AiohttpWeb | None = None

    async def open(self) -> None:
        """Nothing yet."""

    async def close(self) -> None:
        """Close every connection, if there ever was one."""
        async with self._loading:
            if self._web is not None:
                await self._web.close()
                self._web = None

    def check(self, url: str) -> str:
        """Normalise a URL. Raises WebError when it could never be requested."""
        return parse(url, allow_private=self._allow_private).url

    async def post(
        self, url: str, body: bytes, headers: Mapping[str, str], *, timeout_s: float
    ) -> WebAnswer:
        """POST once and read a bounded answer. Raises WebError."""
        web = self._web or await self._load()
        return await web.post(url, body, headers, timeout_s=timeout_s)

    async def get(self, url: str, headers: Mapping[str, str], *, timeout_s: float) -> WebAnswer:
        """GET once and read a bounded answer. Raises WebError."""
        web = self._web or await self._load()
        return await web.get(url, headers, timeout_s=timeout_s)

    async def _load(self) -> "AiohttpWeb":
        async with self._loading:
            if self._web is None:
                # In a thread, so that whatever else the loop does goes on meanwhile.
                module = await asyncio.to_thread(import_module, _ADAPTER)
                web: AiohttpWeb = module.AiohttpWeb(allow_private=self._allow_private)
                await web.open()
                self._web = web
            return self._web
