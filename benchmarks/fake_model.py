"""A model's API on this machine: a real HTTP server that answers as it was told to.

It owns the wire format of POST /v1/messages, as much of it as the real SDK asks for, so
that Penstock's own code and the SDK are tested over real HTTP without a key. It knows
nothing of questions: each request takes the next reply, or what `decide` says.
"""

import asyncio
import itertools
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import orjson
from aiohttp import web

# An API that asks to be tried again soon does not keep a test waiting.
SOON = {"retry-after-ms": "1", "retry-after": "0.001"}
PATIENCE_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class Reply:
    """What is answered to one request."""

    text: str = ""
    status: int = 200
    stop_reason: str = "end_turn"
    # Instead of all that: these bytes, as they are.
    raw: bytes | None = None
    content_type: str = "application/json"
    # Until somebody lets it go, or the client has gone.
    hangs: bool = False
    input_tokens: int = 1_000
    output_tokens: int = 100
    cache_write_tokens: int = 0
    cache_read_tokens: int = 0


@dataclass(frozen=True, slots=True)
class Request:
    """What was sent to us."""

    body: dict[str, Any]
    headers: dict[str, str]

    @property
    def model(self) -> str:
        """The model that was asked."""
        return str(self.body["model"])

    @property
    def system(self) -> str:
        """What it is told of its work."""
        return "".join(block["text"] for block in self.body.get("system", ()))

    @property
    def turns(self) -> list[str]:
        """What was said, theirs and ours in turn."""
        return [turn["content"] for turn in self.body["messages"]]

    @property
    def is_for_sql(self) -> bool:
        """Whether an answer in the form is asked for, and not words."""
        return "format" in self.body.get("output_config", {})


def sql(statement: str, reading: str = "Reads logs.", **more: Any) -> Reply:
    """Return a reply with SQL, in the form."""
    return form(kind="sql", sql=statement, reading=reading, **more)


def form(**fields: Any) -> Reply:
    """Return a reply in the form, with what is not said left empty."""
    empty: dict[str, Any] = {
        "kind": "sql",
        "sql": "",
        "reading": "",
        "assumptions": [],
        "since": "",
        "until": "",
    }
    return Reply(text=orjson.dumps(empty | fields).decode())


def error(status: int, kind: str, message: str = "as it was told to") -> Reply:
    """Return a reply that is an error of the API's."""
    body = {"type": "error", "error": {"type": kind, "message": message}}
    return Reply(status=status, raw=orjson.dumps(body))


OVERLOADED = error(529, "overloaded_error")
TOO_MANY = error(429, "rate_limit_error")
WRONG_KEY = error(401, "authentication_error", "invalid x-api-key")
REFUSAL = Reply(stop_reason="refusal")
CUT = replace(
    sql("SELECT 1"), text='{"kind": "sql", "sql": "SEL', stop_reason="max_tokens"
)


@dataclass
class FakeModel:
    """The server, from a thread of its own. `replies` are given one after the other."""

    url: str = ""
    replies: list[Reply] = field(default_factory=list)
    requests: list[Request] = field(default_factory=list)
    decide: Callable[[Request], Reply] | None = None
    _stop: asyncio.Event = field(default_factory=asyncio.Event)
    _numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    def will(self, *replies: Reply) -> None:
        """Forget what was, and answer with these from now on."""
        self.replies[:] = replies
        self.requests.clear()

    async def handle(self, http: web.Request) -> web.StreamResponse:
        """Answer a request."""
        request = Request(orjson.loads(await http.read()), dict(http.headers))
        self.requests.append(request)
        if self.decide is not None:
            reply = self.decide(request)
        elif self.replies:
            reply = self.replies.pop(0)
        else:
            reply = error(500, "api_error", "nobody said what to answer")
        if reply.hangs:
            await self._stop.wait()
        if reply.raw is not None:
            headers = {"Content-Type": reply.content_type, **SOON}
            return web.Response(status=reply.status, body=reply.raw, headers=headers)
        return web.json_response(self._message(request, reply))

    def _message(self, request: Request, reply: Reply) -> dict[str, Any]:
        content = [{"type": "text", "text": reply.text}] if reply.text else []
        return {
            "id": f"msg_{next(self._numbers)}",
            "type": "message",
            "role": "assistant",
            "model": request.model,
            "content": content,
            "stop_reason": reply.stop_reason,
            "stop_sequence": None,
            "usage": {
                "input_tokens": reply.input_tokens,
                "output_tokens": reply.output_tokens,
                "cache_creation_input_tokens": reply.cache_write_tokens,
                "cache_read_input_tokens": reply.cache_read_tokens,
            },
        }


@contextmanager
def fake_model() -> Iterator[FakeModel]:
    """Serve until the block ends."""
    model = FakeModel()
    loop = asyncio.new_event_loop()
    started = threading.Event()

    async def serve() -> None:
        application = web.Application()
        application.router.add_post("/v1/messages", model.handle)
        # Who hangs is not waited for.
        runner = web.AppRunner(application, shutdown_timeout=0)
        await runner.setup()
        try:
            site = web.TCPSite(runner, "127.0.0.1", 0)
            await site.start()
            host, port = runner.addresses[0][:2]
            model.url = f"http://{host}:{port}"
            started.set()
            await model._stop.wait()
        finally:
            await runner.cleanup()

    def run() -> None:
        with asyncio.Runner(loop_factory=lambda: loop) as runner:
            runner.run(serve())

    thread = threading.Thread(target=run, name="fake-model")
    thread.start()
    try:
        if not started.wait(PATIENCE_SECONDS):
            raise TimeoutError("the fake model did not start")
        yield model
    finally:
        loop.call_soon_threadsafe(model._stop.set)
        thread.join(PATIENCE_SECONDS)
