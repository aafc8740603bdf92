"""Small disks for tests, and filling them: file systems in memory, mounted by root."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

Mount = Callable[[int], Path]


@contextmanager
def mounting() -> Iterator[Mount]:
    """Yield what makes small file systems; they are gone after the block."""
    with ExitStack() as stack:

        def mount_one(size_bytes: int) -> Path:
            if os.geteuid() or not shutil.which("mount"):
                pytest.fail(
                    "a full disk is made by mounting a tmpfs: run this as root, where"
                    " mount is"
                )
            path = Path(tempfile.mkdtemp(prefix="penstock-disk-")).resolve()
            stack.callback(path.rmdir)
            mounted = subprocess.run(
                ["mount", "-t", "tmpfs", "-o", f"size={size_bytes}", "tmpfs", path],
                capture_output=True,
                text=True,
            )
            if mounted.returncode:
                pytest.fail(f"no tmpfs can be mounted here: {mounted.stderr.strip()}")
            stack.callback(lambda: subprocess.run(["umount", "-l", path], check=True))
            path.chmod(0o755)  # PostgreSQL's own user passes
            return path

        yield mount_one


def fill(disk: Path, left_bytes: int) -> Path:
    """Leave so much room on a disk; removing the file gives the rest back."""
    ballast = disk / "ballast"
    with ballast.open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, shutil.disk_usage(disk).free - left_bytes)
    return ballast
