# Included by _native.pyx: the walk over one entry that finds all that writing it needs,
# and whether a key comes twice.

cdef int scan_entry(Work *w, const uint8_t *p, const uint8_t **end) noexcept nogil:
    """Walk over the entry at `p`; set `end`, NULL where it is not found.

    What is ODD may or may not have its end found.
    """
    cdef int64_t values = 0
    cdef Head head
    cdef const uint8_t *record
    cdef const uint8_t *time
    end[0] = NULL
    w.key_count = w.columns_found = w.has_our_name = w.taken_count = 0
    w.table_used = 0
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
        record = skip(record, w.end, w.max_map_keys, &values)
    else:
        record = skip(time, w.end, w.max_map_keys, &values)
    if record == NULL:
        return ODD
    values += 4  # the entry, the record, [time, metadata]: one more than may be
    end[0] = scan_record(w, record, &values)
    if end[0] == NULL or values > _MAX_VALUES:
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


cdef const uint8_t *scan_record(
    Work *w, const uint8_t *p, int64_t *values
) noexcept nogil:
    """Walk over the record and note its own keys; NULL where it is odd."""
    cdef Head head
    cdef Seen seen
    cdef Key *key
    cdef uint64_t left
    if p >= w.end:
        return NULL
    if p[0] & 0xF0 == 0x80:
        left = p[0] & 0x0F
        p += 1
    elif (p[0] == 0xDE or p[0] == 0xDF) and w.end - p >= header_bytes(p[0]):
        p = read_head(p, &head)
        left = head.count
    else:
        return NULL
    if left > w.max_map_keys or 2 * left > <uint64_t>(w.end - p):
        return NULL
    if not begin_keys(w, &seen, 0, left):
        return NULL
    while left:
        left -= 1
        if p >= w.end:
            return NULL
        if _FIXED[p[0]] == 0 and w.end - p < header_bytes(p[0]):
            return NULL
        if p[0] & 0xE0 != 0xA0 and p[0] != 0xD9 and (p[0] < 0xC4 or p[0] > 0xC6):
            return NULL  # a key of the record's own that is no text, or a very long one
        p = read_head(p, &head)
        if head.count > <uint64_t>(w.end - head.body):
            return NULL
        key = &w.keys[w.key_count]
        key.at = head.body - w.data
        key.bytes = <uint32_t>head.count
        key.hash = hash_bytes(head.body, head.count)
        key.value = p
        if not is_new(w, &seen, w.data, key.hash, key.at, key.bytes):
            return NULL
        w.key_count += 1
        note_name(w, key, head.body)
        values[0] += 1
        if p < w.end and w.end - p >= _FIXED[p[0]] and 0 < _FIXED[p[0]] < 255:
            values[0] += 1
            p += _FIXED[p[0]]
            continue
        p = skip(p, w.end, w.max_map_keys, values)
        if p == NULL or values[0] > _MAX_VALUES:
            return NULL
    return p


cdef inline void note_name(Work *w, Key *key, const uint8_t *text) noexcept nogil:
    """Note a key that a path begins with."""
    cdef uint32_t at = key.hash & w.name_mask
    cdef Name *name
    while w.name_table[at]:
        name = &w.names[w.name_table[at] - 1]
        if (
            name.hash == key.hash
            and name.bytes == key.bytes
            and memcmp(name.text, text, key.bytes) == 0
        ):
            name.seen_in = w.number
            name.value = key.value
            w.columns_found |= name.columns
            w.has_our_name |= name.is_ours
            return
        at = (at + 1) & w.name_mask


# --- keys that come twice


cdef bint begin_keys(Work *w, Seen *seen, size_t first, uint64_t count) noexcept nogil:
    """Make room for a map's keys; False if there is no memory."""
    cdef size_t need = first + count, size
    cdef void *grown
    if need > w.keys_capacity:
        size = 2 * need + 64
        grown = realloc(w.keys, size * sizeof(Key))
        if grown == NULL:
            w.has_no_memory = True
            return False
        w.keys = <Key *>grown
        w.keys_capacity = size
    seen.first = first
    seen.count = 0
    seen.bloom = 0
    seen.mask = 0
    if count <= MANY_KEYS:
        return True
    size = 64
    while size < 2 * count:
        size *= 2
    seen.table = w.table_used
    if seen.table + size > w.table_capacity:
        grown = realloc(w.table, 2 * (seen.table + size) * sizeof(uint32_t))
        if grown == NULL:
            w.has_no_memory = True
            return False
        w.table = <uint32_t *>grown
        w.table_capacity = 2 * (seen.table + size)
    memset(w.table + seen.table, 0, size * sizeof(uint32_t))
    w.table_used = seen.table + size
    seen.mask = <uint32_t>(size - 1)
    seen.probes_left = PROBES_A_KEY * count
    return True


cdef inline bint is_new(
    Work *w, Seen *seen, const uint8_t *text, uint32_t hash, size_t at, size_t bytes
) noexcept nogil:
    """Note a key; False if the map has it, or if that costs too much to tell."""
    cdef Key *keys = w.keys + seen.first
    cdef Key *key
    cdef uint64_t bit = <uint64_t>1 << (hash >> 26)
    cdef size_t number
    cdef uint32_t slot
    if seen.mask:
        slot = hash & seen.mask
        while w.table[seen.table + slot]:
            key = keys + (w.table[seen.table + slot] - 1)
            seen.probes_left -= 1
            if key.hash == hash:  # compared, and long ones cost as much as many
                seen.probes_left -= bytes >> COMPARED_A_PROBE_LOG2
            if seen.probes_left < 0 or is_same(key, text, hash, at, bytes):
                return False
            slot = (slot + 1) & seen.mask
        w.table[seen.table + slot] = <uint32_t>(seen.count + 1)
    elif seen.bloom & bit:
        for number in range(seen.count):
            if is_same(keys + number, text, hash, at, bytes):
                return False
    seen.bloom |= bit
    key = keys + seen.count
    key.hash = hash
    key.at = at
    key.bytes = <uint32_t>bytes
    seen.count += 1
    return True


cdef inline bint is_same(
    const Key *key, const uint8_t *text, uint32_t hash, size_t at, size_t bytes
) noexcept nogil:
    return (
        key.hash == hash
        and key.bytes == bytes
        and memcmp(text + key.at, text + at, bytes) == 0
    )
