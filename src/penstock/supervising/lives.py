"""One life of a worker, as its parent sees it: a process, and the link to it.

It owns how it is started, what is asked of it, and that it ends. When it is started
again, and what its metrics are for, it must not know.
"""

import asyncio
import logging
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

import penstock
from penstock.errors import (
    DatabaseUnavailableError,
    NotTakenError,
    PenstockError,
    SettingsError,
    UnavailableError,
)
from penstock.model import Receipt, Submission
from penstock.supervising.channel import Channel
from penstock.supervising.messages import (
    Ask,
    Begin,
    Ended,
    Failed,
    Look,
    Looking,
    Ready,
    Reload,
    Reloaded,
    Report,
    Seen,
    Settled,
    Submit,
    SubmitNoMore,
    ToParent,
    ToWorker,
    encode,
    read_by_parent,
)

logger = logging.getLogger(__name__)

# A report is some milliseconds' work; who asks for metrics does not wait longer for
# one that stands still.
REPORT_SECONDS = 1.0
# A reload reads certificates and looks up names.
RELOAD_SECONDS = 30.0
# When a worker has closed its end it has nothing left to do.
EXIT_SECONDS = 5.0
LOOK_SECONDS = 0.01
WORKER_GONE = "the worker that had it is gone, and nobody knows whether it is committed"


class HowEnded(NamedTuple):
    """How a worker has ended."""

    exit_code: int
    was_clean: bool  # it says that nothing is lost

    def in_words(self) -> str:
        """Return it for a log line."""
        if self.exit_code >= 0:
            return f"exit code {self.exit_code}"
        with suppress(ValueError):
            return signal.Signals(-self.exit_code).name
        return f"signal {-self.exit_code}"


class Life:
    """A worker's process from its start to its end."""

    def __init__(self, worker: int, on_seen: Callable[[Seen], None]) -> None:
        """Start the process; `on_seen` is called with the rows that are wanted of it.

        Raises:
            UnavailableError: the system has none for us.
        """
        self.worker = worker
        self.report: Report | None = None  # the last
        self.is_ready = False  # as its keeper says, when it has all it needs to know
        self.silent_looks = 0
        self.is_hanging = False  # so it was killed
        try:
            self._process, ours = _launch()
        except OSError as error:  # no file, process or memory is left
            raise UnavailableError(
                f"worker {worker} cannot be started: {error.strerror}"
            ) from error
        loop = asyncio.get_running_loop()
        self._channel = Channel(ours)
        self._started: asyncio.Future[Ready | Failed | None] = loop.create_future()
        self._reported: asyncio.Future[None] | None = None
        self._reloaded: asyncio.Future[tuple[str, ...]] | None = None
        self._on_seen = on_seen
        self._looking: dict[int, asyncio.Future[None]] = {}
        self._submitted: dict[int, asyncio.Future[Receipt]] = {}
        self._submissions = 0
        self._has_ended = False
        self._was_clean = False
        self._telling: set[asyncio.Task[None]] = set()
        self._living = loop.create_task(self._live(), name=f"worker-{worker}")

    @property
    def pid(self) -> int:
        """Return the process's id."""
        return self._process.pid

    async def begin(self, message: Begin, files: Sequence[int]) -> None:
        """Have it start; return when senders can connect.

        Raises:
            PenstockError: it does not; as the worker says, or that it has ended.
        """
        try:
            self.tell(message, files)
        except OSError as error:
            raise UnavailableError(
                f"worker {self.worker} cannot be given its sockets: {error.strerror}"
            ) from error
        answer = await asyncio.shield(self._started)
        if isinstance(answer, Ready):
            return
        if answer is None:
            ended = await self.ended()
            raise PenstockError(
                f"worker {self.worker} has ended as it started: {ended.in_words()}"
            )
        if answer.exit_code == DatabaseUnavailableError.exit_code:
            raise DatabaseUnavailableError("\n".join(answer.problems))
        raise SettingsError(*answer.problems)

    async def ask(self) -> None:
        """Have its report; when it does not answer in time the last one stays."""
        if self._reported is None:
            self._reported = asyncio.get_running_loop().create_future()
            self.tell(Ask())
        with suppress(TimeoutError):
            answered = asyncio.shield(self._reported)
            await asyncio.wait_for(answered, REPORT_SECONDS)

    async def reload(self, message: Reload, files: Sequence[int]) -> tuple[str, ...]:
        """Have it take new settings; return why it does not."""
        self._reloaded = asyncio.get_running_loop().create_future()
        try:
            self.tell(message, files)
            # If it ends meanwhile, its successor begins with them.
            return await asyncio.wait_for(self._reloaded, RELOAD_SECONDS)
        except TimeoutError:
            return (f"worker {self.worker} does not answer",)
        except OSError as error:
            return (f"worker {self.worker} cannot be told: {error.strerror}",)
        finally:
            self._reloaded = None

    async def submit(self, submission: Submission) -> Receipt:
        """Have it store a message; return when that is committed.

        Cancelled, no more of it is handed over.

        Raises:
            NotTakenError: it is not, as far as is known.
        """
        self._submissions += 1
        number = self._submissions
        if self._has_ended:
            raise NotTakenError(WORKER_GONE)
        waiting: asyncio.Future[Receipt] = asyncio.get_running_loop().create_future()
        self._submitted[number] = waiting
        try:
            self.tell(Submit(number, submission))
            return await waiting
        except asyncio.CancelledError:
            # It would keep the rest until there is room, whoever sends again meanwhile.
            self.tell(SubmitNoMore(number))
            raise
        finally:
            del self._submitted[number]

    async def look(self, look: Look) -> None:
        """Have it look at what it commits; return when it does, or has ended."""
        if self._has_ended:
            return
        waiting: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._looking[look.number] = waiting
        try:
            self.tell(look)
            await waiting
        finally:
            del self._looking[look.number]

    def tell(self, message: ToWorker, files: Sequence[int] = ()) -> None:
        """Tell it something, in its turn, and whole; the files are duplicated.

        Raises:
            OSError: no file descriptor is left to duplicate them.
        """
        theirs: list[int] = []
        try:
            theirs.extend(map(os.dup, files))
        except OSError:
            for each in theirs:
                os.close(each)
            raise
        task = asyncio.get_running_loop().create_task(self._tell(message, theirs))
        self._telling.add(task)
        task.add_done_callback(self._telling.discard)

    def kill(self, number: signal.Signals = signal.SIGKILL) -> None:
        """Send it a signal, if it still runs."""
        self._process.send_signal(number)

    async def ended(self) -> HowEnded:
        """Wait until it has ended, however it does."""
        await asyncio.shield(self._living)
        exit_code = self._process.returncode
        # One that has not begun has nothing to lose.
        was_clean = self._was_clean or (not self.is_ready and exit_code == 0)
        return HowEnded(exit_code, was_clean)

    async def _tell(self, message: ToWorker, files: Sequence[int]) -> None:
        try:
            with suppress(OSError):  # it has ended
                await self._channel.send(encode(message), files)
        finally:
            for each in files:
                os.close(each)

    async def _live(self) -> None:
        try:
            while (received := await self._channel.receive()) is not None:
                self._hear(read_by_parent(received.body))
        except msgspec.MsgspecError:
            logger.exception("a worker says what no worker says; it is ended")
            self.kill()
        finally:
            for waiting in (self._started, self._reported, self._reloaded):
                if waiting is not None:
                    _answer(waiting, () if waiting is self._reloaded else None)
            self._has_ended = True
            for each in self._submitted.values():
                if not each.done():
                    each.set_exception(NotTakenError(WORKER_GONE))
            for looking in self._looking.values():
                _answer(looking, None)
            await self._exit()
            telling = list(self._telling)
            for task in telling:
                task.cancel()
            await asyncio.gather(*telling, return_exceptions=True)
            self._channel.close()

    def _hear(self, message: ToParent) -> None:
        match message:
            case Ready() | Failed():
                _answer(self._started, message)
            case Report():
                self.report, self.silent_looks = message, 0
                _answer(self._reported, None)
                self._reported = None
            case Settled():
                self._settled(message)
            case Looking():
                _answer(self._looking.get(message.number), None)
            case Seen():
                self._on_seen(message)
            case Reloaded():
                _answer(self._reloaded, message.problems)
            case Ended():
                self.report, self._was_clean = message.report, message.was_clean

    def _settled(self, message: Settled) -> None:
        waiting = self._submitted.get(message.number)
        if waiting is None or waiting.done():  # nobody waits for it any more
            return
        if message.receipt is None:
            waiting.set_exception(NotTakenError(message.problem))
        else:
            waiting.set_result(message.receipt)

    async def _exit(self) -> None:
        looks = int(EXIT_SECONDS / LOOK_SECONDS)
        while self._process.poll() is None:
            looks -= 1
            if not looks:
                self._process.kill()
            await asyncio.sleep(LOOK_SECONDS)


def _launch() -> tuple[subprocess.Popen[bytes], socket.socket]:
    """Start a process; return it and our end of the link to it. Raises OSError."""
    ours, theirs = socket.socketpair()
    with theirs:
        try:
            # A group of its own: Ctrl-C at a terminal is the parent's to hear.
            process = subprocess.Popen(
                (*_python(), "-m", "penstock.supervising.worker", str(theirs.fileno())),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                pass_fds=(theirs.fileno(),),
                process_group=0,
            )
        except BaseException:
            ours.close()
            raise
    return process, ours


def _answer(waiting: "asyncio.Future[Any] | None", answer: object) -> None:
    if waiting is not None and not waiting.done():
        waiting.set_result(answer)


def _python() -> tuple[str, ...]:
    """Return the interpreter; it looks for modules here only if ours come from here.

    With -m it would else: somebody may have put something else into this directory.
    """
    with suppress(OSError):  # the directory is gone
        if Path(penstock.__file__).resolve().parents[1] == Path.cwd():
            return (sys.executable,)
    return (sys.executable, "-P")
