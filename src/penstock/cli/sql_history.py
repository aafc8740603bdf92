"""The statements somebody has typed at the prompt, kept for the next time.

It owns the file and who may read it: what people ask holds names and addresses.
"""

import os
from pathlib import Path

import click
import platformdirs
from prompt_toolkit.history import FileHistory, History, InMemoryHistory

FILE = "sql_history"
OWNER_ONLY = 0o600


def history_file() -> Path:
    """Return where the history is kept."""
    return Path(platformdirs.user_state_dir("penstock"), FILE)


def open_history() -> History:
    """Return the history of this user; of this prompt only, where none can be kept."""
    path = history_file()
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        opened = os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, OWNER_ONLY)
        try:
            os.fchmod(opened, OWNER_ONLY)  # also one that was there before
        finally:
            os.close(opened)
    except OSError as error:
        click.echo(f"penstock: {path}: {error.strerror}; no history is kept", err=True)
        return InMemoryHistory()
    return FileHistory(path)
