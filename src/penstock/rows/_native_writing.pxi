# Included by _native.pyx: a row, its fields, its JSON down to maps and arrays.

cdef inline uint8_t *reserve(Work *w, size_t bytes) noexcept nogil:
    """Return where to write, with room for so many bytes; NULL if there is no memory."""
    if w.capacity - w.size >= bytes:
        return w.out + w.size
    return grow(w, bytes)


cdef uint8_t *grow(Work *w, size_t bytes) noexcept nogil:
    cdef size_t capacity = 2 * w.capacity + bytes
    cdef void *grown = realloc(w.out, capacity)
    if grown == NULL:
        w.has_no_memory = True
        return NULL
    w.out = <uint8_t *>grown
    w.capacity = capacity
    return w.out + w.size


cdef inline bint put(Work *w, const void *bytes, size_t count) noexcept nogil:
    cdef uint8_t *o = reserve(w, count)
    if o == NULL:
        return False
    memcpy(o, bytes, count)
    w.size += count
    return True


cdef inline bint put_byte(Work *w, uint8_t byte) noexcept nogil:
    cdef uint8_t *o = reserve(w, 1)
    if o == NULL:
        return False
    o[0] = byte
    w.size += 1
    return True


cdef int write_row(
    Work *w, int64_t row_id, int64_t now, const uint8_t *tag, size_t tag_bytes
) noexcept nogil:
    """Write the entry's tuple; what is ODD or finds no memory leaves half of one."""
    cdef const uint8_t *columns[COLUMNS_TAKEN]
    cdef uint8_t *o
    cdef size_t length_at
    cdef int outcome = choose_columns(w, columns), column
    if outcome != USUAL:
        return outcome
    o = reserve(w, 26 + tag_bytes + 16)
    if o == NULL:
        return NO_MEMORY
    put_be16(o, 8)
    put_be32(o + 2, 8)
    put_be64(o + 6, <uint64_t>row_id)
    put_be32(o + 14, 8)
    put_be64(o + 18, <uint64_t>((now if w.microseconds == 0 else w.microseconds) - _PG_EPOCH))
    memcpy(o + 26, tag, tag_bytes)
    o += 26 + tag_bytes
    w.size += 26 + tag_bytes
    if w.level_label < 0:
        memset(o, 0xFF, 4)
        w.size += 4
    else:
        put_be32(o, w.labels[16 * w.level_label])
        memcpy(o + 4, w.labels + 16 * w.level_label + 1, 5)
        w.size += 4 + w.labels[16 * w.level_label]
    for column in range(SERVICE, COLUMNS_TAKEN):
        if not write_text_field(w, columns[column]):
            return NO_MEMORY
    length_at = w.size
    if not put(w, <const char *>b"\0\0\0\0\1", 5):
        return NO_MEMORY
    outcome = write_record(w)
    if outcome != USUAL:
        return outcome
    put_be32(w.out + length_at, <uint32_t>(w.size - length_at - 4))
    return USUAL


cdef bint write_text_field(Work *w, const uint8_t *value) noexcept nogil:
    """Write a column's field: its length and its text, or NULL."""
    cdef Head head
    cdef uint8_t *o
    cdef uint8_t *text
    if value == NULL:
        return put(w, <const char *>b"\xff\xff\xff\xff", 4)
    read_head(value, &head)
    o = reserve(w, 4 + 32 + MOST_TEXT_BYTES * head.count + STRIDE)
    if o == NULL:
        return False
    text = o + 4
    if head.kind == T_STR or is_mostly_text(head.body, head.count):
        text = put_text(text, head.body, head.count, w.end, 0)
    else:
        memcpy(text, <const char *>b"data:;base64,", 13)
        text = put_base64(text + 13, head.body, head.count)
    put_be32(o, <uint32_t>(text - o - 4))
    w.size += text - o
    return True


cdef int write_record(Work *w) noexcept nogil:
    """Write the record's JSON: its own keys, and among them what stood beside it."""
    cdef size_t number = w.record_keys
    cdef Beside beside
    cdef bint has_metadata = w.own_metadata != NULL or w.metadata_bytes > 2  # {} adds nothing
    if not (has_metadata or w.group != NULL or w.keeps_time):
        return write_pairs(w, number, 1, NULL)
    if w.has_our_name or w.columns_beside:
        return ODD
    beside.has[0] = w.keeps_time
    beside.has[1] = w.group != NULL
    beside.has[2] = has_metadata
    beside.next_one = 0
    return write_pairs(w, number, 1, &beside)


cdef int write_pairs(Work *w, size_t first, int depth, Beside *beside) noexcept nogil:
    """Write an object of the keys that begin there, without what fills a column."""
    cdef size_t number, count = w.keys[first].bytes
    cdef const Shape *shape = NULL
    cdef const Key *key
    cdef const uint8_t *value
    cdef uint8_t *o
    cdef int outcome
    cdef uint8_t opening = c"{"  # what stands before the next key
    if w.keys[first].at:
        shape = &w.shapes[w.keys[first].at - 1]
    for number in range(count):
        key = &w.keys[first + 1 + number]
        value = key.value
        if is_taken(w, value):
            continue
        if beside != NULL:
            outcome = write_beside(w, beside, shape, key, number, &opening)
            if outcome != USUAL:
                return outcome
        o = put_key(w, shape, key, number, opening)
        if o == NULL:
            return NO_MEMORY
        opening = c","
        if value[0] & 0xE0 == 0xA0:
            o[0] = c'"'
            o = put_text(o + 1, value + 1, value[0] & 0x1F, w.end, 1)
            o[0] = c'"'
            w.size = o + 1 - w.out
            continue
        w.size = o - w.out
        w.keys_at = key.inner
        outcome = write_value(w, &value, depth + 1)
        if outcome != USUAL:
            return outcome
    if beside != NULL:
        outcome = write_beside(w, beside, NULL, NULL, 0, &opening)
        if outcome != USUAL:
            return outcome
    if opening == c"{" and not put_byte(w, c"{"):
        return NO_MEMORY
    return USUAL if put_byte(w, c"}") else NO_MEMORY


cdef inline uint8_t *put_key(
    Work *w, const Shape *shape, const Key *key, size_t number, uint8_t opening
) noexcept nogil:
    """Write a key in its quotes, with what stands before it, and the colon.

    Returns where its value begins, with room for a short one; NULL if there is no memory.
    """
    cdef const uint8_t *limit = w.end
    cdef size_t bytes
    cdef uint8_t *o
    if shape != NULL:
        o = reserve(w, shape.texts[number].bytes + 1 + SHORT_JSON_BYTES + STRIDE)
        if o == NULL:
            return NULL
        o[0] = opening
        return put_shape_text(o + 1, shape, &shape.texts[number])
    bytes = key.bytes
    o = reserve(w, MOST_JSON_BYTES * bytes + 4 + SHORT_JSON_BYTES + STRIDE)
    if o == NULL:
        return NULL
    o[0] = opening
    o[1] = c'"'
    if key.kind == KEY_PLAIN:
        copy_bytes(o + 2, w.data + key.at, bytes, limit)
        o += 2 + bytes
    else:
        if key.kind == KEY_MADE:
            limit = w.made + w.made_bytes
        o = put_text(o + 2, text_at(key, w.data, w.made), bytes, limit, 1)
    o[0] = c'"'
    o[1] = c":"
    return o + 2


cdef int write_beside(
    Work *w,
    Beside *beside,
    const Shape *shape,
    const Key *key,
    size_t number,
    uint8_t *opening,
) noexcept nogil:
    """Write what stands beside the record and comes before a key; NULL: all there is."""
    cdef const uint8_t *text = NULL
    cdef size_t bytes = 0
    cdef int outcome
    if shape != NULL:
        text = shape.json + shape.texts[number].at + 1
        bytes = shape.texts[number].bytes - 3
    elif key != NULL:
        text = text_at(key, w.data, w.made)
        bytes = key.bytes
    while beside.next_one < 3:
        if beside.has[beside.next_one]:
            if text != NULL and not is_beside_before(beside.next_one, text, bytes):
                return USUAL
            if not put_byte(w, opening[0]):
                return NO_MEMORY
            opening[0] = c","
            outcome = write_one_beside(w, beside.next_one)
            if outcome != USUAL:
                return outcome
        beside.next_one += 1
    return USUAL


cdef bint is_beside_before(int which, const uint8_t *text, size_t bytes) noexcept nogil:
    cdef const char *name = b"_time"
    cdef size_t name_bytes = 5
    if which == 1:
        name, name_bytes = b"_group", 6
    elif which == 2:
        name, name_bytes = b"_metadata", 9
    if name_bytes != bytes:
        return name_bytes < bytes
    return memcmp(name, text, bytes) < 0


cdef int write_one_beside(Work *w, int which) noexcept nogil:
    cdef const uint8_t *value = w.time
    cdef bint is_put = True
    if which == 0:
        is_put = put(w, <const char *>b'"_time":', 8)
        return write_value(w, &value, 1) if is_put else NO_MEMORY
    if which == 1:
        is_put = put(w, <const char *>b'"_group":', 9) and put(w, w.group, w.group_bytes)
        return USUAL if is_put else NO_MEMORY
    value = w.own_metadata
    if not put(w, <const char *>b'"_metadata":', 12):
        return NO_MEMORY
    if value == NULL:
        return USUAL if put(w, w.metadata, w.metadata_bytes) else NO_MEMORY
    w.keys_at = 0  # it was walked over before the record
    return write_value(w, &value, 2)


cdef int write_value(Work *w, const uint8_t **at, int depth) noexcept nogil:
    """Write a value as JSON and move behind it, as plain.read_plain and orjson do."""
    cdef Head head
    cdef const uint8_t *p = at[0]
    cdef uint8_t *o
    cdef int64_t values = 0
    at[0] = read_head(p, &head)
    if head.kind == T_STR:
        o = reserve(w, MOST_JSON_BYTES * head.count + 2 + STRIDE)
        if o == NULL:
            return NO_MEMORY
        o[0] = c'"'
        o = put_text(o + 1, head.body, head.count, w.end, 1)
        o[0] = c'"'
        w.size = o + 1 - w.out
        return USUAL
    if head.kind == T_INT:
        return write_integer(w, &head)
    if head.kind == T_MAP or head.kind == T_ARRAY:
        if depth > _MAX_DEPTH:
            at[0] = skip(p, w.end, w.max_map_keys, &values)
            return write_opaque(w, p, at[0])
        if head.kind == T_MAP:
            return write_map(w, at, depth)
        return write_array(w, at, head.count, depth)
    return write_scalar(w, p, &head, at[0])


cdef int write_integer(Work *w, const Head *head) noexcept nogil:
    cdef uint8_t *o = reserve(w, 24)
    if o == NULL:
        return NO_MEMORY
    if head.integer < 0 and not head.is_large:
        o[0] = c"-"
        o = put_u64(o + 1, <uint64_t>0 - <uint64_t>head.integer)
    else:
        o = put_u64(o, <uint64_t>head.integer)
    w.size = o - w.out
    return USUAL


cdef int write_array(
    Work *w, const uint8_t **at, uint64_t left, int depth
) noexcept nogil:
    cdef int outcome
    if not put_byte(w, c"["):
        return NO_MEMORY
    while left:
        outcome = write_value(w, at, depth + 1)
        if outcome != USUAL:
            return outcome
        left -= 1
        if left and not put_byte(w, c","):
            return NO_MEMORY
    return USUAL if put_byte(w, c"]") else NO_MEMORY


cdef int write_map(Work *w, const uint8_t **at, int depth) noexcept nogil:
    """Write a map whose keys are the next that were noted."""
    cdef size_t first = w.keys_at
    cdef int outcome = write_pairs(w, first, depth, NULL)
    at[0] = w.keys[first].value
    w.keys_at = w.keys[first].inner
    return outcome
