"""Log lines: JSON for machines, text on a terminal, with the ids of the call and never a secret."""

import logging
import re
import sys
from collections.abc import MutableMapping
from typing import Any, TextIO

import msgspec
import structlog
from structlog.stdlib import ProcessorFormatter
from structlog.typing import Processor

from mainspring.kernel.settings import masked_urls
from mainspring.runtime.tracing import call_labels
from mainspring.settings import LogSettings

HIDDEN = "********"
TEXT_CHARS_MAX = 16_384  # of one value; the rest is cut off
DEPTH_MAX = 6  # of nested values; deeper ones are not shown

Entry = MutableMapping[str, Any]

_SECRET_NAME = re.compile(
    r"(?:^|[_-])(?:authorization|password|passwd|passphrase|secret|token|cookie|credential|jwt)s?"
    r"(?:$|[_-])|(?:^|[_-])keys?$",
    re.IGNORECASE,
)
_SECRET_SHAPE = re.compile(
    r"(?P<prefix>\bmsk_|\bmsr_|\bwhsec_|\b(?:Bearer|Basic)\s+)[\w+/=.~-]{6,}"
    r"|\beyJ[\w-]{5,}\.[\w-]+\.[\w-]*"
)


def set_up(settings: LogSettings, stream: TextIO | None = None) -> None:
    """Route structlog and the standard library's loggers to one stream (standard error)."""
    stream = stream or sys.stderr
    as_text = settings.format == "text" or (settings.format == "auto" and stream.isatty())
    level = getattr(logging, settings.level.upper())
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        add_call,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="time"),
        structlog.processors.format_exc_info,
    ]
    last: list[Processor] = [redact]
    if as_text:
        last.append(
            structlog.dev.ConsoleRenderer(
                colors=stream.isatty(),
                timestamp_key="time",
                pad_event_to=0,
                exception_formatter=structlog.dev.plain_traceback,
            )
        )
    else:
        last += [
            structlog.processors.EventRenamer("message"),
            structlog.processors.JSONRenderer(serializer=_json),
        ]
    structlog.configure(
        processors=[*shared, *last],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.WriteLoggerFactory(stream),
        cache_logger_on_first_use=True,
    )
    _route_standard_library(stream, level, shared, last)


def _route_standard_library(
    stream: TextIO, level: int, shared: list[Processor], last: list[Processor]
) -> None:
    handler = logging.StreamHandler(stream)
    handler.setFormatter(
        ProcessorFormatter(
            foreign_pre_chain=[*shared, structlog.stdlib.ExtraAdder(), add_logger],
            processors=[ProcessorFormatter.remove_processors_meta, *last],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(max(level, logging.INFO))
    for name in list(logging.root.manager.loggerDict):
        logger = logging.getLogger(name)
        logger.handlers.clear()
        logger.propagate = True
    # What these say of an ordinary day the platform says itself.
    for name in ("uvicorn", "uvicorn.access", "uvicorn.error", "asyncio"):
        logging.getLogger(name).setLevel(max(level, logging.WARNING))


def add_call(_: Any, __: str, entry: Entry) -> Entry:
    """Add the ids of the call this task works on, unless the line names its own."""
    for name, value in call_labels().items():
        entry.setdefault(name, value)
    return entry


def add_logger(_: Any, __: str, entry: Entry) -> Entry:
    """Name the logger of a line that came through the standard library."""
    record: logging.LogRecord | None = entry.get("_record")
    if record is not None:
        entry["logger"] = record.name
    return entry


def redact(_: Any, __: str, entry: Entry) -> Entry:
    """Hide values whose name or whose shape says secret, however deep they are."""
    for name, value in entry.items():
        if type(value) is str and name in ("time", "level"):
            continue
        entry[name] = _hidden(name, value, 0)
    return entry


def _hidden(name: object, value: Any, depth: int) -> Any:
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(name, str) and _SECRET_NAME.search(name):
        return HIDDEN
    if isinstance(value, str):
        return scrub(value)
    if depth >= DEPTH_MAX:
        return "..."
    if isinstance(value, dict):
        return {scrub(str(k)): _hidden(k, inner, depth + 1) for k, inner in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        if len(value) == 2 and isinstance(first := next(iter(value)), str | bytes):
            # A header as a pair: its name decides what may be shown of the value.
            label = first.decode("latin-1") if isinstance(first, bytes) else first
            if _SECRET_NAME.search(label):
                return [label, HIDDEN]
        return [_hidden(None, inner, depth + 1) for inner in value]
    if isinstance(value, bytes | bytearray | memoryview):
        return scrub(bytes(value).decode("utf-8", "replace"))
    return scrub(str(value))


def scrub(text: str) -> str:
    """Hide what is shaped like a key of ours, a token or a password inside a text."""
    if len(text) > TEXT_CHARS_MAX:
        text = text[:TEXT_CHARS_MAX] + "..."
    text = masked_urls(text) if "://" in text else text
    return _SECRET_SHAPE.sub(lambda match: (match["prefix"] or "") + HIDDEN, text)


def _json(entry: Any, **_: Any) -> str:
    return msgspec.json.encode(entry, enc_hook=str).decode()
