"""How the C library's allocator treats large blocks, in a process that receives.

It owns that setting. A part of a message, its rows and what a socket was read into are
made and freed thousands of times a second, each of some hundred kilobytes. glibc maps
blocks of 128 KiB and more anew each time, and gives back what is free at the end of its
heap: the kernel then clears the same pages over and over. That was an eighth of our CPU
where PackedForward comes as fast as it can. So they stay in the heap, from where the
next one is taken.
"""

import ctypes

# glibc's malloc.h, mallopt(3).
_M_TRIM_THRESHOLD = -1
_M_MMAP_THRESHOLD = -3
# glibc takes no more than this; a larger block is a large message, and is rare.
LARGE_BLOCK_BYTES = 32 * 1024 * 1024
# What is kept when it is free: two of the batches that writers have in hand. It is part
# of what a process takes beside its ring.
KEPT_BYTES = 16 * 1024 * 1024


def keep_large_blocks() -> bool:
    """Have large blocks come from memory that is ours; return False if it cannot be.

    Other C libraries have other allocators: they do without.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return False
    return bool(
        mallopt(_M_MMAP_THRESHOLD, LARGE_BLOCK_BYTES)
        and mallopt(_M_TRIM_THRESHOLD, KEPT_BYTES)
    )
