"""Work that blocks, in a thread, for who may be stopped meanwhile.

Owns that nobody goes on before such work has ended. Must not know what it is.
"""

import asyncio
import contextlib
from collections.abc import Callable
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


async def in_thread(work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Do the work in a thread; who is cancelled meanwhile waits for its end first."""
    return await stoppable(lambda: None, work, *args, **kwargs)


async def stoppable(
    stop: Callable[[], None],
    work: Callable[P, T],
    *args: P.args,
    **kwargs: P.kwargs,
) -> T:
    """Do the work in a thread; who is cancelled tells it to stop and waits for it."""
    task = asyncio.ensure_future(asyncio.to_thread(work, *args, **kwargs))
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        stop()
        while not task.done():
            # Cancelled once more: there is nothing to be done that is quicker.
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.wait({task})
        if not task.cancelled():
            task.exception()  # what it says of having been stopped is not what is wrong
        raise
