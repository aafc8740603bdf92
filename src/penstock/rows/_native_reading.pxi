# Included by _native.pyx: what times entries have.

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
    cdef int64_t size
    if number == INT64_MIN:
        return False  # its size is none that an int64_t has
    size = -number if number < 0 else number
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
