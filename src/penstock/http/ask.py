"""POST /api/ask: a question in plain language, its SQL, and the rows if it may run.

It owns the form of both, the status of what may go wrong, and how long a conversation
is kept for the next question. How SQL is made and judged is `penstock.ask`'s. It must
not send a row to the model: `penstock ask --explain` does, where that is allowed.
"""

import asyncio
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import orjson
from aiohttp import web

from penstock.ask.answers import AskBack, NoAnswer
from penstock.ask.conversation import Conversation, Proposal
from penstock.ask.problems import MendableError
from penstock.ask.spend import SpendLimitError
from penstock.errors import (
    DatabaseUnavailableError,
    ModelError,
    ModelUnavailableError,
    PenstockError,
    QueryTimeoutError,
    SettingsError,
)
from penstock.http.answers import JSON, ApiError, answer
from penstock.http.bodies import MAX_JSON_BYTES, read_json
from penstock.reader.session import Rows

PATH = "/api/ask"
# A page asks one after the other; each of these may hold a result in memory.
AT_ONCE = 4
RETRY_SECONDS = 5
# Some 100 KiB each, at most; and who comes back after lunch begins anew.
MAX_CONVERSATIONS = 100
KEPT_SECONDS = 1800.0
# The model's answers, repairs among them, and the statement.
SECONDS = 300.0
MAX_BODY_BYTES = MAX_JSON_BYTES
_FIELDS = {"question": str, "conversation": str, "run": bool, "time_zone": str}

# Makes a conversation of somebody in this time zone.
Converse = Callable[[str], Conversation]


@dataclass(slots=True)
class _Kept:
    """A conversation, and the SQL that was shown last."""

    conversation: Conversation
    time_zone: str
    proposal: Proposal | None = None
    used_at: float = 0.0
    # Of one conversation one question is asked at a time.
    turn: asyncio.Lock = field(default_factory=asyncio.Lock)


class Ask:
    """The handler, and the conversations that go on."""

    def __init__(self, converse: Converse) -> None:
        self._converse = converse
        self._kept: OrderedDict[str, _Kept] = OrderedDict()
        self._busy = 0

    async def post(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer a question, or run the SQL of the last one."""
        asked = _asked(await read_json(request, MAX_BODY_BYTES))
        if self._busy >= AT_ONCE:
            raise ApiError(
                503,
                f"{AT_ONCE} questions are being answered; ask again",
                {"Retry-After": str(RETRY_SECONDS)},
            )
        name, kept = self._conversation(asked)
        self._busy += 1
        try:
            async with kept.turn:
                told = await _answered(kept, asked)
        except PenstockError as error:
            raise _as_answer(error) from error
        finally:
            self._busy -= 1
        told = {"conversation": name, **told}
        body = orjson.dumps(told, default=_as_json)
        return answer(200, body, JSON)

    def _conversation(self, asked: dict[str, Any]) -> tuple[str, _Kept]:
        now = time.monotonic()
        while self._kept and (
            len(self._kept) > MAX_CONVERSATIONS
            or next(iter(self._kept.values())).used_at < now - KEPT_SECONDS
        ):
            self._kept.popitem(last=False)
        name = asked.get("conversation")
        if name is None:
            # A name that nobody guesses: whoever has it may run what it proposed.
            name = secrets.token_urlsafe(16)
            zone = asked.get("time_zone", "UTC")
            self._kept[name] = _Kept(self._converse(zone), zone)
        elif name not in self._kept:
            raise ApiError(404, "no such conversation, or it is over; begin another")
        self._kept.move_to_end(name)
        kept = self._kept[name]
        kept.used_at = now
        return name, kept


async def _answered(kept: _Kept, asked: dict[str, Any]) -> dict[str, Any]:
    conversation, rows = kept.conversation, None
    made: Proposal | AskBack | NoAnswer
    if "question" in asked:
        kept.proposal = None
        made = await conversation.ask(asked["question"])
    elif kept.proposal is not None:
        made = kept.proposal
    else:
        raise ApiError(400, "there is no SQL to run yet: ask a question")
    while isinstance(made, Proposal) and asked.get("run", False):
        try:
            rows = await conversation.run(made)
            break
        except MendableError as error:
            made = await conversation.mend(made, error)
    kept.proposal = made if isinstance(made, Proposal) else None
    return {**_told(made, kept), "result": _result(rows)}


def _told(made: Proposal | AskBack | NoAnswer, kept: _Kept) -> dict[str, Any]:
    cost = kept.conversation.spent.cost_usd
    told: dict[str, Any] = {
        "kind": "sql",
        "reading": "",
        "sql": None,
        "assumptions": [],
        "since": "",
        "until": "",
        "time_zone": kept.time_zone,
        "repairs": 0,
        "cost_usd": None if cost is None else float(cost),
    }
    if isinstance(made, AskBack):
        return told | {"kind": "ask_back", "reading": made.question}
    if isinstance(made, NoAnswer):
        return told | {"kind": "no_answer", "reading": made.reason}
    return told | {
        "reading": made.answer.reading,
        "sql": made.sql,
        "assumptions": list(made.answer.assumptions),
        "since": made.answer.since,
        "until": made.answer.until,
        "repairs": made.repairs,
    }


def _result(rows: Rows | None) -> dict[str, Any] | None:
    return None if rows is None else rows._asdict()


def _asked(body: dict[str, Any]) -> dict[str, Any]:
    """Return what is asked for, if it is understood.

    Raises:
        ApiError: it is not; the line says what of it.
    """
    for name, value in body.items():
        if name not in _FIELDS:
            raise ApiError(
                400, f"no such field: {name[:40]!r}; there are {', '.join(_FIELDS)}"
            )
        if not isinstance(value, _FIELDS[name]):
            kind = "true or false" if _FIELDS[name] is bool else "a text"
            raise ApiError(400, f"{name} has to be {kind}")
    if "question" not in body and not (body.get("run") and "conversation" in body):
        raise ApiError(
            400, "say a question; or a conversation and run, for its last SQL"
        )
    if "time_zone" in body and "conversation" in body:
        raise ApiError(400, "a conversation has its time_zone already")
    if "time_zone" in body:
        with suppress(OSError, ValueError, KeyError):
            return body | {"time_zone": ZoneInfo(body["time_zone"]).key}
        raise ApiError(400, "time_zone is none; names are Asia/Seoul, UTC")
    return body


def _as_answer(error: PenstockError) -> ApiError:
    """Return the status of what went wrong."""
    if isinstance(error, ApiError):
        return error
    retry = {"Retry-After": str(RETRY_SECONDS)}
    if isinstance(error, MendableError):
        return ApiError(422, str(error))
    if isinstance(error, SpendLimitError | SettingsError):
        # Somebody has to do something, or a day to go by.
        return ApiError(503, str(error), {"Retry-After": "3600"})
    if isinstance(error, ModelUnavailableError | DatabaseUnavailableError):
        return ApiError(503, str(error), retry)
    if isinstance(error, ModelError):
        return ApiError(502, str(error))
    if isinstance(error, QueryTimeoutError):
        return ApiError(504, str(error))
    return ApiError(400, str(error))


def _as_json(value: Any) -> Any:
    return (
        float(value) if isinstance(value, Decimal) and _is_short(value) else str(value)
    )


def _is_short(value: Decimal) -> bool:
    """Tell whether a float says the same; of the others the text is exact."""
    return value.is_finite() and Decimal(str(float(value))) == value
