"""AWS KMS, and what speaks its protocol: data keys are wrapped by a key that never leaves it.

``aws-kms:KEY?region=REGION``, where KEY is an id, ``alias/NAME`` or an ARN, which says its region
itself; behind ``&endpoint=`` the URL of another server than AWS's. Credentials are those that AWS's
own clients find: the environment, profiles, a role of the container or the machine. They are found
and requests are signed (Signature Version 4) by AWS's ``awscrt``.

https://docs.aws.amazon.com/kms/latest/APIReference/
"""

import asyncio
import base64
import binascii
import io
from collections.abc import Mapping
from ipaddress import ip_address
from typing import Annotated, Any
from urllib.parse import parse_qsl, urlsplit

import aiohttp
import msgspec
from awscrt.auth import AwsCredentialsProvider, AwsSigningConfig, aws_sign_request
from awscrt.exceptions import AwsCrtError
from awscrt.http import HttpHeaders, HttpRequest

from mainspring.adapters.outage import Outage
from mainspring.kernel.errors import Unavailable
from mainspring.ports.database import StartError
from mainspring.ports.kms import Wrapped, WrappingKey
from mainspring.ports.opening import SYSTEM_SOURCES, Sources

SCHEME = "aws-kms"
CONNECT_S, TIMEOUT_S = 2.0, 4.0  # of one attempt
ATTEMPTS_MAX = 2
PAUSE_S = 0.1  # before the second
ANSWER_BYTES_MAX = 64 * 1024
CREDENTIALS_S = 5.0  # that looking for them may take
_OPTIONS = ("region", "endpoint")
_SERVICE = "kms"
_TARGET = "TrentService"  # what the protocol calls it
_NOT_OURS = ("InvalidCiphertextException", "IncorrectKeyException")
_REFUSED_FOR_GOOD = ("NotFoundException", "ValidationException", "InvalidArnException")
_ENCRYPTS = "ENCRYPT_DECRYPT"
_ENABLED = "Enabled"


class _Metadata(msgspec.Struct, frozen=True, rename="pascal"):
    arn: str
    key_state: str = _ENABLED
    key_usage: str = _ENCRYPTS


class _Described(msgspec.Struct, frozen=True, rename="pascal"):
    key_metadata: _Metadata


class _Encrypted(msgspec.Struct, frozen=True, rename="pascal"):
    ciphertext_blob: str
    key_id: str


class _Decrypted(msgspec.Struct, frozen=True, rename="pascal"):
    plaintext: str


class _Refusal(msgspec.Struct, frozen=True):
    """What the protocol answers instead; ``kind`` may have a name space before a ``#``."""

    kind: Annotated[str, msgspec.Meta(max_length=200)] = msgspec.field(name="__type", default="")

    @property
    def name(self) -> str:
        return self.kind.rpartition("#")[2]


class _Refused(Exception):
    """The service says no: ``name`` is one of its exceptions."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.name = name


def open(url: str, sources: Sources = SYSTEM_SOURCES) -> "AwsKms":
    """Wrap with ``aws-kms:KEY?region=REGION``. Raises StartError."""
    where, _, query = url.partition("?")
    key = where.partition(":")[2].removeprefix("//")
    if not key:
        raise StartError(f"{SCHEME}: which key? Write {SCHEME}:alias/NAME?region=REGION")
    options = dict(parse_qsl(query, keep_blank_values=True))
    if unknown := sorted(options.keys() - set(_OPTIONS)):
        raise StartError(f"{SCHEME}: {unknown[0]!r} is unknown: there are region and endpoint")
    region = options.get("region") or _region_of(key)
    if not region:
        raise StartError(f"{SCHEME}: which region? Write {SCHEME}:{key}?region=eu-central-1, say")
    return AwsKms(key, region, _checked(options.get("endpoint", "")))


class AwsKms:
    """Fills the KMS port. What an ARN of another region wrapped is unwrapped there."""

    scheme = SCHEME

    def __init__(self, key: str, region: str, endpoint: str = "") -> None:
        self._key = key
        self._region = region
        self._endpoint = endpoint
        self._outage = Outage("kms")
        self._away = ""
        self._session: aiohttp.ClientSession | None = None
        self._credentials: Any = None

    async def open(self) -> None:
        """Look at the key. Raises StartError where there is none, or it does not encrypt."""
        self._credentials = AwsCredentialsProvider.new_default_chain()
        self._session = aiohttp.ClientSession(
            timeout=aiohttp.ClientTimeout(total=TIMEOUT_S, connect=CONNECT_S)
        )
        try:
            found = await self._described()
        except (_Refused, Unavailable) as error:
            if isinstance(error, _Refused) and error.name in _REFUSED_FOR_GOOD:
                await self.close()
                raise StartError(
                    f"[keyring] kms: there is no key {self._key!r} in {self._region}: {error.name}"
                ) from None
            return
        if found.key_usage != _ENCRYPTS:
            await self.close()
            raise StartError(
                f"[keyring] kms: the key {self._key!r} is for {found.key_usage}, and data keys "
                f"are wrapped by one for {_ENCRYPTS}"
            )

    async def close(self) -> None:
        """Let go of the connections."""
        self._credentials = None
        if self._session is not None:
            await self._session.close()
            self._session = None

    def away(self) -> str:
        """Say why it could not be asked a moment ago."""
        return self._away

    async def wrap(self, key: bytes, context: Mapping[str, str]) -> Wrapped:
        """Encrypt a key. Raises Unavailable."""
        asked = {"KeyId": self._key, "Plaintext": _text(key), "EncryptionContext": dict(context)}
        try:
            made = await self._ask("Encrypt", asked, _Encrypted)
        except _Refused as refused:
            raise self._unavailable(refused.name) from None
        return Wrapped(_bytes(made.ciphertext_blob), f"{SCHEME}:{made.key_id}")

    async def unwrap(self, wrapped: Wrapped, context: Mapping[str, str]) -> bytes:
        """Decrypt a key with the one that wrapped it. Raises ValueError, Unavailable."""
        arn = wrapped.by.partition(":")[2]
        asked = {
            "KeyId": arn,
            "CiphertextBlob": _text(wrapped.text),
            "EncryptionContext": dict(context),
        }
        try:
            made = await self._ask("Decrypt", asked, _Decrypted, region=_region_of(arn))
        except _Refused as refused:
            if refused.name in _NOT_OURS:
                raise ValueError(f"{arn} did not wrap this, or not for this") from None
            raise self._unavailable(refused.name) from None
        return _bytes(made.plaintext)

    async def describe(self) -> WrappingKey:
        """Tell which key an alias stands for, and whether it is enabled. Raises Unavailable."""
        try:
            found = await self._described()
        except _Refused as refused:
            raise self._unavailable(refused.name) from None
        state = found.key_state
        why = "" if state == _ENABLED else f"the key is in the state {state}"
        return WrappingKey(f"{SCHEME}:{found.arn}", why)

    async def _described(self) -> _Metadata:
        found: _Described = await self._ask("DescribeKey", {"KeyId": self._key}, _Described)
        return found.key_metadata

    async def _ask(
        self, what: str, asked: Mapping[str, Any], kind: type[Any], *, region: str = ""
    ) -> Any:
        """Ask, once more where that may help. Raises _Refused, and Unavailable."""
        body, why = msgspec.json.encode(asked), ""
        for attempt in range(ATTEMPTS_MAX):
            if attempt:
                await asyncio.sleep(PAUSE_S)
            try:
                status, answer = await self._post(what, body, region or self._region)
            except TimeoutError:
                why = "it does not answer in time"
                break  # a caller waits, and one more wait is as long
            except AwsCrtError as error:
                why = f"no credentials: {error.name}"
                break
            except (OSError, aiohttp.ClientError) as error:
                why = f"not reached: {type(error).__name__}"
                continue
            if status == 200:
                try:
                    made = msgspec.json.decode(answer, type=kind)
                except msgspec.MsgspecError:
                    why = "its answer is none of a KMS"
                    break
                self._away = ""
                self._outage.worked()
                return made
            name = _refusal(answer)
            if status < 500 and "Throttling" not in name and name:
                raise _Refused(name)
            why = f"it answers {status} {name}".rstrip()
        raise self._unavailable(why)

    async def _post(self, what: str, body: bytes, region: str) -> tuple[int, bytes]:
        assert self._session is not None  # opened first
        url = self._endpoint or _endpoint_of(region)
        headers = HttpHeaders(
            [
                ("Host", urlsplit(url).netloc),
                ("Content-Type", "application/x-amz-json-1.1"),
                ("X-Amz-Target", f"{_TARGET}.{what}"),
            ]
        )
        request = HttpRequest("POST", "/", headers, io.BytesIO(body))
        signing = AwsSigningConfig(
            credentials_provider=self._credentials, region=region, service=_SERVICE
        )
        async with asyncio.timeout(CREDENTIALS_S):
            signed = await asyncio.wrap_future(aws_sign_request(request, signing))
        async with self._session.post(
            url, data=body, headers=dict(signed.headers), allow_redirects=False
        ) as answer:
            return answer.status, await answer.content.read(ANSWER_BYTES_MAX)

    def _unavailable(self, why: str) -> Unavailable:
        """Take note of why it does not help now; callers are told that it does not."""
        self._away = why
        self._outage.failed(why)
        return Unavailable("the key management service cannot be asked now", retry_after_s=1)


def _region_of(key: str) -> str:
    """Return the region that an ARN names: ``arn:aws:kms:REGION:ACCOUNT:key/ID``."""
    parts = key.split(":")
    return parts[3] if len(parts) >= 6 and parts[0] == "arn" else ""


def _endpoint_of(region: str) -> str:
    return f"https://kms.{region}.amazonaws.com{'.cn' if region.startswith('cn-') else ''}"


def _checked(endpoint: str) -> str:
    """Refuse to send keys in the clear. Raises StartError."""
    if not endpoint:
        return ""
    parts = urlsplit(endpoint)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.path.strip("/"):
        raise StartError(f"{SCHEME}: endpoint is the URL of a server, https://HOST:PORT")
    if parts.scheme == "http" and not _is_loopback(parts.hostname):
        raise StartError(f"{SCHEME}: endpoint: http:// is for this machine only, keys go there")
    return f"{parts.scheme}://{parts.netloc}"


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _refusal(answer: bytes) -> str:
    try:
        return msgspec.json.decode(answer, type=_Refusal).name
    except msgspec.MsgspecError:
        return ""


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _bytes(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error:
        raise Unavailable("the key management service answers something else") from None
