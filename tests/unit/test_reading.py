"""Files that settings name: read whole; whatever they are, never waited for long."""

import os
import threading
from pathlib import Path

import pytest

from penstock import reading
from penstock.reading import read_file


@pytest.fixture(autouse=True)
def no_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "PIPE_SECONDS", 0.05)


def test_a_file_is_read_up_to_its_bound(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"x" * 200_000)
    assert read_file(str(file)) == b"x" * 200_000
    assert read_file(str(file), max_bytes=70_000) == b"x" * 70_000
    file.write_bytes(b"")
    assert read_file(str(file)) == b""


def test_what_is_neither_a_file_nor_a_pipe_is_refused(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="not a regular file"):
        read_file("/dev/zero")
    with pytest.raises(IsADirectoryError):
        read_file(str(tmp_path))


def test_a_pipe_that_nobody_writes_to_is_refused(tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    with pytest.raises(OSError, match="a pipe with nothing in it"):
        read_file(str(fifo))
    reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    writer = os.open(fifo, os.O_WRONLY)
    with pytest.raises(OSError, match="a pipe with nothing in it"):
        read_file(str(fifo))
    os.close(reader)
    os.close(writer)


def test_what_a_shell_puts_in_the_place_of_a_file_is_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As `--config <(...)` and `--config /dev/stdin` do."""
    monkeypatch.setattr(reading, "PIPE_SECONDS", 20)

    def write(end: int) -> None:
        os.write(end, b"a = 1\n")
        os.close(end)

    for is_written_before in (True, False):
        reader, writer = os.pipe()
        if is_written_before:
            write(writer)
        else:
            threading.Timer(0.05, write, [writer]).start()
        assert read_file(f"/dev/fd/{reader}") == b"a = 1\n"
        os.close(reader)
