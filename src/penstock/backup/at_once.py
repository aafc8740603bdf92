"""Work for each of many things, so many at once.

It owns that the first error ends all of it, and that nothing runs on afterwards.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

T = TypeVar("T")


async def each_at_once(
    things: Sequence[T], work: Callable[[T], Awaitable[None]], jobs: int
) -> None:
    """Do the work for each thing, in their order, `jobs` at once.

    Raises:
        Whatever the work raises first, when all of it has ended.
    """
    waiting = iter(things)

    async def worker() -> None:
        for thing in waiting:
            await work(thing)

    workers = [asyncio.ensure_future(worker()) for _ in range(min(jobs, len(things)))]
    try:
        await asyncio.gather(*workers)
    finally:
        for each in workers:
            each.cancel()
        await asyncio.gather(*workers, return_exceptions=True)
