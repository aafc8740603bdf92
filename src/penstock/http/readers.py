"""The sessions that read for the API: so many at once, and how their errors are told.

It owns the limit, and the status of what may go wrong with a query. It must not know
what is asked, nor how a session is opened.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

from penstock.errors import (
    DatabaseUnavailableError,
    QueryCancelledError,
    QueryError,
    QueryTimeoutError,
)
from penstock.http.answers import ApiError
from penstock.reader.session import Session

OpenSession = Callable[[], AbstractAsyncContextManager[Session]]

# A page that asks three things at once has them one after the other; who waits longer
# is told, before others wait behind it.
WAIT_SECONDS = 2.0
RETRY_SECONDS = 2


class Readers:
    """Opens sessions, each on a connection of its own, a few at once."""

    def __init__(self, open_session: OpenSession, most: int) -> None:
        self._open_session = open_session
        self._places = asyncio.Semaphore(most)
        self._most = most

    @asynccontextmanager
    async def session(self) -> AsyncIterator[Session]:
        """Open a session for the block, and end it on the server when that is left.

        Raises:
            ApiError: all are busy, the database is out of reach, or it refuses a query.
        """
        try:
            async with asyncio.timeout(WAIT_SECONDS):
                await self._places.acquire()
        except TimeoutError:
            raise ApiError(
                503,
                f"all {self._most} reading sessions are busy (api_max_sessions)",
                {"Retry-After": str(RETRY_SECONDS)},
            ) from None
        try:
            async with self._open_session() as session:
                yield session
        except QueryTimeoutError as error:
            raise ApiError(504, str(error)) from error
        except QueryCancelledError as error:
            raise ApiError(503, str(error), _retry()) from error
        except QueryError as error:
            raise ApiError(400, str(error)) from error
        except DatabaseUnavailableError as error:
            raise ApiError(503, str(error), _retry()) from error
        finally:
            self._places.release()


def _retry() -> dict[str, str]:
    return {"Retry-After": str(RETRY_SECONDS)}
