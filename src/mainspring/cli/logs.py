"""Log lines: JSON for machines, text on a terminal, with the ids of the call and never a secret.

To log never raises and never waits: a value that cannot be shown is said to be so, and a line that
cannot be written is counted.
"""

import logging
import re
import sys
from collections.abc import Callable, MutableMapping
from functools import wraps
from itertools import islice
from typing import Any, TextIO

import msgspec
import structlog
from structlog.stdlib import ProcessorFormatter
from structlog.typing import Processor

from mainspring.cli.log_writer import LogWriter
from mainspring.kernel.current_call import call_labels
from mainspring.kernel.masking import masked_urls
from mainspring.settings import LogSettings

HIDDEN = "********"
TEXT_CHARS_MAX = 16_384  # of one value; the rest is cut off
DEPTH_MAX = 6  # of nested values; deeper ones are not shown
ITEMS_MAX = 256  # of one list or mapping; the others are not shown
INTEGER_MAX = 2**63  # larger ones are not shown: their text may be as long as memory is

Entry = MutableMapping[str, Any]
Put = Callable[[str], None]

_LEVELS = ("debug", "info", "warning", "warn", "error", "err", "critical", "fatal", "exception",
           "msg", "log")  # fmt: skip

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
    writer = _writer(stream)
    put = writer.put
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
        wrapper_class=_unfailing(structlog.make_filtering_bound_logger(level), put),
        logger_factory=lambda *_: _Lines(put),
        cache_logger_on_first_use=True,
    )
    _route_standard_library(writer, level, shared, last)


class _Lines:
    """What structlog hands a finished line to."""

    __slots__ = ("_put",)

    def __init__(self, put: Put) -> None:
        self._put = put

    def msg(self, line: str) -> None:
        """Write a line."""
        self._put(line)

    debug = info = warning = error = exception = log = msg
    warn = err = critical = fatal = msg  # used by structlog


class _Memory:
    """Writes lines to a stream that is no file."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def put(self, line: str) -> None:
        """Write a line."""
        self._stream.write(line + "\n")

    def flush(self) -> bool:
        """Nothing waits here."""
        return True


def _writer(stream: TextIO) -> LogWriter | _Memory:
    """How lines reach a stream: by a thread where it is a file, at once where it is memory."""
    try:
        return LogWriter(stream.fileno(), _lost_lines)
    except (OSError, ValueError, AttributeError):
        return _Memory(stream)


def _lost_lines(count: int) -> bytes:
    return msgspec.json.encode(
        {"message": "log_lines_dropped", "level": "warning", "lines": count}
    ) + b"\n"  # fmt: skip


def _unfailing(logger: Any, put: Put) -> Any:
    """A bound logger none of whose methods raises: a line that cannot be made says why."""

    def guarded(method: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(method)
        def write(self: Any, *args: Any, **kwargs: Any) -> Any:
            try:
                return method(self, *args, **kwargs)
            except BaseException as error:  # noqa: BLE001 - a value's own code; said in the log
                put(_unmade(args[0] if args else "", error))
                return None

        return write

    methods = {name: guarded(getattr(logger, name)) for name in _LEVELS if hasattr(logger, name)}
    return type("UnfailingLogger", (logger,), methods)


def _unmade(message: object, error: BaseException) -> str:
    """The line that stands for one that could not be made."""
    shown = scrub(message) if type(message) is str else ""
    entry = {"message": shown, "level": "error", "log_fault": type(error).__name__}
    return msgspec.json.encode(entry).decode()


class _StandardHandler(logging.Handler):
    """Takes the standard library's lines the same way."""

    def __init__(self, writer: LogWriter | _Memory) -> None:
        super().__init__()
        self._writer = writer

    def emit(self, record: logging.LogRecord) -> None:
        """Write a record; one that cannot be made says why."""
        try:
            line = self.format(record)
        except BaseException as error:  # noqa: BLE001 - a value's own code; said in the log
            line = _unmade(record.msg, error)
        self._writer.put(line)

    def flush(self) -> None:
        """Wait for the lines that are not written yet; ``logging.shutdown`` asks for it."""
        self._writer.flush()


def _route_standard_library(
    writer: LogWriter | _Memory, level: int, shared: list[Processor], last: list[Processor]
) -> None:
    handler = _StandardHandler(writer)
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
        logger.propagate = True  # used by logging
    # What it says of an ordinary day the platform says itself.
    logging.getLogger("asyncio").setLevel(max(level, logging.WARNING))


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
    if value is None or isinstance(value, bool | float):
        return value
    if isinstance(value, int):
        return value if -INTEGER_MAX < value < INTEGER_MAX else "(a very large number)"
    if isinstance(name, str) and _SECRET_NAME.search(name):
        return HIDDEN
    if isinstance(value, str):
        return scrub(value)
    if depth >= DEPTH_MAX:
        return "..."
    if isinstance(value, dict):
        some = islice(value.items(), ITEMS_MAX)
        return {_text(k): _hidden(k, inner, depth + 1) for k, inner in some}
    if isinstance(value, list | tuple | set | frozenset):
        if len(value) == 2 and isinstance(first := next(iter(value)), str | bytes):
            # A header as a pair: its name decides what may be shown of the value.
            label = first.decode("latin-1") if isinstance(first, bytes) else first
            if _SECRET_NAME.search(label):
                return [label, HIDDEN]
        return [_hidden(None, inner, depth + 1) for inner in islice(value, ITEMS_MAX)]
    if isinstance(value, bytes | bytearray | memoryview):
        return scrub(bytes(value[:TEXT_CHARS_MAX]).decode("utf-8", "replace"))
    return _text(value)


def _text(value: object) -> str:
    """Say what a value says of itself, or that it cannot."""
    try:
        return scrub(str(value))
    except BaseException as error:  # noqa: BLE001 - the value's own code, and said
        return f"({type(value).__name__} that cannot be shown: {type(error).__name__})"


def scrub(text: str) -> str:
    """Hide what is shaped like a key of ours, a token or a password inside a text."""
    if len(text) > TEXT_CHARS_MAX:
        text = text[:TEXT_CHARS_MAX] + "..."
    if not text.isascii():  # a lone surrogate is no text that can be written
        text = text.encode("utf-8", "backslashreplace").decode()
    text = masked_urls(text) if "://" in text else text
    return _SECRET_SHAPE.sub(lambda match: (match["prefix"] or "") + HIDDEN, text)


def _json(entry: Any, **_: Any) -> str:
    return msgspec.json.encode(entry, enc_hook=str).decode()
