"""The port to where backups are: what a store can do, whatever it is.

It owns the words of that, and which names an object can have. It must not know S3,
files, or what a backup is. All of it blocks and may be called from several threads.
"""

from collections.abc import Callable, Collection, Generator, Iterator
from datetime import datetime
from typing import NamedTuple, Protocol

from penstock.errors import StoreError


class Entry(NamedTuple):
    """An object that is there."""

    key: str
    size_bytes: int
    modified_at: datetime


class Stored(NamedTuple):
    """What was written: told by what went over the wire, not by who sent it."""

    size_bytes: int
    sha256: str  # hexadecimal


class Source(Protocol):
    """What is read to its end. An end that is none is an exception, never b""."""

    def read(self, size: int = -1, /) -> bytes: ...


class Store(Protocol):
    """A place for objects with names such as `backups/ID/manifest.json`."""

    @property
    def url(self) -> str:
        """The place as a person gives it, without credentials."""
        ...

    def put(
        self,
        key: str,
        source: Source,
        *,
        expected_bytes: int = 0,
        on_bytes: Callable[[int], None] = lambda size: None,
    ) -> Stored:
        """Store all that `source` gives; where that raises, there is no object.

        Args:
            expected_bytes: about how much it will be, 0 if nobody knows.
            on_bytes: called, from any thread, with the bytes that have been sent on.

        Raises:
            StoreError: it cannot be stored; nothing is there under the key.
            Whatever `source.read` raises.
        """
        ...

    def create(self, key: str, data: bytes) -> None:
        """Store `data` where nothing is there: of several at once one succeeds.

        Raises:
            TakenError: something is there.
            StoreError: it cannot be stored.
        """
        ...

    def replace(self, key: str, data: bytes, *, expected: bytes) -> None:
        """Store `data` in place of exactly `expected`: of several at once one succeeds.

        What takes turns at a key must never write the same bytes twice.

        Raises:
            TakenError: something else is there, or nothing any more.
            StoreError: it cannot be stored.
        """
        ...

    def age_seconds(self, key: str) -> float:
        """Return how long ago an object was stored, by the store's own clock.

        Raises:
            AbsentError: nothing is there.
            StoreError: it cannot be looked at.
        """
        ...

    def read(self, key: str) -> bytes:
        """Return a small object.

        Raises:
            AbsentError: nothing is there.
            StoreError: it cannot be read.
        """
        ...

    def open(self, key: str, *, size_bytes: int, sha256: str) -> Generator[bytes]:
        """Yield an object's bytes; at its end it is known to be what was stored.

        A connection that is cut is made again where it was. It may be left before its
        end; `close` of the generator ends the connection.

        Raises:
            AbsentError: nothing is there.
            CorruptError: it is another size, or its bytes are others. What was
                yielded until then is not to be used.
            StoreError: it cannot be read.
        """
        ...

    def entries(self, prefix: str) -> Iterator[Entry]:
        """Yield what is there, by name. Raises StoreError."""
        ...

    def delete(self, keys: Collection[str]) -> None:
        """Remove objects; one that is not there is none to complain of.

        Raises:
            StoreError: some are there still; it names one.
        """
        ...

    def unfinished(self, *, older_than_seconds: float) -> Iterator[str]:
        """Yield the keys of what was begun so long ago and never ended (multipart).

        Raises StoreError.
        """
        ...

    def abandon(self, *, older_than_seconds: float) -> int:
        """Remove what was begun so long ago and never ended; return how many.

        Raises StoreError.
        """
        ...


def check_key(key: str) -> None:
    """Raise StoreError if a name would lead out of the store; a manifest may be odd."""
    parts = key.split("/")
    if not all(parts) or {".", ".."} & set(parts) or not key.isprintable():
        raise StoreError(f"{key!r} is no name that an object of a store can have")
