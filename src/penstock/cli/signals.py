"""What a signal that stops a command does to it.

It owns the exit code of Ctrl-C, and the rule that the embedded PostgreSQL is stopped
before the command that started it ends. The server's own signals are app.py's.
"""

import asyncio
import signal
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, TypeVar

T = TypeVar("T")

# What a shell says of a program that Ctrl-C ended.
EXIT_INTERRUPTED = 130
# Ctrl-C, `kill` or `timeout`, and a terminal that is closed.
STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def interrupt_on_stop_signals() -> None:
    """Make of SIGTERM and SIGHUP a KeyboardInterrupt where they would just kill.

    One that is ignored stays so: under nohup the end of the terminal is nothing to us.
    """
    for number in STOP_SIGNALS:
        if signal.getsignal(number) is signal.SIG_DFL:
            is_twice = number == signal.SIGHUP
            handler = _interrupt_once if is_twice else signal.default_int_handler
            signal.signal(number, handler)


def _interrupt_once(number: int, frame: FrameType | None) -> None:
    """Interrupt, and be deaf from then on: the second one would end the cleaning up.

    A closed terminal sends SIGHUP twice: from the shell, and from the system after it.
    """
    signal.signal(number, signal.SIG_IGN)
    raise KeyboardInterrupt


@contextmanager
def stop_signals_interrupting() -> Iterator[None]:
    """As `interrupt_on_stop_signals`, until the block ends."""
    before = {number: signal.getsignal(number) for number in STOP_SIGNALS}
    interrupt_on_stop_signals()
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def keep_cleaning_up(on_impatience: Callable[[], None] | None = None) -> None:
    """Let no signal end us any more: PostgreSQL would be left running without us.

    Args:
        on_impatience: called when one comes all the same. Not for SIGHUP, which a
            closed terminal sends twice.
    """

    def take_note(number: int, frame: FrameType | None) -> None:
        if on_impatience is not None:
            on_impatience()

    for number in STOP_SIGNALS:
        is_heard = on_impatience is not None and number != signal.SIGHUP
        signal.signal(number, take_note if is_heard else signal.SIG_IGN)


def run_stoppable(main: Coroutine[Any, Any, T]) -> T:
    """Run it as asyncio.run does; a stop signal cancels it, once, and is heard then.

    What it does when it is cancelled it does to its end: more signals change nothing.

    Raises:
        KeyboardInterrupt: a signal has stopped it.
    """
    before = {number: signal.getsignal(number) for number in STOP_SIGNALS}
    was_stopped = False

    async def run() -> T:
        loop, task = asyncio.get_running_loop(), asyncio.current_task()
        assert task is not None

        def stop() -> None:
            nonlocal was_stopped
            if not was_stopped:
                was_stopped = True
                task.cancel()

        for number in heard:
            loop.add_signal_handler(number, stop)
        return await main

    # Under nohup the end of the terminal is nothing to us.
    heard = [number for number in STOP_SIGNALS if before[number] != signal.SIG_IGN]
    try:
        return asyncio.run(run())
    except asyncio.CancelledError:
        raise KeyboardInterrupt from None
    finally:
        for number in heard:
            signal.signal(number, before[number])
