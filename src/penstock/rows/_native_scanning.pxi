# Included by _native.pyx: the walk over one entry that finds all that writing it needs.
# It notes the keys of each map, sorted, in `Work.keys`: first what is known of the map,
# then its keys, then those of the maps within it, in the order these begin in. Writing
# goes the same way, so what it needs next is where the last value said.

cdef int scan_entry(Work *w, const uint8_t *p, const uint8_t **end) noexcept nogil:
    """Walk over the entry at `p`; set `end`, NULL where it is not found.

    What is ODD may or may not have its end found.
    """
    cdef int64_t values = 0
    cdef Head head
    cdef const uint8_t *record
    cdef const uint8_t *time
    end[0] = NULL
    w.columns_found = w.has_our_name = w.taken_count = w.taken_bits = 0
    w.tried = w.every_path
    w.tried_of = w.paths_of
    w.keys_used = w.made_bytes = w.pending = w.values = 0
    w.own_metadata = NULL
    if p[0] != 0x92:  # an array of two; all clients write it so
        end[0] = skip(p, w.end, w.max_map_keys, &values)
        return ODD
    time = p + 1
    if w.end - time < 1:
        return ODD
    if time[0] == 0x92:  # [time, metadata], forward specification 1.5
        time += 1
        record = skip(time, w.end, w.max_map_keys, &values)
        if record == NULL:
            return ODD
        w.own_metadata = record
        w.values = values
        record = scan_value(w, record, 2)
        values = w.values
    else:
        record = skip(time, w.end, w.max_map_keys, &values)
    if record == NULL:
        return ODD
    w.values = values + 4  # the entry, the record, [time, metadata]: one more than may be
    w.record_keys = w.keys_used
    end[0] = scan_record(w, record)
    if end[0] == NULL or w.values > _MAX_VALUES:
        values = 0
        end[0] = skip(p, w.end, w.max_map_keys, &values)
        return ODD
    if w.own_metadata != NULL:
        read_head(w.own_metadata, &head)
        if head.kind != T_MAP:
            return ODD
        if head.count == 0:
            w.own_metadata = NULL
    w.time = time
    return read_time(w)


cdef const uint8_t *scan_record(Work *w, const uint8_t *p) noexcept nogil:
    """Walk over the record; NULL where it is odd."""
    cdef Head head
    if p >= w.end or (_FIXED[p[0]] == 0 and w.end - p < header_bytes(p[0])):
        return NULL
    if p[0] & 0xF0 != 0x80 and p[0] != 0xDE and p[0] != 0xDF:
        return NULL
    read_head(p, &head)
    return scan_map(w, head.body, head.count, 1)


cdef const uint8_t *scan_value(Work *w, const uint8_t *p, int depth) noexcept nogil:
    """Return what is behind a value, its keys noted; NULL as `skip`, or if it is odd."""
    cdef Head head
    cdef const uint8_t *next_one
    cdef uint8_t fixed
    if p >= w.end:
        return NULL
    fixed = _FIXED[p[0]]
    w.values += 1
    if fixed and fixed != 255:
        return p + fixed if w.end - p >= fixed else NULL
    if fixed == 255 or w.values > _MAX_VALUES or w.end - p < header_bytes(p[0]):
        return NULL
    next_one = read_head(p, &head)
    if head.kind == T_MAP or head.kind == T_ARRAY:
        if depth > _MAX_DEPTH:  # written as it is
            w.values -= 1
            return skip(p, w.end, w.max_map_keys, &w.values)
        if head.kind == T_MAP:
            return scan_map(w, next_one, head.count, depth)
        return scan_array(w, next_one, head.count, depth)
    return next_one if head.count <= <uint64_t>(w.end - head.body) else NULL


cdef const uint8_t *scan_array(
    Work *w, const uint8_t *p, uint64_t count, int depth
) noexcept nogil:
    w.pending += count
    if w.pending > <uint64_t>(w.end - p):  # each takes a byte at least
        return NULL
    w.pending -= count
    while count:
        count -= 1
        p = scan_value(w, p, depth + 1)
        if p == NULL:
            return NULL
    return p


cdef const uint8_t *scan_map(
    Work *w, const uint8_t *p, uint64_t count, int depth
) noexcept nogil:
    """Walk over the pairs of a map, note its keys, and sort them."""
    cdef size_t first = w.keys_used, done = 0
    cdef Shape *shape = NULL
    # All that is still to come takes two bytes a pair at least: what is noted for maps
    # within one another is bounded by the bytes that there are.
    if count > w.max_map_keys or w.pending + 2 * count > <uint64_t>(w.end - p):
        return NULL
    if not reserve_keys(w, 1 + count):
        return NULL
    w.keys_used = first + 1 + count
    w.keys[first].at = 0  # of no shape
    w.pending += 2 * count
    if 0 < count <= SHAPE_KEYS and w.end - p >= 16:
        shape = &w.shapes[shape_slot(p, count)]
        if shape.count == count:
            p = scan_by_shape(w, shape, p, first, depth, &done)
            if p == NULL:
                return NULL
            if done == count:
                set_map(w, first, count, p)
                return p
    while done < count:
        p = scan_pair(w, p, first + 1 + done, done, depth)
        if p == NULL:
            return NULL
        done += 1
    if not sort_map(w, first, count):
        return NULL
    set_map(w, first, last_of_each(w.keys + first + 1, count, w.data, w.made), p)
    if shape != NULL and w.keys[first].bytes == count:
        keep_shape(w, shape, first, count)
    return p


cdef inline void set_map(
    Work *w, size_t first, size_t count, const uint8_t *end
) noexcept nogil:
    w.keys[first].bytes = <uint32_t>count
    w.keys[first].value = end
    w.keys[first].inner = <uint32_t>w.keys_used


cdef bint reserve_keys(Work *w, size_t count) noexcept nogil:
    """Make room for so many keys behind those in use; False if there is no memory."""
    cdef size_t size = w.keys_used + count
    cdef void *grown
    if size <= w.keys_capacity:
        return True
    size = 2 * size + 64
    grown = realloc(w.keys, size * sizeof(Key))
    if grown == NULL:
        w.has_no_memory = True
        return False
    w.keys = <Key *>grown
    w.keys_capacity = size
    return True


cdef bint sort_map(Work *w, size_t first, size_t count) noexcept nogil:
    if count <= RUN_KEYS:
        insert_keys(w.keys + first + 1, count, w.data, w.made)
        return True
    if not reserve_keys(w, count):
        return False
    merge_keys(w.keys + first + 1, count, w.keys + w.keys_used, w.data, w.made)
    return True


cdef const uint8_t *scan_pair(
    Work *w, const uint8_t *p, size_t slot, size_t number, int depth
) noexcept nogil:
    """Walk over a key and its value."""
    cdef Head head
    cdef const uint8_t *value
    cdef Key *key = &w.keys[slot]
    cdef int fixed
    w.pending -= 2
    fixed = _FIXED[p[0]] if p < w.end else 255
    if fixed == 255 or w.end - p < (fixed if fixed else header_bytes(p[0])):
        return NULL
    value = read_head(p, &head)
    key.number = <uint32_t>number
    key.kind = KEY_MADE
    if head.kind == T_STR or head.kind == T_BIN:
        if head.count > <uint64_t>(w.end - head.body):
            return NULL
        w.values += 1
        key.kind = kind_of_key(head.body, head.count, w.end)
        key.head = <uint16_t>(head.body - p)
        key.at = head.body - w.data
        key.bytes = <uint32_t>head.count
        key.first = first_of(head.body, head.count)
    else:
        value = skip(p, w.end, w.max_map_keys, &w.values)
        if value == NULL:
            return NULL
    if key.kind == KEY_MADE and not make_text(w, key, p, &head):
        return NULL
    key.value = value
    if depth == 1:
        note_names(w, key, 1)
    key.inner = <uint32_t>w.keys_used
    return scan_value(w, value, depth + 1)


cdef bint make_text(Work *w, Key *key, const uint8_t *p, const Head *head) noexcept nogil:
    """Make the text of a key that is none as it stands; False if it is odd."""
    cdef size_t size = w.size, count
    cdef uint8_t *o
    cdef void *grown
    if head.kind == T_STR or head.kind == T_BIN:
        o = reserve(w, MOST_TEXT_BYTES * head.count + STRIDE)
        if o == NULL:
            return False
        count = put_text(o, head.body, head.count, w.end, 0) - o
    else:
        if write_key(w, &p) != USUAL:
            return False
        count = w.size - size - 2  # without its quotes; there is nothing to escape
        o = w.out + size + 1
        w.size = size
    if count > <size_t>0xFFFFFFFF:
        return False
    if w.made_capacity - w.made_bytes < count + STRIDE:
        grown = realloc(w.made, 2 * w.made_capacity + count + 256)
        if grown == NULL:
            w.has_no_memory = True
            return False
        w.made = <uint8_t *>grown
        w.made_capacity = 2 * w.made_capacity + count + 256
    memcpy(w.made + w.made_bytes, o, count)
    key.at = w.made_bytes
    key.bytes = <uint32_t>count
    key.first = first_of(w.made + w.made_bytes, count)
    w.made_bytes += count
    return True


# --- keys that came before


cdef inline const uint8_t *scan_by_shape(
    Work *w, Shape *shape, const uint8_t *p, size_t first, int depth, size_t *done
) noexcept nogil:
    """Walk over pairs as long as their keys are those of a shape.

    If they all are, each value is in its key's place; else they are as they came.
    """
    cdef const ShapeKey *known = shape.keys
    cdef Key *keys = w.keys + first + 1
    cdef Key *key
    cdef size_t number, count = shape.count
    cdef uint32_t inner = <uint32_t>w.keys_used
    cdef uint8_t fixed
    # Of a map that this one is in, perhaps.
    cdef uint64_t walked_in = shape.walked_in
    shape.walked_in = w.number
    w.values += 2 * count
    for number in range(count):
        if not is_key(p, shape, known, w.end):
            shape.walked_in = walked_in
            w.values -= 2 * (count - number)
            w.pending -= 2 * number
            done[0] = number
            put_back(keys, shape, number, w.data)
            if depth == 1:
                note_names(w, keys, number)
            return p
        p += known.bytes
        key = keys + known.place
        known += 1
        key.value = p
        key.inner = inner
        if p >= w.end:
            return NULL
        fixed = _FIXED[p[0]]
        if 0 < fixed < 255 and w.end - p >= fixed:
            p += fixed
            continue
        w.values -= 1
        w.pending -= 2 * (number + 1)
        p = scan_value(w, p, depth + 1)
        w.pending += 2 * (number + 1)
        if p == NULL:
            return NULL
        keys = w.keys + first + 1
        inner = <uint32_t>w.keys_used
    w.pending -= 2 * count
    shape.walked_in = walked_in
    shape.used_in = w.number
    w.keys[first].at = shape - w.shapes + 1
    done[0] = count
    if depth == 1:
        for number in range(shape.named_count):
            key = keys + shape.named[number].place
            see_name(w, &w.names[shape.named[number].name], key.value)
        w.tried = shape.paths
        w.tried_of = shape.paths_of
    return p


cdef void keep_shape(Work *w, Shape *shape, size_t first, size_t count) noexcept nogil:
    """Keep sorted keys that have come twice in a row in one order."""
    cdef const Key *keys = w.keys + first + 1
    cdef uint32_t hash = hash_of_keys(keys, count)
    if shape.wanted != hash:
        shape.wanted = hash
    elif (
        shape.used_in != w.number
        and shape.walked_in != w.number
        and set_shape(shape, keys, count, w.data)
    ):
        if not plan_shape(w, shape, keys):
            shape.count = 0


cdef bint plan_shape(const Work *w, Shape *shape, const Key *keys) noexcept nogil:
    """Note the names in a shape, and the paths that lead anywhere; False if too many."""
    cdef uint32_t name
    cdef size_t place
    cdef int column, number
    cdef const Path *path
    shape.named_count = shape.path_count = 0
    for place in range(shape.count):
        name = name_of(w, w.data + keys[place].at, keys[place].bytes)
        if name and shape.named_count == SHAPE_PATHS:
            return False
        if name:
            shape.named[shape.named_count].name = <uint16_t>(name - 1)
            shape.named[shape.named_count].place = <uint16_t>place
            shape.named_count += 1
    for column in range(COLUMNS_TAKEN):
        shape.paths_of[column] = shape.path_count
        for number in range(w.paths_of[column], w.paths_of[column + 1]):
            path = &w.paths[number]
            if is_named(shape, path.whole) or is_named(shape, path.head):
                if shape.path_count == SHAPE_PATHS:
                    return False
                shape.paths[shape.path_count] = <uint16_t>number
                shape.path_count += 1
    shape.paths_of[COLUMNS_TAKEN] = shape.path_count
    return True


cdef inline bint is_named(const Shape *shape, int name) noexcept nogil:
    cdef size_t number
    for number in range(shape.named_count):
        if shape.named[number].name == name:
            return True
    return False


# --- keys that a path begins with


cdef inline void see_name(Work *w, Name *name, const uint8_t *value) noexcept nogil:
    """Note that the record has a key that a path begins with; the last one counts."""
    name.seen_in = w.number
    name.value = value
    w.columns_found |= name.columns
    w.has_our_name |= name.is_ours


cdef void note_names(Work *w, const Key *keys, size_t count) noexcept nogil:
    """Note those of a record's keys that a path begins with."""
    cdef size_t number
    cdef uint32_t name
    for number in range(count):
        name = name_of(w, text_at(keys + number, w.data, w.made), keys[number].bytes)
        if name:
            see_name(w, &w.names[name - 1], keys[number].value)


cdef inline uint32_t name_of(const Work *w, const uint8_t *text, size_t bytes) noexcept nogil:
    """Return the number of a name, and 1; 0 for what is none."""
    cdef uint32_t hash = hash_bytes(text, bytes)
    cdef uint32_t at = hash & w.name_mask
    cdef const Name *name
    while w.name_table[at]:
        name = &w.names[w.name_table[at] - 1]
        if name.hash == hash and name.bytes == bytes and memcmp(name.text, text, bytes) == 0:
            return w.name_table[at]
        at = (at + 1) & w.name_mask
    return 0
