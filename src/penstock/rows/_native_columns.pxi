# Included by _native.pyx: which values leave the record for columns, as columns.py.

cdef inline bint is_taken(const Work *w, const uint8_t *value) noexcept nogil:
    if not w.taken_bits >> (<size_t>value & 63) & 1:
        return False
    return is_among_taken(w, value)


cdef bint is_among_taken(const Work *w, const uint8_t *value) noexcept nogil:
    cdef int number
    for number in range(w.taken_count):
        if w.taken[number] == value:
            return True
    return False


cdef int choose_columns(Work *w, const uint8_t **columns) noexcept nogil:
    """Find the value of each column, NULL where the record has none: columns.locate."""
    cdef int column, number, outcome
    cdef const uint8_t *value
    w.level_label = -1
    for column in range(COLUMNS_TAKEN):
        columns[column] = NULL
        if not w.columns_found >> column & 1:
            continue
        for number in range(w.tried_of[column], w.tried_of[column + 1]):
            value = NULL
            outcome = locate(w, &w.paths[w.tried[number]], &value)
            if outcome != USUAL:
                return outcome
            if value == NULL:
                continue
            outcome = level_of(w, value) if column == LEVEL else text_of(value)
            if outcome < 0:
                return ODD
            if outcome:
                columns[column] = value
                w.taken[w.taken_count] = value
                w.taken_count += 1
                w.taken_bits |= <uint64_t>1 << (<size_t>value & 63)
                break
    return USUAL


cdef inline int locate(Work *w, const Path *path, const uint8_t **found) noexcept nogil:
    """Find the value that a path leads to: a key with dots in it before a nested one."""
    cdef const Name *name = &w.names[path.whole]
    cdef const uint8_t *value
    cdef const uint8_t *next_value
    cdef int depth = 1, outcome
    if name.seen_in == w.number and not is_taken(w, name.value):
        found[0] = name.value
        return USUAL
    name = &w.names[path.head]
    if path.parts == 1 or name.seen_in != w.number or is_taken(w, name.value):
        return USUAL
    value = name.value
    while depth < path.parts:
        next_value = NULL
        outcome = look_into(w, path, depth, value, &next_value, found)
        if outcome != USUAL or found[0] != NULL or next_value == NULL:
            return outcome
        value = next_value
        depth += 1
    return USUAL


cdef int look_into(
    Work *w,
    const Path *path,
    int depth,
    const uint8_t *p,
    const uint8_t **next_value,
    const uint8_t **found,
) noexcept nogil:
    """Look in a map for what is left of a path, and for the first part of that."""
    cdef Head head
    cdef uint64_t left
    cdef int64_t values = 0
    cdef bint is_last = depth + 1 == path.parts
    read_head(p, &head)
    if head.kind != T_MAP:
        return USUAL
    p = head.body
    left = head.count
    while left:
        left -= 1
        p = read_head(p, &head)
        if head.kind != T_STR and head.kind != T_BIN:
            return ODD
        if not is_taken(w, p):
            if (
                head.count == path.rest_bytes[depth]
                and memcmp(head.body, path.rest[depth], head.count) == 0
            ):
                if found[0] != NULL:
                    return ODD  # a key that comes twice
                found[0] = p
            elif (
                not is_last
                and head.count == path.head_bytes[depth]
                and memcmp(head.body, path.rest[depth], head.count) == 0
            ):
                if next_value[0] != NULL:
                    return ODD
                next_value[0] = p
        p = skip(p, w.end, w.max_map_keys, &values)
        if p == NULL:
            return ODD  # never: it has been walked over
    return USUAL


cdef int text_of(const uint8_t *p) noexcept nogil:
    """Tell whether a value is a text: 1 if so, 0 if not, -1 if it becomes one."""
    cdef Head head
    read_head(p, &head)
    if head.kind == T_STR or head.kind == T_BIN:
        return 1
    if head.kind == T_EXT or (head.kind == T_FLOAT and not isfinite(head.real)):
        return -1
    return 0


cdef int level_of(Work *w, const uint8_t *p) noexcept nogil:
    """Tell whether a value is a level, and note which: 1, 0, or -1 if it is odd."""
    cdef Head head
    cdef const uint8_t *text
    cdef size_t bytes, at
    cdef uint8_t[LONGEST_LEVEL] lower
    read_head(p, &head)
    if head.kind == T_INT:
        if not head.is_large and 0 <= head.integer < 64:
            w.level_label = w.level_numbers[head.integer]
        return w.level_label >= 0
    if head.kind != T_STR and head.kind != T_BIN:
        return 0
    text, bytes = head.body, head.count
    if bytes > 4 * LONGEST_LEVEL:  # no letter has more than four bytes
        return 0
    while bytes and is_blank(text[0]):
        text += 1
        bytes -= 1
    while bytes and is_blank(text[bytes - 1]):
        bytes -= 1
    # Blanks that are no ASCII begin with these bytes; a level between such is rare.
    if bytes >= 2 and (is_odd_blank(text[0]) or is_odd_blank(text[bytes - 2])):
        return -1
    if bytes >= 3 and is_odd_blank(text[bytes - 3]):
        return -1
    if head.count > LONGEST_LEVEL or not bytes:
        return 0
    if head.kind == T_BIN and not is_mostly_text(head.body, head.count):
        return 0
    memset(lower, 0, LONGEST_LEVEL)
    for at in range(bytes):
        if text[at] == 0 or text[at] >= 0x80:
            return 0
        lower[at] = text[at] | (0x20 if 0x41 <= text[at] <= 0x5A else 0)
    return find_level(w, lower, bytes)


cdef inline bint is_blank(uint8_t c) noexcept nogil:
    return c == 0x20 or 0x09 <= c <= 0x0D or 0x1C <= c <= 0x1F


cdef inline bint is_odd_blank(uint8_t c) noexcept nogil:
    return c == 0xC2 or 0xE1 <= c <= 0xE3


cdef int find_level(Work *w, const uint8_t *lower, size_t bytes) noexcept nogil:
    cdef uint64_t low, high
    cdef uint32_t at
    memcpy(&low, lower, 8)
    memcpy(&high, lower + 8, 8)
    at = level_slot(low, high)
    while w.levels[at].is_used:
        if w.levels[at].low == low and w.levels[at].high == high \
                and w.levels[at].bytes == bytes:
            w.level_label = w.levels[at].label
            return 1
        at = (at + 1) & 255
    return 0


cdef inline uint32_t level_slot(uint64_t low, uint64_t high) noexcept nogil:
    return <uint32_t>(((low ^ (high * 31)) * <uint64_t>0x9E3779B97F4A7C15) >> 56)
