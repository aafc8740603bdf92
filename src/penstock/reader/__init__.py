"""Reading what is stored, as a role that can do nothing else, within limits.

    limits.py       what a session is told at its start; which error a limit ends with
    decoding.py     values that Python's types do not hold, as PostgreSQL's own text
    counting.py     the bytes that PostgreSQL sends, and when they are too many
    failures.py     PostgreSQL's errors in a line for a person
    session.py      the session itself

It must not know where a statement comes from, nor judge it: `ask/guard.py` does.
"""

from penstock.reader.session import Rows, Session, open_session

__all__ = ["Rows", "Session", "open_session"]
