"""The web port on aiohttp: connections are reused, and only ever opened to checked addresses."""

import asyncio
import ipaddress
import socket
import ssl
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import lru_cache

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.connector import Connection
from yarl import URL

from mainspring.adapters.http_client.addresses import NOT_PUBLIC, check_address, is_public, parse
from mainspring.ports.http_client import ANSWER_BYTES_MAX, NAME_NOT_RESOLVED, WebAnswer, WebError

CONNECTIONS_MAX = 512
CONNECTIONS_PER_HOST_MAX = 32
LOOKUPS_MAX = 16  # at once: each holds a thread until the system's resolver gives up
ADDRESSES_MAX = 64  # of one name
LOOKUP_TIMEOUT_S = 5.0
CONNECT_TIMEOUT_S = 5.0
KEPT_ALIVE_S = 4.0  # shorter than common servers keep theirs, so a POST seldom meets a closed one
LOOKUP_CACHED_S = 10
ADDRESSES_CACHED_MAX = 1_000

URLS_REMEMBERED_MAX = 4_096

LookUp = Callable[[str], Awaitable[Sequence[str]]]


async def look_up(host: str) -> Sequence[str]:
    """Ask the system's resolver for every address of a name. Raises OSError."""
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    return [str(sockaddr[0]) for *_, sockaddr in found]


class CheckedResolver(AbstractResolver):
    """Resolves a name once per connection and lets it through when all its addresses may be."""

    def __init__(self, look_up: LookUp, *, allow_private: bool) -> None:
        self._look_up = look_up
        self._allow_private = allow_private
        self._running = asyncio.Semaphore(LOOKUPS_MAX)

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """Raises WebError when there is no address, or when one of them is refused.

        Both are one answer: whoever chose the name is not told which names there are inside.
        """
        try:
            async with asyncio.timeout(LOOKUP_TIMEOUT_S), self._running:
                found = await self._look_up(host)
            addresses = [_address(text) for text in list(dict.fromkeys(found))[:ADDRESSES_MAX]]
            for address in addresses:
                check_address(address, allow_private=self._allow_private)
            if not addresses:
                raise OSError("no address")
        except (OSError, UnicodeError, WebError) as error:  # a TimeoutError is an OSError
            said = f"{host} leads to no address that may be reached"
            raise WebError(NAME_NOT_RESOLVED, said) from error
        results = []
        for address in addresses:
            kind = socket.AF_INET if address.version == 4 else socket.AF_INET6
            results.append(
                ResolveResult(
                    hostname=host, host=str(address), port=port, family=kind, proto=0,
                    flags=socket.AI_NUMERICHOST,
                )
            )  # fmt: skip
        return results

    async def close(self) -> None:
        """Nothing to let go of."""


class AiohttpWeb:
    """Asks from one event loop. ``look_up`` and ``tls`` are there for tests to replace."""

    __slots__ = ("_allow_private", "_look_up", "_session", "_tls")

    def __init__(
        self,
        *,
        allow_private: bool = False,
        look_up: LookUp = look_up,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._allow_private = allow_private
        self._look_up = look_up
        self._tls = tls
        self._session: aiohttp.ClientSession | None = None

    async def open(self) -> None:
        """Make the session and its pool of connections."""
        connector = aiohttp.TCPConnector(
            resolver=CheckedResolver(self._look_up, allow_private=self._allow_private),
            socket_factory=self._checked_socket,
            ssl=self._tls or True,
            limit=CONNECTIONS_MAX,
            limit_per_host=CONNECTIONS_PER_HOST_MAX,
            keepalive_timeout=KEPT_ALIVE_S,
            ttl_dns_cache=LOOKUP_CACHED_S,
            dns_cache_max_size=ADDRESSES_CACHED_MAX,
        )
        self._session = aiohttp.ClientSession(
            connector=connector,
            response_class=_Response,
            cookie_jar=aiohttp.DummyCookieJar(),
            trust_env=False,
            auto_decompress=False,
            raise_for_status=False,
            requote_redirect_url=False,
            skip_auto_headers=("User-Agent", "Content-Type"),
        )

    async def close(self) -> None:
        """Close every connection."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    def check(self, url: str) -> str:
        """Normalise a URL. Raises WebError when it could never be requested."""
        return parse(url, allow_private=self._allow_private).url

    async def post(
        self, url: str, body: bytes, headers: Mapping[str, str], *, timeout_s: float
    ) -> WebAnswer:
        """POST once and read a bounded answer. Raises WebError."""
        return await self._request("POST", url, body, headers, timeout_s)

    async def get(self, url: str, headers: Mapping[str, str], *, timeout_s: float) -> WebAnswer:
        """GET once and read a bounded answer. Raises WebError."""
        return await self._request("GET", url, None, headers, timeout_s)

    async def _request(
        self,
        method: str,
        url: str,
        body: bytes | None,
        headers: Mapping[str, str],
        timeout_s: float,
    ) -> WebAnswer:
        assert self._session is not None, "open() comes first"
        checked = _checked(url, self._allow_private)
        timeout = aiohttp.ClientTimeout(
            total=timeout_s, sock_connect=min(CONNECT_TIMEOUT_S, timeout_s), ceil_threshold=60
        )
        try:
            async with self._session.request(
                method, checked, data=body, timeout=timeout, allow_redirects=False,
                headers={**headers, "Accept-Encoding": "identity"},
            ) as response:  # fmt: skip
                assert isinstance(response, _Response)  # the session's
                kept = await _read_bounded(response)
        except WebError:
            raise
        # What the network said names addresses and ports; it stays in the cause, for our own log.
        except aiohttp.ServerTimeoutError as error:
            raise WebError("timed_out", "no connection in time") from error
        except TimeoutError as error:
            raise WebError("timed_out", f"no answer within {timeout_s:g} s") from error
        except (aiohttp.ClientSSLError, ssl.SSLError) as error:
            raise WebError("tls_failed", _about_tls(error)) from error
        except aiohttp.ClientConnectorError as error:
            raise WebError("connect_failed", "no connection could be made") from error
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise WebError("connection_lost", "the connection ended before the answer") from error
        answered = {name.lower(): value for name, value in response.headers.items()}
        return WebAnswer(response.status, answered, kept, public=response.public)

    def _checked_socket(self, info: tuple[int, int, int, str, tuple[object, ...]]) -> socket.socket:
        """Look at the address once more where the connection is made, whatever led here."""
        family, kind, proto, _, sockaddr = info
        check_address(_address(str(sockaddr[0])), allow_private=self._allow_private)
        return socket.socket(family, kind, proto)


class _Response(aiohttp.ClientResponse):
    """Remembers whether the peer that answered is one anyone could reach."""

    public = False

    async def start(self, connection: Connection) -> aiohttp.ClientResponse:
        peer = connection.transport.get_extra_info("peername") if connection.transport else None
        self.public = peer is not None and is_public(_address(str(peer[0])))
        return await super().start(connection)


def _about_tls(error: Exception) -> str:
    """What is wrong with a certificate, which is public; of anything else only that it failed."""
    cause = getattr(error, "certificate_error", error)
    if isinstance(cause, ssl.SSLCertVerificationError):
        return f"the certificate is refused: {cause.verify_message}"
    return "no TLS connection could be made"


@lru_cache(maxsize=URLS_REMEMBERED_MAX)
def _checked(url: str, allow_private: bool) -> URL:
    """Check a URL's text, once for many requests: where its name leads is checked each time."""
    return URL(parse(url, allow_private=allow_private).url, encoded=True)


def _address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    """Read an address. Raises WebError for one with a zone: it belongs to a link of ours."""
    try:
        return ipaddress.ip_address(text if "%" not in text else "")
    except ValueError:
        raise WebError("address_refused", NOT_PUBLIC) from None


async def _read_bounded(response: aiohttp.ClientResponse) -> bytes:
    """Read up to the bound; a longer answer costs its connection, not our memory."""
    kept = bytearray()
    while len(kept) < ANSWER_BYTES_MAX:
        chunk = await response.content.read(ANSWER_BYTES_MAX - len(kept))
        if not chunk:
            return bytes(kept)
        kept += chunk
    response.close()
    return bytes(kept)
