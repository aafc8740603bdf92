"""Files that are named in the settings, read whole, and none that may never end.

It owns what kind of file that may be. A reload must not wait for ever for the other end
of a pipe, nor read a device. It must not know what is in a file.
"""

import errno
import os
import select
import stat

# A pipe as `--config <(...)` gives it. What writes to it has begun with us; who has
# nothing to say for so long never will.
PIPE_SECONDS = 5.0
_PIECE_BYTES = 64 * 1024


def read_file(name: str, *, max_bytes: int | None = None) -> bytes:
    """Return what is in a regular file, or a pipe, up to `max_bytes` of it.

    Raises:
        OSError: it cannot be read, or is neither.
        ValueError: no file can have such a name.
    """
    # Or a FIFO that nobody writes to keeps us in open(2), where no signal is heard.
    opened = os.open(name, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        mode = os.fstat(opened).st_mode
        is_pipe = stat.S_ISFIFO(mode)
        if stat.S_ISDIR(mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        if not (is_pipe or stat.S_ISREG(mode)):
            raise OSError(errno.EINVAL, "not a regular file")
        content = b"".join(_pieces(opened, max_bytes, is_pipe=is_pipe))
    finally:
        os.close(opened)
    if is_pipe and not content:
        raise OSError(errno.EINVAL, "a pipe with nothing in it; it is read only once")
    return content


def _pieces(opened: int, max_bytes: int | None, *, is_pipe: bool) -> list[bytes]:
    pieces: list[bytes] = []
    read_bytes = 0
    while max_bytes is None or read_bytes < max_bytes:
        if is_pipe and not select.select([opened], [], [], PIPE_SECONDS)[0]:
            break
        most = _PIECE_BYTES if max_bytes is None else max_bytes - read_bytes
        if not (piece := os.read(opened, most)):
            break
        pieces.append(piece)
        read_bytes += len(piece)
    return pieces
