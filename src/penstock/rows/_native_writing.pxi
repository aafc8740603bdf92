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
    """Write the record's JSON: its own keys, then what stood beside it."""
    cdef size_t number
    cdef Key *key
    cdef const uint8_t *text
    cdef const uint8_t *value
    cdef uint8_t *o
    cdef uint8_t *start
    cdef int outcome
    cdef bint is_first = True
    if not put_byte(w, c"{"):
        return NO_MEMORY
    for number in range(w.key_count):
        key = &w.keys[number]
        if w.taken_count and is_taken(w, key.value):
            continue
        o = reserve(w, MOST_JSON_BYTES * <size_t>key.bytes + 4 + STRIDE)
        if o == NULL:
            return NO_MEMORY
        start = o
        if not is_first:
            o[0] = c","
            o += 1
        is_first = False
        o[0] = c'"'
        text = w.data + key.at
        o = put_text(o + 1, text, key.bytes, w.end, 1)
        o[0] = c'"'
        o[1] = c":"
        w.size += o + 2 - start
        # Mended, it may be another key's text.
        if <size_t>(o - start) > key.bytes + 2 and needs_mending(text, key.bytes):
            return ODD
        value = key.value
        w.keys_used = w.key_count
        w.table_used = 0
        outcome = write_value(w, &value, 2)
        if outcome != USUAL:
            return outcome
    outcome = write_beside(w, is_first)
    if outcome != USUAL:
        return outcome
    return USUAL if put_byte(w, c"}") else NO_MEMORY


cdef int write_beside(Work *w, bint is_first) noexcept nogil:
    """Write metadata, log group and time under their keys, as record_with_extras does."""
    cdef const uint8_t *value = w.own_metadata
    cdef bint has_metadata = value != NULL or w.metadata_bytes > 2  # {} adds nothing
    cdef int outcome
    if not (has_metadata or w.group != NULL or w.keeps_time):
        return USUAL
    if w.has_our_name or w.columns_beside:
        return ODD
    w.keys_used = w.key_count
    w.table_used = 0
    if has_metadata:
        if not put(w, <const char *>b',"_metadata":' + is_first, 13 - is_first):
            return NO_MEMORY
        is_first = False
        if value != NULL:
            outcome = write_value(w, &value, 2)
            if outcome != USUAL:
                return outcome
        elif not put(w, w.metadata, w.metadata_bytes):
            return NO_MEMORY
    if w.group != NULL:
        if not put(w, <const char *>b',"_group":' + is_first, 10 - is_first):
            return NO_MEMORY
        is_first = False
        if not put(w, w.group, w.group_bytes):
            return NO_MEMORY
    if w.keeps_time:
        if not put(w, <const char *>b',"_time":' + is_first, 9 - is_first):
            return NO_MEMORY
        value = w.time
        return write_value(w, &value, 1)
    return USUAL


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
            return write_map(w, at, head.count, depth)
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


cdef int write_map(Work *w, const uint8_t **at, uint64_t left, int depth) noexcept nogil:
    """Write a nested map, without what has left it for a column."""
    cdef Seen seen
    cdef size_t key_at, before, keys_before = w.keys_used, table_before = w.table_used
    cdef int64_t values = 0
    cdef int outcome
    cdef bint is_first = True
    if not begin_keys(w, &seen, keys_before, left) or not put_byte(w, c"{"):
        return NO_MEMORY
    w.keys_used = keys_before + left
    while left:
        left -= 1
        before = w.size
        if not is_first and not put_byte(w, c","):
            return NO_MEMORY
        key_at = w.size
        outcome = write_key(w, at)
        if outcome != USUAL:
            return outcome
        if w.taken_count and is_taken(w, at[0]):
            # `look_into` has seen that no other key of the map is like it.
            w.size = before
            at[0] = skip(at[0], w.end, w.max_map_keys, &values)
            continue
        if not is_new(
            w,
            &seen,
            w.out,
            hash_bytes(w.out + key_at, w.size - key_at),
            key_at,
            w.size - key_at,
        ):
            return ODD
        is_first = False
        if not put_byte(w, c":"):
            return NO_MEMORY
        outcome = write_value(w, at, depth + 1)
        if outcome != USUAL:
            return outcome
    w.keys_used = keys_before
    w.table_used = table_before
    return USUAL if put_byte(w, c"}") else NO_MEMORY
