"""How a connection is closed: with a FIN, and never with a reset that takes an answer along."""

import asyncio
from typing import Any

LINGER_S = 5.0  # how long a peer that was told the end may still send
LINGER_BYTES_MAX = 8 << 20
UNREAD_S = 60.0  # how long a closing connection may take nothing of its last answer


class Lingering(asyncio.Transport):
    """A transport whose ``close`` loses nothing.

    It sends what is left and a FIN, then takes and drops what still comes, until the peer closes
    too or ``LINGER_S`` have passed. Closed at once, what was on its way would be answered by a
    reset, and that destroys what the peer has not read yet (RFC 9112, section 9.6).

    Over TLS the transport below says the end itself, and waits for the peer's.
    """

    def __init__(self, inner: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__()
        self._inner = inner
        self._loop = loop
        self._linger_s = LINGER_S
        self._dropped_bytes = 0
        self._timer: asyncio.TimerHandle | None = None
        self.secure = inner.get_extra_info("ssl_object") is not None
        # As long as it is open nothing is in between.
        self.write = inner.write  # type: ignore[method-assign]
        self.is_closing = inner.is_closing  # type: ignore[method-assign]
        self.pause_reading = inner.pause_reading  # type: ignore[method-assign]
        self.resume_reading = inner.resume_reading  # type: ignore[method-assign]
        self.get_write_buffer_size = inner.get_write_buffer_size  # type: ignore[method-assign]

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """Return what the transport below knows."""
        return self._inner.get_extra_info(name, default)

    def abort(self) -> None:
        """Cut it off now."""
        self._inner.abort()

    def close(self) -> None:
        """Say the end once all is sent, and linger. From now on it is closing."""
        if self.is_closing():
            return
        self.is_closing = lambda: True  # type: ignore[method-assign]
        try:
            self._inner.resume_reading()
            if self.secure:
                self._inner.close()
            else:
                self._inner.write_eof()
        except (OSError, RuntimeError):  # the peer has gone, or is just being let go
            self._inner.close()
        else:
            self._wait(self.get_write_buffer_size(), 0.0)

    def close_now(self) -> None:
        """Close without lingering: for one too many, who must not take up a place."""
        self._inner.close()

    def hasten(self, linger_s: float) -> None:
        """Linger no longer than this, from now on."""
        self._linger_s = linger_s
        if self._timer is not None:
            self._timer.cancel()
            self._wait(self.get_write_buffer_size(), 0.0)

    def drop(self, size_bytes: int) -> None:
        """Count what came after the end, and cut off who sends without one."""
        self._dropped_bytes += size_bytes
        if self._dropped_bytes > LINGER_BYTES_MAX:
            self.abort()

    def lost(self) -> None:
        """Stop the clock: the connection is gone."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _wait(self, left_bytes: int, quiet_s: float) -> None:
        self._timer = self._loop.call_later(self._linger_s, self._look, left_bytes, quiet_s)

    def _look(self, before_bytes: int, quiet_s: float) -> None:
        """Close, unless the peer still takes some of what is left to send."""
        self._timer = None
        left_bytes = self.get_write_buffer_size()
        quiet_s = quiet_s + self._linger_s if left_bytes == before_bytes else 0.0
        if not left_bytes and not self.secure:
            self._inner.close()
        # What TLS has written may still be on its way through the transport below: it has longer.
        elif quiet_s >= (UNREAD_S if left_bytes else 2 * self._linger_s):
            self.abort()
        else:
            self._wait(left_bytes, quiet_s)
