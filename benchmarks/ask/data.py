"""The logs that are asked about: three days of a shop, the same each time.

They end at NOW, a Thursday, half past three in the afternoon in Seoul. What happens in
them: the provider toss fails for half an hour on Wednesday; checkout is deployed as
1.5.0 that evening and is slower since; somebody tries passwords from one address on
Tuesday night; web-3 stops on Wednesday. Some events lack a level or a service, and
search wrote its durations as text until Tuesday.
"""

import json
import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

NOW = datetime(2026, 3, 12, 6, 30, tzinfo=UTC)
START = datetime(2026, 3, 9, tzinfo=UTC)
TIME_ZONE = "Asia/Seoul"
OUTAGE = (datetime(2026, 3, 11, 4, 10, tzinfo=UTC), timedelta(minutes=30))
DEPLOYED = datetime(2026, 3, 11, 9, 0, tzinfo=UTC)
HOST_STOPPED = datetime(2026, 3, 11, 20, 0, tzinfo=UTC)
TEXT_UNTIL = datetime(2026, 3, 10, 12, 0, tzinfo=UTC)
ATTACK = (datetime(2026, 3, 10, 14, 0, tzinfo=UTC), timedelta(minutes=45))

COLUMNS = ("id", "ts", "tag", "level", "service", "host", "message", "attributes")
REJECTED_COLUMNS = ("received_at", "sender", "tag", "reason", "sqlstate", "raw")
MEAN_GAP_SECONDS = 22.0
SERVICES = ("checkout", "search", "catalog", "auth", "payment", "notifier")
WEIGHTS = (24, 26, 18, 12, 12, 8)
PATHS = {
    "checkout": ("/cart", "/cart/items", "/orders", "/orders/confirm"),
    "search": ("/search", "/suggest"),
    "catalog": ("/products", "/products/detail", "/categories"),
}
MEAN_MS = {"checkout": 120.0, "search": 45.0, "catalog": 30.0}

Row = tuple[Any, ...]


def logs() -> Iterator[Row]:
    """Yield the rows of `logs`, in the order of COLUMNS."""
    chance = random.Random(6)
    moment, number = START, 0
    while True:
        # Fewer at night in Seoul (17:00 to 23:00 UTC).
        slow = 2.5 if moment.hour >= 17 else 1.0
        gap = chance.expovariate(1 / (MEAN_GAP_SECONDS * slow))
        moment += timedelta(seconds=round(gap, 3) + 0.001)
        if moment >= NOW:
            return
        number += 1
        yield _event(chance, number, moment)
        if _within(moment, OUTAGE) and chance.random() < 0.7:
            number += 1
            yield _event(chance, number, moment + timedelta(milliseconds=1), "payment")
        if _within(moment, ATTACK) and chance.random() < 0.7:
            number += 1
            yield _failed_login(chance, number, moment + timedelta(milliseconds=1))


def rejected() -> Iterator[Row]:
    """Yield the rows of `rejected_event`, in the order of REJECTED_COLUMNS."""
    chance = random.Random(7)
    reasons = ("invalid_time", "record_not_a_map", "truncated_entry", "decompression")
    for number in range(48):
        received = START + timedelta(hours=1.6 * number, minutes=chance.randrange(60))
        sender = f"10.0.0.{1 + chance.randrange(4)}"
        reason = chance.choices(reasons, (5, 3, 2, 1))[0]
        yield received, sender, f"app.{SERVICES[number % 4]}", reason, None, b"\xc0"


def _event(
    chance: random.Random, number: int, moment: datetime, of: str | None = None
) -> Row:
    service = of or chance.choices(SERVICES, WEIGHTS)[0]
    host = _host(chance, service, moment)
    if service in PATHS:
        level, message, attributes = _request(chance, service, moment)
    elif service == "auth":
        level, message, attributes = _login(chance)
    elif service == "payment":
        level, message, attributes = _payment(chance, moment)
    else:
        level, message, attributes = _notification(chance)
    attributes["request_id"] = f"r-{number:06}"
    is_plain = chance.random() < 0.02  # a line of some program, without a level
    is_alone = chance.random() < 0.01  # and one that says not what it is
    return (
        number,
        moment,
        f"app.{service}",
        None if is_plain else level,
        None if is_alone else service,
        host,
        message,
        json.dumps(attributes),
    )


def _host(chance: random.Random, service: str, moment: datetime) -> str:
    if service in ("payment", "notifier"):
        return f"worker-{1 + chance.randrange(2)}"
    hosts = 3 if moment < HOST_STOPPED else 2
    return f"web-{1 + chance.randrange(hosts)}"


def _request(
    chance: random.Random, service: str, moment: datetime
) -> tuple[str, str, dict[str, Any]]:
    path = chance.choice(PATHS[service])
    method = "POST" if path in ("/orders", "/orders/confirm") else "GET"
    is_new = service == "checkout" and moment >= DEPLOYED
    mean = MEAN_MS[service] * (1.8 if is_new else 1.0)
    duration: float | str = round(chance.lognormvariate(0, 0.6) * mean, 1)
    draw = chance.random()
    bad = 0.03 if is_new else 0.012
    status = 500 if draw < bad else 503 if draw < bad * 1.4 else 0
    status = status or (404 if draw < 0.07 else 429 if draw < 0.08 else 200)
    slow = float(duration) > 4 * mean
    level = "ERROR" if status >= 500 else "WARN" if slow or status == 429 else "INFO"
    if level == "INFO" and chance.random() < 0.12:
        level = "DEBUG"
    attributes: dict[str, Any] = {
        "method": method,
        "path": path,
        "status": status,
        "duration_ms": duration,
        "user_id": chance.randrange(1, 160),
        "region": chance.choices(("kr", "jp", "us"), (6, 3, 1))[0],
        "customer": {"plan": chance.choices(("free", "pro", "team"), (6, 3, 1))[0]},
    }
    if service == "checkout":
        attributes["version"] = "1.5.0" if is_new else "1.4.0"
    if service == "search" and moment < TEXT_UNTIL:
        attributes["duration_ms"] = f"{duration}ms"
    if status >= 500:
        kind = chance.choice(("TimeoutError", "DatabaseError", "NullPointerException"))
        attributes["error"] = {"type": kind}
        return level, f"{method} {path} failed: {kind}", attributes
    words = "slow request" if slow else "request served"
    return level, f"{words} {method} {path}", attributes


def _login(chance: random.Random) -> tuple[str, str, dict[str, Any]]:
    event = chance.choices(("login", "logout", "failed_login"), (6, 3, 1))[0]
    user = chance.randrange(1, 160)
    country = chance.choices(("KR", "JP", "US", "DE"), (6, 2, 2, 1))[0]
    ip = f"203.0.113.{chance.randrange(1, 120)}"
    attributes = {"event": event, "user_id": user, "country": country, "ip": ip}
    level = "WARN" if event == "failed_login" else "INFO"
    return level, f"{event.replace('_', ' ')} of user {user}", attributes


def _failed_login(chance: random.Random, number: int, moment: datetime) -> Row:
    user = chance.randrange(1, 160)
    attributes = {
        "event": "failed_login",
        "user_id": user,
        "country": "NL",
        "ip": "198.51.100.66",
        "request_id": f"r-{number:06}",
    }
    message = f"failed login of user {user}"
    told = json.dumps(attributes)
    return number, moment, "app.auth", "WARN", "auth", "web-1", message, told


def _payment(
    chance: random.Random, moment: datetime
) -> tuple[str, str, dict[str, Any]]:
    provider = chance.choices(("toss", "kakaopay", "stripe"), (5, 3, 2))[0]
    currency = "USD" if provider == "stripe" else "KRW"
    unit = 1 if currency == "USD" else 1000
    attributes: dict[str, Any] = {
        "provider": provider,
        "amount": chance.randrange(5, 200) * unit,
        "currency": currency,
        "duration_ms": round(chance.lognormvariate(0, 0.5) * 300, 1),
        "order_id": chance.randrange(10_000, 99_999),
    }
    is_out = provider == "toss" and _within(moment, OUTAGE)
    if is_out or chance.random() < 0.02:
        attributes["error"] = {"type": "ProviderUnavailable" if is_out else "CardError"}
        attributes["result"] = "failed"
        level = "FATAL" if is_out and chance.random() < 0.3 else "ERROR"
        return level, f"payment by {provider} failed", attributes
    attributes["result"] = "paid"
    return "INFO", f"payment by {provider} done", attributes


def _notification(chance: random.Random) -> tuple[str, str, dict[str, Any]]:
    channel = chance.choices(("email", "sms", "push"), (5, 2, 3))[0]
    attempts = chance.choices((1, 2, 3), (12, 2, 1))[0]
    attributes = {
        "channel": channel,
        "attempts": attempts,
        "queue": {"depth": chance.randrange(0, 400)},
    }
    if attempts == 3:
        return "WARN", f"gave up sending {channel}: 100% of attempts failed", attributes
    return "INFO", f"sent {channel}", attributes


def _within(moment: datetime, window: tuple[datetime, timedelta]) -> bool:
    return window[0] <= moment < window[0] + window[1]
