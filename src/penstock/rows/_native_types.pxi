# Included by _native.pyx: constants of the definition as C has them, and what is known
# of one call, of one entry, of the keys of one map.

# What becomes of an entry.
cdef enum:
    USUAL = 0
    ODD = 1
    NO_MEMORY = 2

cdef enum:
    LEVEL = 0  # the columns that are taken from the record, in their order
    SERVICE = 1
    HOST = 2
    MESSAGE = 3
    COLUMNS_TAKEN = 4
    MOST_PARTS = 16  # of a path: keys nested in one another
    MOST_DAYS = 64  # of a part's rows; those of one more day are read the careful way
    LONGEST_LEVEL = 16  # as columns._LONGEST_SPELLING
    # Given back after a part: four times what one needs of usual entries.
    OUT_KEPT_BYTES = 1 << 20
    KEPT_KEYS = 1 << 14  # and of the keys of one entry

# Constants of the definition, as C has them.
cdef int _MAX_DEPTH = MAX_DEPTH
cdef int64_t _DAY = DAY_MICROSECONDS
cdef int64_t _PG_EPOCH = PG_EPOCH_MICROSECONDS
cdef int64_t _GROUP_END_SECONDS = GROUP_END_SECONDS
cdef int64_t _ID_STEP = 1 << RECEIVER_BITS
# timestamptz (documentation, section 8.5), as entries._in_range has it; the latest is
# past all that an int64_t holds.
cdef int64_t _LEAST_MICROSECONDS = -210_866_803_200_000_000
# times: from where a number is taken for a finer unit, by magnitude.
cdef int64_t _MILLISECONDS_FROM_INT = MILLISECONDS_FROM
cdef double _MILLISECONDS_FROM = 1e11, _MICROSECONDS_FROM = 1e14, _NANOSECONDS_FROM = 1e17
# Some versions of orjson write 1e+16, others 1e16; the definition is what it writes.
cdef bint _HAS_PLUS = orjson.dumps(1e16) == b"1e+16"
# The years that a datetime has, in seconds since 1970.
cdef int64_t _YEAR_1 = -62_135_596_800, _YEAR_10000 = 253_402_300_800
assert COLUMNS == ("id", "ts", "tag", "level", "service", "host", "message", "attributes")

cdef extern from "_native_keys.h" nogil:
    int KEY_PLAIN, KEY_MADE, RUN_KEYS, SHAPE_KEYS, SHAPES, SHAPE_PATHS
    ctypedef struct Key:
        uint64_t first
        const uint8_t *value
        size_t at
        uint32_t bytes
        uint32_t inner
        uint32_t number
        uint16_t head
        uint8_t kind
    ctypedef struct ShapeKey:
        uint16_t bytes
        uint8_t place
    ctypedef struct ShapeText:
        uint16_t at
        uint16_t bytes
    ctypedef struct ShapeName:
        uint16_t name
        uint16_t place
    ctypedef struct Shape:
        uint64_t used_in
        uint64_t walked_in
        uint32_t count
        uint32_t wanted
        uint32_t named_count
        uint16_t path_count
        uint16_t *paths_of
        uint16_t *paths
        ShapeName *named
        ShapeKey *keys
        ShapeText *texts
        uint8_t *json
    uint64_t first_of(const uint8_t *p, size_t n)
    const uint8_t *text_at(const Key *key, const uint8_t *data, const uint8_t *made)
    void insert_keys(Key *keys, size_t count, const uint8_t *data, const uint8_t *made)
    void merge_keys(
        Key *keys, size_t count, Key *spare, const uint8_t *data, const uint8_t *made
    )
    size_t last_of_each(Key *keys, size_t count, const uint8_t *data, const uint8_t *made)
    void copy_bytes(uint8_t *o, const uint8_t *p, size_t n, const uint8_t *limit)
    int kind_of_key(const uint8_t *p, size_t n, const uint8_t *limit)
    uint32_t shape_slot(const uint8_t *p, size_t count)
    int is_key(
        const uint8_t *p, const Shape *shape, const ShapeKey *known, const uint8_t *limit
    )
    int set_shape(Shape *shape, const Key *keys, size_t count, const uint8_t *data)
    uint8_t *put_shape_text(uint8_t *o, const Shape *shape, const ShapeText *text)
    void put_back(Key *keys, const Shape *shape, size_t count, const uint8_t *data)
    uint32_t hash_of_keys(const Key *keys, size_t count)

# How many bytes of JSON a value of one byte, or a short text, has at the most.
cdef enum:
    SHORT_JSON_BYTES = 6 * 31 + 2

# What stands beside a record, `_time`, `_group` and `_metadata`: jsonb's order.
cdef struct Beside:
    bint[3] has
    int next_one

# A column's path: what is looked for at each depth, whole, and as the first part.
cdef struct Path:
    int parts
    int whole  # number of the name among Encoder's, at the top
    int head
    const uint8_t *rest[MOST_PARTS]
    size_t rest_bytes[MOST_PARTS]
    size_t head_bytes[MOST_PARTS]

cdef struct Name:
    const uint8_t *text
    uint32_t bytes
    uint32_t hash
    uint8_t columns  # a bit for each whose paths begin so
    bint is_ours  # _time, _metadata, _group
    uint64_t seen_in  # the number of the entry that had it last
    const uint8_t *value

cdef struct Level:
    uint64_t low, high  # its spelling, padded with NUL
    uint8_t bytes
    uint8_t label
    bint is_used

# One call's state.
cdef struct Work:
    const uint8_t *data
    const uint8_t *end
    # Settings.
    uint64_t max_map_keys
    size_t max_field_bytes
    Name *names
    uint32_t *name_table
    uint32_t name_mask
    Path *paths
    uint16_t paths_of[COLUMNS_TAKEN + 1]  # where each column's begin; they are in order
    uint16_t *every_path  # their numbers
    const Level *levels
    const int *level_numbers
    const uint8_t *labels
    # Beside the records.
    const uint8_t *metadata
    size_t metadata_bytes
    const uint8_t *group
    size_t group_bytes
    bint columns_beside
    # What is written.
    uint8_t *out
    size_t size
    size_t capacity
    bint has_no_memory
    # The entry at hand.
    uint64_t number
    int64_t microseconds
    bint keeps_time
    const uint8_t *time
    const uint8_t *own_metadata
    int64_t values
    uint64_t pending  # elements of what is open, which have not begun
    size_t record_keys  # where the record's begin
    size_t keys_at  # where the keys begin of the map that is written next
    uint8_t columns_found
    bint has_our_name
    const uint16_t *tried  # the paths that may lead anywhere
    const uint16_t *tried_of
    const uint8_t *taken[COLUMNS_TAKEN]
    int taken_count
    uint64_t taken_bits  # of their addresses, to see at once what is none of them
    int level_label
    # Room that is used again.
    Key *keys
    size_t keys_capacity
    size_t keys_used
    uint8_t *made  # texts of keys that are none as they stand
    size_t made_capacity
    size_t made_bytes
    Shape *shapes
