# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
# cython: initializedcheck=False, freethreading_compatible=False
r"""Packed entries to binary COPY tuples in one pass, without a Python object for each.

The compiled twin of `reference`: what it writes is the same to the byte, held so by
tests/property/test_native_property.py. It parses what strangers send, so it has one
shape, and here it is; the steps are in the files that are included below, in their
order.

`Encoder.encode` takes a part's bytes and goes entry by entry, the GIL released. Each is
met twice. `scan_entry` walks over it and checks that all of it is there: it finds
where the entry ends, what its time is, and where the values of the record's own keys
begin. Only after it has said USUAL is anything written, and only what it has walked
over is read: `write_row` need not look for the end. First `choose_columns` decides
which values leave the record for columns; then the row is written behind the others,
the keys of its JSON in jsonb's order, as key_order.py. `scan_map` brings each map's keys
into it; keys that came before in the same order are a `Shape`, which says where each goes.

An entry that this file has no answer for is ODD: encoding ends before it, nothing of it
is written, and `stream` reads it the careful way. Odd are: what is rejected, the markers
of log groups, more elements than two, times out of range, a record that has a key which
something is put beside it under. All else is done here: every type of value and of key, a
key that comes twice, bytes that are no UTF-8, NUL, nesting as deep as it may be, metadata,
groups, times in finer units or missing.

Memory: `Work.out` and `Work.keys` grow as is needed and are given back when a part was
large. No length that a sender declares is trusted: `skip` and `scan_value` compare each
with what is there. Nothing recurses but `scan_value` and `write_value`, at most
`MAX_DEPTH` deep.

It must not cut a message into parts, count limits, nor decide what is rejected.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from cpython.exc cimport PyErr_Clear
from cpython.mem cimport PyMem_Free
from libc.math cimport fabs, isfinite, isnan, rint
from libc.stdint cimport INT64_MIN, int8_t, int16_t, int32_t, int64_t
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, realloc
from libc.string cimport memcmp, memcpy, memset

import orjson

from penstock.rows.columns import level_spellings
from penstock.rows.copy_format import COLUMNS, RECEIVER_BITS
from penstock.rows.entries import GROUP_KEY, METADATA_KEY, TIME_KEY
from penstock.rows.plain import MAX_DEPTH
from penstock.rows.times import (
    DAY_MICROSECONDS,
    GROUP_END_SECONDS,
    MILLISECONDS_FROM,
    PG_EPOCH_MICROSECONDS,
)
from penstock.wire.values import MAX_VALUES

cdef extern from "Python.h":
    char *PyOS_double_to_string(double, char, int, int, int *)

cdef extern from "_native_text.h" nogil:
    int MOST_JSON_BYTES, MOST_TEXT_BYTES
    int needs_mending(const uint8_t *p, size_t n)
    int STRIDE
    uint8_t *put_text(
        uint8_t *o, const uint8_t *p, size_t n, const uint8_t *limit, int is_json
    )
    int is_mostly_text(const uint8_t *p, size_t n)
    size_t BASE64_BYTES(size_t n)
    uint8_t *put_base64(uint8_t *o, const uint8_t *p, size_t n)
    uint8_t *put_u64(uint8_t *o, uint64_t number)
    uint8_t *put_short_double(uint8_t *o, double number)
    uint8_t *put_rfc3339(uint8_t *o, int64_t seconds, uint32_t nanoseconds)
    uint32_t hash_bytes(const uint8_t *p, size_t n)
    void put_be16(uint8_t *o, uint16_t v)
    void put_be32(uint8_t *o, uint32_t v)
    void put_be64(uint8_t *o, uint64_t v)

include "../wire/_msgpack.pxi"
include "_native_types.pxi"
include "_native_reading.pxi"
include "_native_scanning.pxi"
include "_native_columns.pxi"
include "_native_writing.pxi"
include "_native_values.pxi"


cdef struct Part:
    size_t offset
    size_t window_end
    size_t step_bytes
    int64_t most
    int64_t rows
    int64_t next_id
    int64_t now
    int64_t beside_left_bytes
    int64_t part_beside_left_bytes
    const uint8_t *tag
    size_t tag_bytes
    const uint8_t *end  # of the entry that comes next, if it is known
    int64_t days[MOST_DAYS]
    int day_count


cdef int encode_entries(Work *w, Part *part) noexcept nogil:
    """Write rows up to the first entry that is odd, or ends behind the window."""
    cdef int outcome
    cdef size_t size
    cdef int64_t beside_bytes
    cdef const uint8_t *end
    part.end = NULL
    while (
        part.offset < part.window_end
        and part.rows < part.most
        and part.part_beside_left_bytes > 0
    ):
        w.number += 1
        outcome = scan_entry(w, w.data + part.offset, &end)
        if w.has_no_memory:
            return NO_MEMORY
        if outcome == USUAL and part.rows == 0 and part.step_bytes:
            lengthen(w, part, end - w.data)
        if outcome != USUAL or end > w.data + part.window_end:
            part.end = end
            return USUAL
        beside_bytes = w.group_bytes
        if w.own_metadata == NULL:
            beside_bytes += w.metadata_bytes
        size = w.size
        if beside_bytes > part.beside_left_bytes or not note_day(w, part):
            outcome = ODD
        else:
            outcome = write_row(w, part.next_id, part.now, part.tag, part.tag_bytes)
        if outcome != USUAL:
            w.size = size
            part.end = end
            return NO_MEMORY if w.has_no_memory else USUAL
        part.beside_left_bytes -= beside_bytes
        part.part_beside_left_bytes -= beside_bytes
        part.rows += 1
        part.next_id += _ID_STEP
        part.offset = end - w.data
    return USUAL


cdef void lengthen(const Work *w, Part *part, size_t end) noexcept nogil:
    """Make the window longer by steps until the first entry ends in it."""
    if end > part.window_end:
        part.window_end = (end - 1) / part.step_bytes * part.step_bytes + part.step_bytes
        if part.window_end > <size_t>(w.end - w.data):
            part.window_end = w.end - w.data


cdef bint note_day(const Work *w, Part *part) noexcept nogil:
    """Note the day of the entry's time; False if there is no room for one more."""
    cdef int64_t time = part.now if w.microseconds == 0 else w.microseconds
    cdef int64_t day = time / _DAY - (1 if time % _DAY < 0 else 0)
    cdef int number = part.day_count - 1
    while number >= 0:
        if part.days[number] == day:
            return True
        number -= 1
    if part.day_count == MOST_DAYS:
        return False
    part.days[part.day_count] = day
    part.day_count += 1
    return True


cdef const uint8_t *bytes_of(bytes text) noexcept:
    return <const uint8_t *>PyBytes_AS_STRING(text)


cdef class Encoder:
    """Encodes plain entries by one mapping of columns; one for each process.

    `columns` are the paths of level, service, host and message, in their order.

    Raises:
        ValueError: a path that is not one of those that are looked for here.
    """

    cdef Work w
    cdef list _texts  # holds what pointers point to
    cdef Level[256] _levels
    cdef int[64] _level_numbers
    cdef uint8_t[16 * 8] _labels
    cdef bint _is_busy

    def __cinit__(self, columns):
        memset(&self.w, 0, sizeof(Work))
        memset(self._levels, 0, sizeof(self._levels))
        memset(self._labels, 0, sizeof(self._labels))
        self._texts = []
        self.w.shapes = <Shape *>calloc(SHAPES, sizeof(Shape))
        if self.w.shapes == NULL:
            raise MemoryError
        self._set_levels()
        self._set_paths(columns)
        self.w.levels = self._levels
        self.w.level_numbers = self._level_numbers
        self.w.labels = self._labels

    def __dealloc__(self):
        free(self.w.out)
        free(self.w.keys)
        free(self.w.made)
        free(self.w.shapes)
        free(self.w.names)
        free(self.w.name_table)
        free(self.w.paths)
        free(self.w.every_path)

    cdef int _set_levels(self) except -1:
        cdef uint32_t at
        cdef uint64_t low, high
        cdef uint8_t[LONGEST_LEVEL] lower
        spellings = level_spellings()
        labels = sorted(set(spellings.values()))
        for number, label in enumerate(labels):
            text = label.encode()
            self._labels[16 * number] = len(text)
            memcpy(&self._labels[16 * <int>number + 1], bytes_of(text), len(text))
        for number in range(64):
            self._level_numbers[number] = (
                labels.index(spellings[number]) if number in spellings else -1
            )
        known = {str(name).lower(): label for name, label in spellings.items()}
        assert len(known) < 128
        for name, label in known.items():
            text = name.encode()
            memset(lower, 0, LONGEST_LEVEL)
            memcpy(lower, bytes_of(text), len(text))
            memcpy(&low, lower, 8)
            memcpy(&high, lower + 8, 8)
            at = level_slot(low, high)
            while self._levels[at].is_used:
                at = (at + 1) & 255
            self._levels[at].is_used = True
            self._levels[at].low = low
            self._levels[at].high = high
            self._levels[at].bytes = len(text)
            self._levels[at].label = labels.index(label)
        return 0

    cdef int _set_paths(self, columns) except -1:
        cdef Path *path
        cdef int depth, count = 0
        numbers = {key: at for at, key in enumerate((TIME_KEY, METADATA_KEY, GROUP_KEY))}
        paths = [
            (number, text.split(".")) for number, texts in enumerate(columns) for text in texts
        ]
        for number, parts in paths:
            if len(parts) > MOST_PARTS or "\\" in "".join(parts) or "\0" in "".join(parts):
                raise ValueError(".".join(parts))
            for name in (".".join(parts), parts[0]):
                numbers.setdefault(name, len(numbers))
            if parts[0].startswith("_") and parts[0].rstrip("_") in (
                TIME_KEY, METADATA_KEY, GROUP_KEY,
            ):
                self.w.columns_beside = True
        self._set_names(numbers)
        if len(paths) >= 1 << 15 or len(numbers) >= 1 << 15:
            raise ValueError("very many paths")
        self.w.paths = <Path *>realloc(NULL, (len(paths) + 1) * sizeof(Path))
        self.w.every_path = <uint16_t *>realloc(NULL, (len(paths) + 1) * 2)
        if self.w.paths == NULL or self.w.every_path == NULL:
            raise MemoryError
        for number, parts in paths:
            path = &self.w.paths[count]
            self.w.every_path[count] = count
            self.w.paths_of[number + 1] = count + 1
            path.parts = len(parts)
            path.whole = numbers[".".join(parts)]
            path.head = numbers[parts[0]]
            self.w.names[path.whole].columns |= 1 << number
            if len(parts) > 1:
                self.w.names[path.head].columns |= 1 << number
            for depth in range(path.parts):
                rest = ".".join(parts[depth:]).encode()
                self._texts.append(rest)
                path.rest[depth] = bytes_of(rest)
                path.rest_bytes[depth] = len(rest)
                path.head_bytes[depth] = len(parts[depth].encode())
            count += 1
        for depth in range(1, COLUMNS_TAKEN + 1):  # of a column that has none
            if self.w.paths_of[depth] < self.w.paths_of[depth - 1]:
                self.w.paths_of[depth] = self.w.paths_of[depth - 1]
        return 0

    cdef int _set_names(self, dict numbers) except -1:
        cdef uint32_t at, size = 64
        cdef Name *name
        while size < 4 * len(numbers):
            size *= 2
        self.w.names = <Name *>realloc(NULL, len(numbers) * sizeof(Name))
        self.w.name_table = <uint32_t *>realloc(NULL, size * sizeof(uint32_t))
        if self.w.names == NULL or self.w.name_table == NULL:
            raise MemoryError
        memset(self.w.names, 0, len(numbers) * sizeof(Name))
        memset(self.w.name_table, 0, size * sizeof(uint32_t))
        self.w.name_mask = size - 1
        for key, number in numbers.items():
            text = key.encode()
            self._texts.append(text)
            name = &self.w.names[number]
            name.text = bytes_of(text)
            name.bytes = len(text)
            name.hash = hash_bytes(name.text, name.bytes)
            name.is_ours = key in (TIME_KEY, METADATA_KEY, GROUP_KEY)
            at = name.hash & self.w.name_mask
            while self.w.name_table[at]:
                at = (at + 1) & self.w.name_mask
            self.w.name_table[at] = number + 1
        return 0

    def encode(
        self,
        bytes entries not None,
        Py_ssize_t offset,
        Py_ssize_t window_end,
        Py_ssize_t step_bytes,
        Py_ssize_t most,
        bytes tag not None,
        int64_t next_id,
        int64_t now_microseconds,
        bytes metadata,
        bytes group,
        int64_t beside_left_bytes,
        int64_t part_beside_left_bytes,
        Py_ssize_t max_map_keys,
    ):
        """Write rows from `offset` on, up to the first entry that is odd.

        `tag` is the field of its column. Returns the tuples, how many they are, their
        days, where encoding ended, where the entry ends that is then the next (0 if that
        is not known), how many bytes were written that stood beside the entries, and where
        the window ends if the first entry has made it longer, by steps of `step_bytes`
        (0: none may).
        """
        cdef Part part
        cdef int outcome
        cdef Work *w = &self.w
        if self._is_busy or not 0 <= offset <= window_end <= len(entries):
            raise ValueError("one part at a time, and within its entries")
        memset(&part, 0, sizeof(part))
        part.offset = offset
        part.window_end = window_end
        part.step_bytes = step_bytes
        part.most = most
        part.next_id = next_id
        part.now = now_microseconds
        part.beside_left_bytes = beside_left_bytes
        part.part_beside_left_bytes = part_beside_left_bytes
        part.tag = bytes_of(tag)
        part.tag_bytes = len(tag)
        w.data = bytes_of(entries)
        w.end = w.data + len(entries)
        w.max_map_keys = max_map_keys
        w.metadata = NULL if metadata is None else bytes_of(metadata)
        w.metadata_bytes = 0 if metadata is None else len(metadata)
        w.group = NULL if group is None else bytes_of(group)
        w.group_bytes = 0 if group is None else len(group)
        w.size = 0
        w.has_no_memory = False
        self._is_busy = True
        with nogil:
            outcome = encode_entries(w, &part)
        self._is_busy = False
        if outcome != USUAL:
            self._give_back()
            raise MemoryError("no memory to encode entries")
        data = PyBytes_FromStringAndSize(<char *>w.out, w.size) if w.size else b""
        # No comprehension: without memory Cython's lets go of an item twice.
        days = []
        for number in range(part.day_count):
            days.append(part.days[number])
        if (
            w.capacity > OUT_KEPT_BYTES
            or w.keys_capacity > KEPT_KEYS
            or w.made_capacity > OUT_KEPT_BYTES
        ):
            self._give_back()
        return (
            data,
            part.rows,
            days,
            part.offset,
            part.end - w.data if part.end != NULL else 0,
            beside_left_bytes - part.beside_left_bytes,
            part.window_end if <Py_ssize_t>part.window_end != window_end else 0,
        )

    cdef void _give_back(self) noexcept:
        free(self.w.out)
        free(self.w.keys)
        free(self.w.made)
        self.w.out = self.w.made = NULL
        self.w.keys = NULL
        self.w.capacity = self.w.keys_capacity = self.w.made_capacity = 0
