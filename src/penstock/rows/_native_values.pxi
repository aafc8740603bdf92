# Included by _native.pyx: keys and single values as JSON, as plain.py and orjson.

cdef int write_key(Work *w, const uint8_t **at) noexcept nogil:
    """Write a nested map's key in its quotes and move behind it: plain._read_key."""
    cdef Head head
    cdef const uint8_t *p = at[0]
    cdef uint8_t *o
    cdef int64_t values = 0
    cdef int outcome
    at[0] = read_head(p, &head)
    if head.kind == T_STR or head.kind == T_BIN:
        o = reserve(w, MOST_JSON_BYTES * head.count + 2 + STRIDE)
        if o == NULL:
            return NO_MEMORY
        o[0] = c'"'
        o = put_text(o + 1, head.body, head.count, w.end, 1)
        o[0] = c'"'
        w.size = o + 1 - w.out
        return USUAL
    if head.kind == T_MAP or head.kind == T_ARRAY:
        at[0] = skip(p, w.end, w.max_map_keys, &values)
        return write_opaque(w, p, at[0])
    if head.kind == T_EXT or (head.kind == T_FLOAT and not isfinite(head.real)):
        return write_scalar(w, p, &head, at[0])
    if not put_byte(w, c'"'):
        return NO_MEMORY
    if head.kind == T_INT:
        outcome = write_integer(w, &head)
    else:
        outcome = write_scalar(w, p, &head, at[0])
    if outcome == USUAL and not put_byte(w, c'"'):
        return NO_MEMORY
    return outcome


cdef int write_scalar(
    Work *w, const uint8_t *p, const Head *head, const uint8_t *end
) noexcept nogil:
    """Write what is no text, no int and no container."""
    cdef bint is_done = True
    if head.kind == T_NIL:
        is_done = put(w, <const char *>b"null", 4)
    elif head.kind == T_BOOL:
        if head.integer:
            is_done = put(w, <const char *>b"true", 4)
        else:
            is_done = put(w, <const char *>b"false", 5)
    elif head.kind == T_FLOAT:
        return write_double(w, head.real)
    elif head.kind == T_BIN:
        return write_bin(w, head)
    else:
        return write_ext(w, p, head, end)
    return USUAL if is_done else NO_MEMORY


cdef int write_double(Work *w, double number) noexcept nogil:
    cdef uint8_t *o = reserve(w, 32)
    cdef uint8_t *end
    if o == NULL:
        return NO_MEMORY
    if isnan(number):
        return USUAL if put(w, <const char *>b'"NaN"', 5) else NO_MEMORY
    if not isfinite(number):
        if number > 0:
            return USUAL if put(w, <const char *>b'"Infinity"', 10) else NO_MEMORY
        return USUAL if put(w, <const char *>b'"-Infinity"', 11) else NO_MEMORY
    end = put_short_double(o, number)
    if end == NULL:
        end = put_long_double(o, number)
    if end == NULL:
        w.has_no_memory = True
        return NO_MEMORY
    w.size = end - w.out
    return USUAL


cdef uint8_t *put_long_double(uint8_t *o, double number) noexcept with gil:
    """Write a number by Python's shortest digits, laid out as orjson does."""
    cdef char *text = PyOS_double_to_string(number, c"r", 0, 0, NULL)
    cdef const char *at = text
    cdef char[32] digits
    cdef int count = 0, point = 0, number_of, exponent = 0
    cdef bint is_behind = False, is_negative = False
    if text == NULL:
        PyErr_Clear()  # `encode` raises it
        return NULL
    if at[0] == c"-":
        o[0] = c"-"
        o += 1
        at += 1
    while at[0] and at[0] != c"e":
        if at[0] == c".":
            is_behind = True
        else:
            if count or at[0] != c"0":
                digits[count] = at[0]
                count += 1
                point += not is_behind
            else:
                point -= is_behind  # a zero that only says where the digits begin
        at += 1
    if at[0] == c"e":
        is_negative = at[1] == c"-"
        at += 2
        while at[0]:
            exponent = 10 * exponent + at[0] - c"0"
            at += 1
        point += -exponent if is_negative else exponent
    while count and digits[count - 1] == c"0":
        count -= 1
    PyMem_Free(text)
    return lay_out(o, digits, count, point)


cdef uint8_t *lay_out(uint8_t *o, const char *digits, int count, int point) noexcept nogil:
    """Write 0.DIGITS times ten to the `point`."""
    if count <= point <= 16:
        memcpy(o, digits, count)
        memset(o + count, c"0", point - count)
        memcpy(o + point, <const char *>b".0", 2)
        return o + point + 2
    if 0 < point <= 16:
        memcpy(o, digits, point)
        o[point] = c"."
        memcpy(o + point + 1, digits + point, count - point)
        return o + count + 1
    if -5 < point <= 0:
        memcpy(o, <const char *>b"0.0000", 2 - point)
        memcpy(o + 2 - point, digits, count)
        return o + 2 - point + count
    o[0] = digits[0]
    o += 1
    if count > 1:
        o[0] = c"."
        memcpy(o + 1, digits + 1, count - 1)
        o += count
    o[0] = c"e"
    o += 1
    point -= 1
    if point < 0:
        o[0] = c"-"
        o += 1
        point = -point
    elif _HAS_PLUS:
        o[0] = c"+"
        o += 1
    return put_u64(o, point)


cdef int write_bin(Work *w, const Head *head) noexcept nogil:
    """Write a bin as the text that it is for three quarters, or as base64."""
    cdef uint8_t *o = reserve(w, MOST_JSON_BYTES * head.count + 32 + STRIDE)
    if o == NULL:
        return NO_MEMORY
    o[0] = c'"'
    if is_mostly_text(head.body, head.count):
        o = put_text(o + 1, head.body, head.count, w.end, 1)
    else:
        memcpy(o + 1, <const char *>b"data:;base64,", 13)
        o = put_base64(o + 14, head.body, head.count)
    o[0] = c'"'
    w.size = o + 1 - w.out
    return USUAL


cdef int write_ext(
    Work *w, const uint8_t *p, const Head *head, const uint8_t *end
) noexcept nogil:
    """Write a time as its text, any other ext as its msgpack in base64."""
    cdef int64_t seconds
    cdef uint32_t nanoseconds
    cdef uint8_t *o
    if not read_ext_time(head, &seconds, &nanoseconds):
        return write_opaque(w, p, end)
    if seconds < _YEAR_1 or seconds >= _YEAR_10000 - 8:
        return ODD
    seconds += nanoseconds // 1_000_000_000
    o = reserve(w, 40)
    if o == NULL:
        return NO_MEMORY
    o[0] = c'"'
    o = put_rfc3339(o + 1, seconds, nanoseconds % 1_000_000_000)
    o[0] = c'"'
    w.size = o + 1 - w.out
    return USUAL


cdef int write_opaque(Work *w, const uint8_t *p, const uint8_t *end) noexcept nogil:
    """Write a value as its own msgpack in base64."""
    cdef uint8_t *o = reserve(w, BASE64_BYTES(end - p) + 48)
    if o == NULL:
        return NO_MEMORY
    memcpy(o, <const char *>b'"data:application/vnd.msgpack;base64,', 37)
    o = put_base64(o + 37, p, end - p)
    o[0] = c'"'
    w.size = o + 1 - w.out
    return USUAL
