"""Large blocks are taken from memory that is there, where the C library is glibc."""

import ctypes
import platform
import subprocess
import sys
from unittest import mock

import pytest

from penstock.allocation import keep_large_blocks

# Blocks as a part of a message is: how many pages the kernel has to clear for them.
FAULTS = """
import resource, sys
from penstock.allocation import keep_large_blocks
if sys.argv[1] == "kept":
    assert keep_large_blocks()
block = b"x" * 600_000
blocks = [block + block for _ in range(2)]
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(100):
    blocks = [block + block for _ in range(2)]
    del blocks
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(how: str) -> int:
    ended = subprocess.run(
        [sys.executable, "-c", FAULTS, how],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    return int(ended.stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="glibc's own setting")
def test_blocks_that_are_freed_are_used_again_without_the_kernel() -> None:
    pages_of_all = 100 * 2 * 1_200_000 // 4096
    assert faults("kept") < pages_of_all // 20


def test_another_c_library_is_left_as_it_is() -> None:
    with mock.patch.object(ctypes, "CDLL", return_value=object()):
        assert not keep_large_blocks()
    with mock.patch.object(ctypes, "CDLL", side_effect=OSError):
        assert not keep_large_blocks()
