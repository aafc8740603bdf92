# Included by _native.pyx: how msgpack values begin, where they end, what times they are.
# `skip` is where bytes of strangers are checked; all else reads what it has walked over.

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


cdef bint read_ext_time(const Head *head, int64_t *seconds, uint32_t *nanoseconds) noexcept nogil:
    """Read an EventTime or a msgpack Timestamp, as times.read_ext_time does."""
    cdef uint64_t packed
    if head.code == 0 and head.count == 8:
        seconds[0] = be32(head.body)
        nanoseconds[0] = be32(head.body + 4)
        return True
    if head.code != -1:
        return False
    if head.count == 4:
        seconds[0] = be32(head.body)
        nanoseconds[0] = 0
        return True
    if head.count == 8:
        packed = be64(head.body)
        seconds[0] = <int64_t>(packed & ((<uint64_t>1 << 34) - 1))
        nanoseconds[0] = <uint32_t>(packed >> 34)
        return True
    if head.count == 12:
        nanoseconds[0] = be32(head.body)
        seconds[0] = <int64_t>be64(head.body + 4)
        return True
    return False


cdef int read_time(Work *w) noexcept nogil:
    """Set the entry's microseconds, and whether its time is kept beside them."""
    cdef Head head
    cdef int64_t seconds, microseconds = 0
    cdef uint32_t nanoseconds
    cdef bint is_finer = False
    read_head(w.time, &head)
    if head.kind == T_EXT:
        if not read_ext_time(&head, &seconds, &nanoseconds):
            return ODD
        # A marker of a log group, perhaps; or too far away for the product.
        if seconds >= _GROUP_END_SECONDS and nanoseconds == 0:
            return ODD
        if seconds < -(<int64_t>1 << 42) or seconds > <int64_t>1 << 42:
            return ODD
        if seconds:
            microseconds = seconds * 1_000_000 + nanoseconds // 1000
    elif head.kind == T_INT:
        if head.is_large or not number_to_microseconds(head.integer, &microseconds):
            return ODD
        is_finer = fabs(<double>head.integer) >= _MILLISECONDS_FROM
    elif head.kind == T_FLOAT:
        if not float_to_microseconds(head.real, &microseconds):
            return ODD
        is_finer = fabs(head.real) >= _MILLISECONDS_FROM
    elif head.kind != T_NIL:
        return ODD
    if microseconds < _LEAST_MICROSECONDS:
        return ODD
    w.keeps_time = is_finer or microseconds == 0
    w.microseconds = microseconds
    return USUAL


cdef bint number_to_microseconds(int64_t number, int64_t *microseconds) noexcept nogil:
    """As times.microseconds_of_number, of an int."""
    cdef int64_t size = -number if number < 0 else number
    if size < 0:
        return False  # the least there is
    if size < _MILLISECONDS_FROM_INT:
        microseconds[0] = number * 1_000_000
    elif size < 1000 * _MILLISECONDS_FROM_INT:
        microseconds[0] = number * 1000
    elif size < 1_000_000 * _MILLISECONDS_FROM_INT:
        microseconds[0] = number
    else:  # nanoseconds; towards the past
        microseconds[0] = number / 1000 - (1 if number < 0 and number % 1000 else 0)
    return True


cdef bint float_to_microseconds(double number, int64_t *microseconds) noexcept nogil:
    """As times.microseconds_of_number, of a float."""
    cdef double size = fabs(number), factor
    if not isfinite(number):
        return False
    if size >= _NANOSECONDS_FROM:
        factor = 0.001
    elif size >= _MICROSECONDS_FROM:
        factor = 1.0
    else:
        factor = 1000.0 if size >= _MILLISECONDS_FROM else 1_000_000.0
    number = rint(number * factor)
    if not fabs(number) < 9.2e18:
        return False
    microseconds[0] = <int64_t>number
    return True
