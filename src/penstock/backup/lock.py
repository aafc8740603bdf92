"""Who is changing a store: one at a time, whatever machines they are on.

It owns `lock.json`: how it is taken, renewed, given back, and taken over from one that
has died. It must not know what is changed meanwhile, nor S3 or files.

The object is never removed, only replaced: who may write backups need not be let to
delete them. Each state of it is other bytes than all before, so that of several who
would take it one succeeds. Ages are told by the store's clock, not by those of the
machines.
"""

import contextlib
import os
import pwd
import secrets
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Final

import msgspec

from penstock.backup.manifest import LOCK_KEY
from penstock.backup.store import Store
from penstock.errors import (
    AbsentError,
    LockedError,
    PenstockError,
    StoreError,
    TakenError,
)

RENEWED_AFTER_SECONDS: Final = 30.0
# Ten renewals that did not come: a store may be out of reach for some minutes.
STALE_AFTER_SECONDS: Final = 300.0
RELEASE_PATIENCE_SECONDS: Final = 10.0


class Holder(msgspec.Struct, frozen=True, kw_only=True):
    """What lock.json says; `state` makes each of them other bytes."""

    command: str
    host: str = "?"
    pid: int = 0
    user: str = "?"
    since: datetime
    is_free: bool = False
    state: str

    def __str__(self) -> str:
        return (
            f"penstock backup {self.command} (pid {self.pid} on {self.host}, user"
            f" {self.user}, since {self.since:%Y-%m-%d %H:%M:%S}Z)"
        )


class StoreLock:
    """The lock of a store, held by this process until it is lost or given back."""

    def __init__(self, store: Store, command: str) -> None:
        self._store = store
        self._holder = Holder(
            command=command,
            host=socket.gethostname(),
            pid=os.getpid(),
            user=_user(),
            since=datetime.now(UTC),
            state=secrets.token_hex(8),
        )
        self._written = _encode(self._holder)
        # What may be there instead: it was sent, and no answer came.
        self._unsure: list[bytes] = []
        self._is_lost = False
        self._ended = threading.Event()
        # Renewing and asking each read what is there and what we have written.
        self._turn = threading.Lock()

    def take(self, say: Callable[[str], object], stale_after_seconds: float) -> None:
        """Take it, from a dead one if need be.

        Raises:
            LockedError: somebody else has it.
            StoreError: the store cannot be read or written.
        """
        try:
            try:
                self._store.create(LOCK_KEY, self._written)
            except TakenError:
                self._take_over_first(say, stale_after_seconds)
        except PenstockError:
            self._is_lost = True
            raise

    def still_mine(self) -> bool:
        """Ask the store whether it is held; False for ever once it was lost.

        Raises:
            StoreError: the store cannot be asked.
        """
        with self._turn:
            if not self._is_lost:
                self._look()
            return not self._is_lost

    def check(self) -> None:
        """Stop here if the lock is not held any more: somebody else may be at work.

        Raises:
            LockedError: it was taken over.
            StoreError: the store cannot be asked.
        """
        if not self.still_mine():
            raise LockedError(
                f"the lock of {self._store.url} was lost to another while this process"
                " could not renew it; nothing was finished: run the same command again"
            )

    def renew(self) -> None:
        """Write it anew, if it is held.

        Raises:
            StoreError: that cannot be, for the moment.
        """
        with self._turn:
            self._rewrite(is_free=False)

    def give_back(self) -> None:
        """Let others take it at once; where that cannot be, they wait till it is stale.

        Nothing is held any more, and nobody renews it.
        """
        self._ended.set()
        giving = threading.Thread(
            target=self._free, name="penstock-store-unlock", daemon=True
        )
        giving.start()
        # Somebody waits for the command to end, and the store may not answer.
        giving.join(RELEASE_PATIENCE_SECONDS)

    def _free(self) -> None:
        with self._turn:
            with contextlib.suppress(StoreError):
                self._rewrite(is_free=True)
            self._is_lost = True

    def keep_renewing(self, every_seconds: float) -> None:
        """Renew until it is given back; a store that is gone may come back."""
        while not self._ended.wait(every_seconds):
            with contextlib.suppress(StoreError):
                self.renew()

    def _rewrite(self, *, is_free: bool) -> None:
        if self._is_lost:
            return
        holder = msgspec.structs.replace(
            self._holder, state=secrets.token_hex(8), is_free=is_free
        )
        data = _encode(holder)
        if self._unsure:
            self._look()
        try:
            self._store.replace(LOCK_KEY, data, expected=self._written)
        except TakenError:
            self._is_lost = True
        except StoreError:
            self._unsure.append(data)
            raise
        else:
            self._written = data

    def _look(self) -> None:
        """Find out whether what is there is ours, also if we had no answer to it."""
        try:
            found = self._store.read(LOCK_KEY)
        except AbsentError:
            self._is_lost = True
            return
        if found in self._unsure:
            self._written = found
        self._unsure.clear()
        self._is_lost = found != self._written

    def _take_over_first(
        self, say: Callable[[str], object], stale_after_seconds: float
    ) -> None:
        try:
            self._take_over(say, stale_after_seconds)
        except (AbsentError, TakenError) as error:
            raise LockedError(
                f"somebody else has just taken the lock of {self._store.url}; try again"
                " later"
            ) from error

    def _take_over(
        self, say: Callable[[str], object], stale_after_seconds: float
    ) -> None:
        found = self._store.read(LOCK_KEY)
        # Asked after it was read: of what was read, or of something later.
        age_seconds = self._store.age_seconds(LOCK_KEY)
        other = _decode(found)
        if other is not None and other.is_free:
            self._store.replace(LOCK_KEY, self._written, expected=found)
            return
        who = str(other or f"somebody who wrote an odd {LOCK_KEY}")
        if age_seconds < stale_after_seconds:
            raise LockedError(
                f"{who} is changing {self._store.url}, and was seen"
                f" {max(age_seconds, 0):.0f} s ago; wait until it is done. If it has"
                " died, this command takes its lock over in"
                f" {stale_after_seconds - age_seconds:.0f} s"
            )
        self._store.replace(LOCK_KEY, self._written, expected=found)
        say(
            f"{who} was last seen {age_seconds / 60:.0f} minutes ago; its lock of"
            f" {self._store.url} is taken over"
        )


@contextlib.contextmanager
def store_lock(
    store: Store,
    command: str,
    *,
    say: Callable[[str], object] = lambda line: _to_stderr(line),
    renewed_after_seconds: float = RENEWED_AFTER_SECONDS,
    stale_after_seconds: float = STALE_AFTER_SECONDS,
) -> Iterator[StoreLock]:
    """Hold the store's lock during the block, renewed by a thread.

    Who finishes something that others refer to asks `check` of it just before.

    Args:
        command: which one holds it, for the others' messages: "create".
        say: is told the line that a dead one's lock was taken over.

    Raises:
        LockedError: somebody else has it.
        StoreError: the store cannot be read or written.
    """
    lock = StoreLock(store, command)
    renewing = threading.Thread(
        target=lock.keep_renewing,
        args=(renewed_after_seconds,),
        name="penstock-store-lock",
        daemon=True,  # a renewal that hangs keeps nobody from ending
    )
    try:
        lock.take(say, stale_after_seconds)
        renewing.start()
        yield lock
    finally:
        lock.give_back()


def _encode(holder: Holder) -> bytes:
    return msgspec.json.format(msgspec.json.encode(holder), indent=2) + b"\n"


def _decode(data: bytes) -> Holder | None:
    try:
        return msgspec.json.decode(data, type=Holder)
    except msgspec.MsgspecError:
        return None


def _user() -> str:
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:  # a container's number without a name
        return str(os.geteuid())


def _to_stderr(line: str) -> None:
    sys.stderr.write(f"penstock: {line}\n")
