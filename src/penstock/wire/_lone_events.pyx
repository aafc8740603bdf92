# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
# cython: initializedcheck=False, freethreading_compatible=False
r"""Events that come one by one under one tag, as Docker sends them, taken together.

The compiled shortcut of what `messages.MessageReader` does with them one after another:
each is `[tag, time, record]` with the tag's own bytes, a time that is a number or an
EventTime, and no option or an empty one. Whatever is not so, or not all there, or
larger than a frame may be, is left where it stands: the reader takes it from there, so
the messages are the same with and without this file.

It must not look at what the record holds further than to find its end.
"""

from cpython.bytearray cimport PyByteArray_AS_STRING
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from libc.stdint cimport int8_t, int16_t, int32_t, int64_t
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcmp, memcpy

from penstock.wire.values import MAX_VALUES

include "_msgpack.pxi"

cdef enum:
    # Fewer values than levels that a frame may have: it need not be counted how deep
    # they nest (frames._ContainerSkipper).
    MOST_VALUES = 1000

cdef uint64_t _ANY_COUNT = <uint64_t>0xFFFFFFFF


cdef const uint8_t *end_of_time(const uint8_t *p, const uint8_t *end) noexcept nogil:
    """Return what is behind a time that is a number or an EventTime, else NULL."""
    cdef uint8_t first
    if p >= end:
        return NULL
    first = p[0]
    if not (first < 0x80 or 0xCA <= first <= 0xD3 or first == 0xD7):
        return NULL
    if end - p < _FIXED[first]:
        return NULL
    return p + _FIXED[first]


cdef bint has_marker(const uint8_t *p, const uint8_t *end) noexcept nogil:
    """As Message.is_lone_event: the seconds of a log group's marker may be in it."""
    cdef const uint8_t *last = p + 11 - 3  # of an entry's first 12 bytes, 0x92 is away
    if last > end - 3:
        last = end - 3
    while p <= last:
        if p[0] == 0xFF and p[1] == 0xFF and p[2] == 0xFF:
            return True
        p += 1
    return False


cdef const uint8_t *end_of_event(
    const uint8_t *p, const uint8_t *end, Py_ssize_t tag_size, Py_ssize_t max_bytes,
    const uint8_t **record_end
) noexcept nogil:
    """Return what is behind the event at `p` if it is a usual one, else NULL."""
    cdef const uint8_t *time = p + 1 + tag_size
    cdef const uint8_t *behind = end_of_time(time, end)
    cdef int64_t values = 0
    if behind == NULL:
        return NULL
    behind = skip(behind, end, _ANY_COUNT, &values)
    if behind == NULL or values > MOST_VALUES or has_marker(time, behind):
        return NULL
    record_end[0] = behind
    if p[0] == 0x94:
        if behind >= end or behind[0] != 0x80 and behind[0] != 0xC0:
            return NULL
        behind += 1
    return behind if behind - p <= max_bytes else NULL


cdef Py_ssize_t size_of_tag(const uint8_t *p, const uint8_t *end) noexcept nogil:
    """Return how many bytes a short str at `p` has with its head, 0 if it is none."""
    cdef Py_ssize_t size
    if end - p < 2:
        return 0
    if 0xA0 <= p[0] < 0xC0:
        size = 1 + (p[0] & 0x1F)
    elif p[0] == 0xD9:
        size = 2 + p[1]
    else:
        return 0
    return size if size <= end - p else 0


def take(
    bytearray buffer not None,
    Py_ssize_t start,
    Py_ssize_t most_frames,
    Py_ssize_t most_bytes,
    Py_ssize_t max_frame_bytes,
):
    """Take usual events from `start` on that have one tag.

    No event is begun once there are `most_frames`, or `most_bytes` of entries. Returns
    the tag as msgpack, the entries, how many they are, where they end, and whether
    another usual event stands there.
    """
    cdef const uint8_t *base = <const uint8_t *>PyByteArray_AS_STRING(buffer)
    cdef const uint8_t *end = base + len(buffer)
    cdef const uint8_t *p = base + start
    cdef const uint8_t *tag = p + 1
    cdef const uint8_t *behind
    cdef const uint8_t *record_end = NULL
    cdef uint8_t *out
    cdef Py_ssize_t tag_size, entry_size, frames = 0, size = 0, room
    if not 0 <= start <= len(buffer):
        raise ValueError("start")
    tag_size = size_of_tag(tag, end) if end - p > 2 else 0
    if not tag_size or p[0] != 0x93 and p[0] != 0x94:
        return b"", b"", 0, start, False
    # Entries are shorter than their messages.
    room = min(end - p, most_bytes + max_frame_bytes)
    entries = PyBytes_FromStringAndSize(NULL, room)
    out = <uint8_t *>PyBytes_AS_STRING(entries)
    while frames < most_frames and size < most_bytes and end - p > tag_size + 1:
        if p[0] != 0x93 and p[0] != 0x94 or memcmp(p + 1, tag, tag_size):
            break
        behind = end_of_event(p, end, tag_size, max_frame_bytes, &record_end)
        if behind == NULL:
            break
        entry_size = record_end - (p + tag_size)
        if size + entry_size > room:
            break
        out[size] = 0x92
        memcpy(out + size + 1, p + 1 + tag_size, entry_size - 1)
        size += entry_size
        frames += 1
        p = behind
    return (
        PyBytes_FromStringAndSize(<const char *>tag, tag_size),
        entries[:size],
        frames,
        p - base,
        is_another(p, end, max_frame_bytes),
    )


def stands_at(bytearray buffer not None, Py_ssize_t start, Py_ssize_t max_frame_bytes):
    """Tell whether a usual event stands at `start`."""
    cdef const uint8_t *base = <const uint8_t *>PyByteArray_AS_STRING(buffer)
    if not 0 <= start <= len(buffer):
        raise ValueError("start")
    return is_another(base + start, base + len(buffer), max_frame_bytes)


cdef bint is_another(
    const uint8_t *p, const uint8_t *end, Py_ssize_t max_frame_bytes
) noexcept nogil:
    """Tell whether a usual event stands at `p`, whatever its tag."""
    cdef const uint8_t *record_end
    cdef Py_ssize_t tag_size
    if end - p < 3 or p[0] != 0x93 and p[0] != 0x94:
        return False
    tag_size = size_of_tag(p + 1, end)
    return (
        tag_size > 0
        and end_of_event(p, end, tag_size, max_frame_bytes, &record_end) != NULL
    )
