"""Which revision a request speaks, and whether its headers say what its body says.

``2026-07-28`` has no sessions: each request says in ``_meta`` which revision it is of, and headers
repeat what proxies go by. Those before begin with ``initialize``; that they may have a session does
not oblige a server to make one, so here none is made and none is looked at.
"""

import base64
import binascii
from typing import Any

from mainspring.interfaces.http.exchange import Exchange
from mainspring.interfaces.mcp.messages import (
    HEADER_MISMATCH,
    INVALID_PARAMS,
    UNSUPPORTED_VERSION,
    Params,
    Refusal,
    RpcMessage,
)

MODERN = "2026-07-28"
LEGACY = ("2025-11-25", "2025-06-18")  # the newest first
SUPPORTED = (MODERN, *LEGACY)
VERSION_KEY = "io.modelcontextprotocol/protocolVersion"
CAPABILITIES_KEY = "io.modelcontextprotocol/clientCapabilities"
SERVER_KEY = "io.modelcontextprotocol/serverInfo"

_NAMED = {"tools/call": "name", "prompts/get": "name", "resources/read": "uri"}
_BASE64, _END = "=?base64?", "?="


def seems_modern(exchange: Exchange) -> bool:
    """Tell by its header alone how a request is refused that cannot be read."""
    return exchange.text(b"mcp-protocol-version") not in {None, *LEGACY}


def is_modern(exchange: Exchange, message: RpcMessage, params: Params) -> bool:
    """Tell which kind a request is of, once its headers hold. Raises Refusal."""
    said = exchange.text(b"mcp-protocol-version")
    meta = params.meta or {}
    if VERSION_KEY not in meta and (said is None or said in LEGACY):
        return False
    if said is not None and said not in SUPPORTED and meta.get(VERSION_KEY, said) == said:
        raise _unsupported(said)
    if message.id is None:  # what a notification has to say of itself is not defined
        return True
    if missing := [key for key in (VERSION_KEY, CAPABILITIES_KEY) if key not in meta]:
        raise Refusal(INVALID_PARAMS, f"params._meta lacks {', '.join(missing)}")
    version = meta[VERSION_KEY]
    _require_same("MCP-Protocol-Version", said, version)
    _require_same("Mcp-Method", exchange.text(b"mcp-method"), message.method)
    if (field := _NAMED.get(message.method)) is not None:
        named = getattr(params, field)
        if named is not None:
            _require_same("Mcp-Name", _decoded(exchange.text(b"mcp-name")), named)
    if version != MODERN:
        raise _unsupported(version)
    return True


def negotiated(wanted: Any) -> str:
    """The revision that ``initialize`` agrees on: the one that is asked for, or the newest."""
    return wanted if wanted in LEGACY else LEGACY[0]


def _require_same(header: str, said: str | None, body: Any) -> None:
    if said != body:
        raise Refusal(HEADER_MISMATCH, f"{header} must be sent, and say what the body says")


def _unsupported(version: str) -> Refusal:
    data = {"supported": list(SUPPORTED), "requested": version}
    return Refusal(UNSUPPORTED_VERSION, "this revision is not spoken here", data)


def _decoded(value: str | None) -> str | None:
    """Read a name that may be base64, as names have to be that no header could hold."""
    if value is None or not (value.startswith(_BASE64) and value.endswith(_END)):
        return value
    try:
        return base64.b64decode(value[len(_BASE64) : -len(_END)], validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):
        return None
