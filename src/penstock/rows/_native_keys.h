/* The keys of maps, and their order: jsonb's, as key_order.py has it.
 *
 * C and not Cython for its loops over bytes. A key is compared by its length, by its
 * first eight bytes as a number, and then by the rest; keys that are equal stay in the
 * order they came in. Nothing here allocates.
 */
#ifndef PENSTOCK_NATIVE_KEYS_H
#define PENSTOCK_NATIVE_KEYS_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "_bytes.h"
#include "_native_text.h"

/* Where a key's text is, and how it is written. */
enum {
    KEY_PLAIN = 0,   /* in the entries, as it is */
    KEY_ESCAPED = 1, /* in the entries, and JSON escapes some of it, perhaps */
    KEY_MADE = 2,    /* in the texts that were made; escaped, perhaps */
};

/* A key with its value, or what is known of a map: how many keys it has (`bytes`),
 * what is behind it (`value`), and where the next map's keys begin (`inner`). */
typedef struct {
    uint64_t first;
    const uint8_t *value;
    size_t at;
    uint32_t bytes;
    uint32_t inner; /* where the keys begin that its value has */
    uint32_t number; /* of its map's keys, as they came */
    uint16_t head; /* how many bytes stand before its text in the entries */
    uint8_t kind;
} Key;

/* The first eight bytes as a number; of keys of one length it has their order. */
static inline uint64_t first_of(const uint8_t *p, size_t n)
{
    if (n >= 8)
        return be64(p);
    if (n >= 4)
        return (uint64_t)be32(p) << 32 | be32(p + n - 4);
    if (n)
        return (uint64_t)p[0] << 16 | (uint64_t)p[n / 2] << 8 | p[n - 1];
    return 0;
}

static inline const uint8_t *text_at(
    const Key *key, const uint8_t *data, const uint8_t *made)
{
    return (key->kind == KEY_MADE ? made : data) + key->at;
}

static inline int compare_keys(
    const Key *a, const Key *b, const uint8_t *data, const uint8_t *made)
{
    if (a->bytes != b->bytes)
        return a->bytes < b->bytes ? -1 : 1;
    if (a->first != b->first)
        return a->first < b->first ? -1 : 1;
    if (a->bytes <= 8)
        return 0;
    return memcmp(text_at(a, data, made) + 8, text_at(b, data, made) + 8, a->bytes - 8);
}

/* Copies some bytes; up to a stride more is written, and read up to the limit. */
static inline void copy_bytes(
    uint8_t *o, const uint8_t *p, size_t n, const uint8_t *limit)
{
#if defined(__SSE2__)
    if (n <= 16 && limit - p >= 16) {
        _mm_storeu_si128((__m128i *)o, _mm_loadu_si128((const __m128i *)p));
        return;
    }
#endif
    memcpy(o, p, n);
}

/* Few keys: by insertion. */
#define RUN_KEYS 12

static inline void insert_keys(
    Key *keys, size_t count, const uint8_t *data, const uint8_t *made)
{
    for (size_t i = 1; i < count; i++) {
        if (compare_keys(&keys[i - 1], &keys[i], data, made) <= 0)
            continue;
        Key key = keys[i];
        size_t at = i;
        do {
            keys[at] = keys[at - 1];
            at--;
        } while (at && compare_keys(&keys[at - 1], &key, data, made) > 0);
        keys[at] = key;
    }
}

/* Many keys: short runs are merged; `spare` has room for as many. */
static void merge_keys(
    Key *keys, size_t count, Key *spare, const uint8_t *data, const uint8_t *made)
{
    Key *from = keys, *to = spare;
    for (size_t start = 0; start < count; start += RUN_KEYS)
        insert_keys(
            keys + start, count - start < RUN_KEYS ? count - start : RUN_KEYS, data, made);
    for (size_t run = RUN_KEYS; run < count; run *= 2) {
        for (size_t start = 0; start < count; start += 2 * run) {
            size_t a = start, middle = start + run < count ? start + run : count;
            size_t b = middle, end = middle + run < count ? middle + run : count;
            for (size_t o = start; o < end; o++) {
                int is_b = a == middle ||
                           (b < end && compare_keys(&from[a], &from[b], data, made) > 0);
                to[o] = from[is_b ? b++ : a++];
            }
        }
        Key *other = from;
        from = to;
        to = other;
    }
    if (from != keys)
        memcpy(keys, from, count * sizeof(Key));
}

/* Of keys that are equal the last one counts; returns how many are left. */
static inline size_t last_of_each(
    Key *keys, size_t count, const uint8_t *data, const uint8_t *made)
{
    size_t left = 0;
    for (size_t i = 0; i < count; i++) {
        if (left && compare_keys(&keys[left - 1], &keys[i], data, made) == 0)
            left--;
        if (left != i)
            keys[left] = keys[i];
        left++;
    }
    return left;
}

/* Tells how a key of the entries is written: KEY_MADE if its bytes are no UTF-8 or NUL
 * is among them. */
static inline int kind_of_key(const uint8_t *p, size_t n, const uint8_t *limit)
{
    size_t done = 0;
    uint8_t copy[16];
    while (IS_LITTLE_ENDIAN && done < n && limit - (p + done) >= STRIDE) {
        unsigned long long special = json_special(p + done, copy);
        if (special) {
            done += (size_t)__builtin_ctzll(special) / BYTES_A_BIT;
            break;
        }
        done += STRIDE;
    }
    while (done < n && !IS_JSON_SPECIAL(p[done]))
        done++;
    if (done >= n)
        return KEY_PLAIN;
    return needs_mending(p + done, n - done) ? KEY_MADE : KEY_ESCAPED;
}

/* --- keys that came before in the same order: a shape */

#define SHAPE_KEYS 32
#define SHAPE_BYTES 512
#define SHAPES 256
#define SHAPE_PATHS 16

typedef struct {
    uint16_t at;      /* of its head and text in `bytes`, as they came */
    uint16_t bytes;
    uint16_t mask;    /* a bit for each of them; 0 if they are more than 16 */
    uint8_t head;     /* bytes before its text */
    uint8_t place;    /* among the sorted ones */
} ShapeKey;

typedef struct {
    uint16_t at; /* in `json`, with quotes and colon */
    uint16_t bytes;
} ShapeText;

/* A key that a path begins with. */
typedef struct {
    uint16_t name;
    uint16_t place;
} ShapeName;

typedef struct {
    uint64_t used_in; /* the entry that was of this shape last: until that is written it
                         stays */
    uint64_t walked_in; /* the entry in which pairs are walked over by it now: a map among
                           their values may have the same slot, and stays out */
    uint32_t count;   /* 0: there is none */
    uint32_t wanted;  /* a hash of the keys that came last and were none of this */
    uint32_t named_count;
    uint16_t path_count;
    uint16_t paths_of[5]; /* where each column's begin in `paths` */
    uint16_t paths[SHAPE_PATHS]; /* those that lead anywhere */
    ShapeName named[SHAPE_PATHS];
    ShapeKey keys[SHAPE_KEYS];
    ShapeText texts[SHAPE_KEYS];
    uint8_t bytes[SHAPE_BYTES + 16];
    uint8_t json[SHAPE_BYTES + 3 * SHAPE_KEYS + 16];
} Shape;

/* Where keys are looked for of which the first is this; 16 bytes are there to be read. */
static inline uint32_t shape_slot(const uint8_t *p, size_t count)
{
    uint64_t mixed = load_64(p);
    if (p[0] >= 0xA0 && p[0] < 0xA7) { /* what is behind a short one is its value */
        int others = 8 * (7 - (p[0] & 0x1F));
        mixed = IS_LITTLE_ENDIAN ? mixed << others : mixed >> others;
    }
    mixed = (mixed ^ count * 0xD6E8FEB86659FD93ULL) * 0x9E3779B97F4A7C15ULL;
    return (uint32_t)(mixed >> 56) & (SHAPES - 1);
}

/* Tells whether a key comes next that is the shape's. */
static inline int is_key(
    const uint8_t *p, const Shape *shape, const ShapeKey *known, const uint8_t *limit)
{
#if defined(__SSE2__)
    if (known->mask && limit - p >= 16) {
        __m128i a = _mm_loadu_si128((const __m128i *)p);
        __m128i b = _mm_loadu_si128((const __m128i *)(shape->bytes + known->at));
        return !(~_mm_movemask_epi8(_mm_cmpeq_epi8(a, b)) & known->mask);
    }
#endif
    return limit - p >= known->bytes &&
           memcmp(p, shape->bytes + known->at, known->bytes) == 0;
}

/* Brings the first keys of a shape, of which only the values stand in their places, into
 * the order they came in. */
static void put_back(Key *keys, const Shape *shape, size_t count, const uint8_t *data)
{
    Key came[SHAPE_KEYS];
    for (size_t i = 0; i < count; i++) {
        const ShapeKey *known = &shape->keys[i];
        Key *key = &came[i];
        *key = keys[known->place];
        key->kind = KEY_PLAIN;
        key->head = known->head;
        key->bytes = (uint32_t)(known->bytes - known->head);
        key->at = (size_t)(key->value - data) - key->bytes;
        key->number = (uint32_t)i;
        key->first = first_of(data + key->at, key->bytes);
    }
    memcpy(keys, came, count * sizeof(Key));
}

/* Keeps sorted keys; returns 0 if they are none that can be kept. */
static int set_shape(Shape *shape, const Key *keys, size_t count, const uint8_t *data)
{
    size_t used = 0, written = 0;
    shape->count = 0;
    for (size_t place = 0; place < count; place++) {
        const Key *key = &keys[place];
        if (key->kind != KEY_PLAIN || used + key->head + key->bytes > SHAPE_BYTES)
            return 0;
        ShapeKey *known = &shape->keys[key->number];
        const uint8_t *text = data + key->at;
        known->at = (uint16_t)used;
        known->bytes = (uint16_t)(key->head + key->bytes);
        known->mask = known->bytes <= 16 ? (uint16_t)((1u << known->bytes) - 1) : 0;
        known->head = (uint8_t)key->head;
        known->place = (uint8_t)place;
        memcpy(shape->bytes + used, text - key->head, known->bytes);
        used += known->bytes;
        shape->texts[place].at = (uint16_t)written;
        shape->texts[place].bytes = (uint16_t)(key->bytes + 3);
        shape->json[written] = '"';
        memcpy(shape->json + written + 1, text, key->bytes);
        memcpy(shape->json + written + 1 + key->bytes, "\":", 2);
        written += key->bytes + 3;
    }
    shape->count = (uint32_t)count;
    return 1;
}

/* Writes a shape's key; there is room for a stride more. */
static inline uint8_t *put_shape_text(uint8_t *o, const Shape *shape, const ShapeText *text)
{
    const uint8_t *from = shape->json + text->at;
    size_t n = text->bytes;
    memcpy(o, from, 16);
    if (n > 16)
        memcpy(o + 16, from + 16, n - 16);
    return o + n;
}

/* Of sorted keys and the order they came in; never 0. */
static inline uint32_t hash_of_keys(const Key *keys, size_t count)
{
    uint64_t mixed = count;
    for (size_t i = 0; i < count; i++)
        mixed = (mixed ^ keys[i].first ^ (uint64_t)keys[i].bytes << 32 ^ keys[i].number) *
                0x9E3779B97F4A7C15ULL;
    return (uint32_t)(mixed >> 32) | 1;
}

#endif
