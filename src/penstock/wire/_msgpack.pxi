# How msgpack values begin and where they end: shared by wire/_lone_events.pyx and
# rows/_native.pyx. `skip` is where bytes of strangers are checked, all else reads what
# it has walked over. Source: the msgpack specification, "Formats".

cdef extern from "_bytes.h" nogil:
    uint16_t be16(const uint8_t *p)
    uint32_t be32(const uint8_t *p)
    uint64_t be64(const uint8_t *p)
    double be_double(const uint8_t *p)
    double be_float(const uint8_t *p)

cdef int64_t _MAX_VALUES = MAX_VALUES

# msgpack's first bytes. Of values without further ones: how many bytes they have, 0
# for those with a length, 255 for the one that is none.
cdef uint8_t[256] _FIXED
cdef int _first
for _first in range(256):
    if _first < 0x80 or _first >= 0xE0 or _first in (0xC0, 0xC2, 0xC3):
        _FIXED[_first] = 1
    elif 0xA0 <= _first < 0xC0:
        _FIXED[_first] = 1 + (_first & 0x1F)
    elif _first == 0xC1:
        _FIXED[_first] = 255
    else:
        _FIXED[_first] = {
            0xCA: 5, 0xCB: 9, 0xCC: 2, 0xCD: 3, 0xCE: 5, 0xCF: 9, 0xD0: 2, 0xD1: 3,
            0xD2: 5, 0xD3: 9, 0xD4: 3, 0xD5: 4, 0xD6: 6, 0xD7: 10, 0xD8: 18,
        }.get(_first, 0)  # fmt: skip

# How a value begins.
cdef enum:
    T_NIL, T_BOOL, T_INT, T_FLOAT, T_STR, T_BIN, T_ARRAY, T_MAP, T_EXT

cdef struct Head:
    int kind
    int64_t integer  # an int's value, as uint64_t where `is_large`
    bint is_large
    double real
    const uint8_t *body  # of a str, bin or ext; of the elements
    uint64_t count  # its bytes; elements of an array, pairs of a map
    int code  # of an ext


cdef inline const uint8_t *read_head(const uint8_t *p, Head *head) noexcept nogil:
    """Read how a value begins that `skip` has walked over; return what is behind."""
    cdef uint8_t first = p[0]
    head.is_large = False
    if first < 0x80:
        head.kind = T_INT
        head.integer = first
        return p + 1
    if first >= 0xE0:
        head.kind = T_INT
        head.integer = <int64_t>first - 0x100
        return p + 1
    if first >= 0xA0 and first < 0xC0:
        head.kind = T_STR
        head.count = first & 0x1F
        head.body = p + 1
        return head.body + head.count
    if first < 0x90:
        head.kind = T_MAP
        head.count = first & 0x0F
        head.body = p + 1
        return head.body
    if first < 0xA0:
        head.kind = T_ARRAY
        head.count = first & 0x0F
        head.body = p + 1
        return head.body
    if first == 0xD9:
        head.kind = T_STR
        head.count = p[1]
        head.body = p + 2
        return head.body + head.count
    return read_long_head(p, first, head)


cdef const uint8_t *read_long_head(
    const uint8_t *p, uint8_t first, Head *head
) noexcept nogil:
    cdef uint64_t large
    p += 1
    if first == 0xC0:
        head.kind = T_NIL
        return p
    if first == 0xC2 or first == 0xC3:
        head.kind = T_BOOL
        head.integer = first & 1
        return p
    if first >= 0xCA and first <= 0xD3:
        head.kind = T_INT
        if first == 0xCA:
            head.kind = T_FLOAT
            head.real = be_float(p)
            return p + 4
        if first == 0xCB:
            head.kind = T_FLOAT
            head.real = be_double(p)
            return p + 8
        if first == 0xCC:
            head.integer = p[0]
            return p + 1
        if first == 0xCD:
            head.integer = be16(p)
            return p + 2
        if first == 0xCE:
            head.integer = be32(p)
            return p + 4
        if first == 0xCF:
            large = be64(p)
            head.integer = <int64_t>large
            head.is_large = large > <uint64_t>0x7FFFFFFFFFFFFFFF
            return p + 8
        if first == 0xD0:
            head.integer = <int8_t>p[0]
            return p + 1
        if first == 0xD1:
            head.integer = <int16_t>be16(p)
            return p + 2
        if first == 0xD2:
            head.integer = <int32_t>be32(p)
            return p + 4
        head.integer = <int64_t>be64(p)
        return p + 8
    if first >= 0xD4 and first <= 0xD8:
        head.kind = T_EXT
        head.count = <uint64_t>1 << (first - 0xD4)
        head.code = <int8_t>p[0]
        head.body = p + 1
        return head.body + head.count
    return read_sized_head(p, first, head)


cdef const uint8_t *read_sized_head(
    const uint8_t *p, uint8_t first, Head *head
) noexcept nogil:
    """Read a length of one, two or four bytes, and what has it."""
    cdef int width
    if first == 0xDC or first == 0xDD:
        head.kind = T_ARRAY
        width = 2 << (first - 0xDC)
    elif first == 0xDE or first == 0xDF:
        head.kind = T_MAP
        width = 2 << (first - 0xDE)
    elif first >= 0xD9:
        head.kind = T_STR
        width = 1 << (first - 0xD9)
    elif first >= 0xC7:
        head.kind = T_EXT
        width = 1 << (first - 0xC7)
    else:
        head.kind = T_BIN
        width = 1 << (first - 0xC4)
    head.count = p[0] if width == 1 else be16(p) if width == 2 else be32(p)
    head.body = p + width
    if head.kind == T_EXT:
        head.code = <int8_t>head.body[0]
        head.body += 1
    if head.kind == T_ARRAY or head.kind == T_MAP:
        return head.body
    return head.body + head.count


cdef const uint8_t *skip(
    const uint8_t *p, const uint8_t *end, uint64_t max_map_keys, int64_t *values
) noexcept nogil:
    """Return what is behind a value; NULL if it is not all there, or too much.

    Adds up `values`, which are too many past the definition's limit.
    """
    cdef uint64_t pending = 1, count
    cdef uint8_t first, fixed
    cdef Head head
    while pending:
        pending -= 1
        values[0] += 1
        if p >= end:
            return NULL
        first = p[0]
        fixed = _FIXED[first]
        if fixed and fixed != 255:
            if end - p < fixed:
                return NULL
            p += fixed
            continue
        if fixed == 255 or values[0] > _MAX_VALUES:
            return NULL
        if end - p < header_bytes(first):
            return NULL
        p = read_head(p, &head)
        if head.kind == T_MAP or head.kind == T_ARRAY:
            count = head.count
            if head.kind == T_MAP:
                if count > max_map_keys:
                    return NULL
                count *= 2
            pending += count
            # Each takes a byte at least.
            if pending > <uint64_t>(end - p):
                return NULL
        elif head.count > <uint64_t>(end - head.body):
            return NULL
    return p


cdef inline int header_bytes(uint8_t first) noexcept nogil:
    """Return how many bytes say what a value of any length is, 0xc1 and fixed ones aside."""
    if first < 0xA0:
        return 1
    if first == 0xC4 or first == 0xD9:
        return 2
    if first == 0xC5 or first == 0xDA or first == 0xDC or first == 0xDE:
        return 3
    if first == 0xC7:
        return 3
    if first == 0xC8:
        return 4
    if first == 0xC9:
        return 6
    return 5
