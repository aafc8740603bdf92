"""What a protocol within TLS sees of its connection: a transport like any other.

It owns no state: `tls` does.
"""

import asyncio
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from penstock.net.tls import TlsProtocol


class TlsTransport(asyncio.Transport):
    """The plaintext side of a connection, for the protocol within."""

    def __init__(self, tls: "TlsProtocol", raw: asyncio.Transport) -> None:
        super().__init__()
        self._tls = tls
        self._raw = raw

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """Return what is known of the connection; `unread_bytes` is ours."""
        if name == "unread_bytes":
            return self._tls.unread_bytes
        return self._raw.get_extra_info(name, default)

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        """Hand the connection over to another protocol."""
        self._tls.use(protocol)

    def get_protocol(self) -> asyncio.BaseProtocol:
        """Return the protocol within."""
        return self._tls.inner

    def is_closing(self) -> bool:
        """Tell whether the connection is closed, or about to be."""
        return self._tls.is_closing

    def is_reading(self) -> bool:
        """Tell whether the protocol within is handed what comes."""
        return not (self._tls.is_paused or self._tls.is_closing)

    def pause_reading(self) -> None:
        """Hand over nothing until told to."""
        self._tls.pause()

    def resume_reading(self) -> None:
        """Hand over again."""
        self._tls.resume()

    def set_write_buffer_limits(
        self, high: int | None = None, low: int | None = None
    ) -> None:
        """Set when the protocol is told to pause writing, in bytes as encrypted."""
        self._raw.set_write_buffer_limits(high, low)

    def get_write_buffer_limits(self) -> tuple[int, int]:
        """Return the limits."""
        return self._raw.get_write_buffer_limits()

    def get_write_buffer_size(self) -> int:
        """Return how much the system has not taken yet, as encrypted."""
        return self._raw.get_write_buffer_size()

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Write, as one record if it is short."""
        self._tls.write(data)

    def can_write_eof(self) -> bool:
        """Tell that there is no end of writing but the close."""
        return False

    def close(self) -> None:
        """Close behind what was written; nothing more is handed over."""
        self._tls.close()

    def abort(self) -> None:
        """Close now."""
        self._tls.abort()
