"""The order that jsonb keeps an object's keys in.

PostgreSQL sorts them when it reads the text, by the length of their UTF-8 and then by
its bytes (jsonb_util.c, lengthCompareJsonbString); for text that is in that order a
look is enough. It owns the order, and must not know what the keys mean.
"""

from collections.abc import Iterable
from typing import Any

from penstock.rows.plain import MAX_DEPTH

# The order of keys that come again and again is kept. The bounds are for senders whose
# keys never do.
KEPT_ORDERS = 4096
_KEPT_KEYS = 64
_KEPT_CHARACTERS = 512

Orders = dict[tuple[Any, ...], tuple[str, ...]]


def in_jsonb_order(value: Any, orders: Orders, depth: int = 1) -> Any:
    """Return a value whose objects have their keys in jsonb's order, at each level.

    `orders` keeps what was found for the next time. `depth` is 1 for a record itself.

    Raises:
        AttributeError: a key that is no str.
        ValueError: a key that UTF-8 cannot write, or more levels than are written.
    """
    if depth > MAX_DEPTH:
        raise ValueError("more levels than are written")
    if type(value) is list:
        for at, item in enumerate(value):
            if type(item) is dict or type(item) is list:
                value[at] = in_jsonb_order(item, orders, depth + 1)
        return value
    if type(value) is not dict:
        return value
    keys = tuple(value)
    order = orders.get(keys) or _order_of(keys, orders)
    ordered: dict[str, Any] = {}
    for key in order:
        item = value[key]
        if type(item) is dict or type(item) is list:
            item = in_jsonb_order(item, orders, depth + 1)
        ordered[key] = item
    return ordered


def sorted_keys(keys: Iterable[str]) -> list[str]:
    """Return keys in jsonb's order."""
    # Code points have the order that their UTF-8 has.
    return sorted(keys, key=lambda key: (len(key.encode()), key))


def _order_of(keys: tuple[Any, ...], orders: Orders) -> tuple[str, ...]:
    order = tuple(sorted_keys(keys))
    if len(keys) <= _KEPT_KEYS and sum(map(len, keys)) <= _KEPT_CHARACTERS:
        if len(orders) >= KEPT_ORDERS:
            orders.clear()
        orders[keys] = order
    return order
