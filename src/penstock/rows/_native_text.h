/* Text, numbers and base64 as they stand in a COPY tuple: bytes in, bytes out.
 *
 * C and not Cython, because the scan of a text is the one loop whose instructions
 * count: it goes 16 bytes at a time where the processor has SSE2. Each function writes
 * at `o`, where the caller has made room for the most that can come of it, and returns
 * the place behind what it wrote. Nothing here reads outside [p, p + n), but for put_text,
 * which reads up to its limit.
 *
 * The texts are those of wire.values.text_of and of orjson, to the byte:
 * a byte that is no UTF-8, and NUL, become \xNN; JSON escapes the backslash of that.
 */
#ifndef PENSTOCK_NATIVE_TEXT_H
#define PENSTOCK_NATIVE_TEXT_H

#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "_bytes.h"
#if defined(__SSE2__)
#include <emmintrin.h>
#endif

#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
#define IS_LITTLE_ENDIAN 1
#else
#define IS_LITTLE_ENDIAN 0
#endif

/* The most bytes that JSON needs for one of a text: \\xNN, or \u00NN. */
#define MOST_JSON_BYTES 6
/* And a plain text: \xNN. */
#define MOST_TEXT_BYTES 4

static const char LOWER_HEX[] = "0123456789abcdef";

/* Returns how many bytes the UTF-8 character has that begins at `p`, a byte from 0x80
 * up; 0 if it is none. Unicode standard, table 3-7, as Python's decoder has it. */
static inline int utf8_bytes(const uint8_t *p, const uint8_t *end)
{
    ptrdiff_t left = end - p;
    uint8_t a = p[0];
    if (a < 0xC2 || a > 0xF4 || left < 2)
        return 0;
    uint8_t b = p[1];
    if (a < 0xE0)
        return (b & 0xC0) == 0x80 ? 2 : 0;
    if (left < 3 || (b & 0xC0) != 0x80 || (p[2] & 0xC0) != 0x80)
        return 0;
    if (a < 0xF0) {
        if ((a == 0xE0 && b < 0xA0) || (a == 0xED && b > 0x9F))
            return 0;
        return 3;
    }
    if (left < 4 || (p[3] & 0xC0) != 0x80)
        return 0;
    if ((a == 0xF0 && b < 0x90) || (a == 0xF4 && b > 0x8F))
        return 0;
    return 4;
}

static inline uint64_t load_64(const uint8_t *p)
{
    uint64_t word;
    memcpy(&word, p, 8);
    return word;
}

#define IS_JSON_SPECIAL(c) ((c) < 0x20 || (c) >= 0x80 || (c) == '"' || (c) == '\\')
#define IS_TEXT_SPECIAL(c) ((c) == 0 || (c) >= 0x80)

/* How many bytes are read, and written, where only some of them are wanted. The caller
 * has room for them, and `limit` tells where reading ends: there it goes by one byte. */
#define STRIDE 16

#if defined(__SSE2__)
/* A bit for each of 16 bytes that is special. */
static inline unsigned json_special(const uint8_t *p, uint8_t *o)
{
    __m128i v = _mm_loadu_si128((const __m128i *)p);
    _mm_storeu_si128((__m128i *)o, v);
    __m128i quote = _mm_cmpeq_epi8(v, _mm_set1_epi8('"'));
    __m128i backslash = _mm_cmpeq_epi8(v, _mm_set1_epi8('\\'));
    __m128i control = _mm_cmplt_epi8(v, _mm_set1_epi8(0x20)); /* signed: 0x80 up too */
    return (unsigned)_mm_movemask_epi8(
        _mm_or_si128(control, _mm_or_si128(quote, backslash)));
}

static inline unsigned text_special(const uint8_t *p, uint8_t *o)
{
    __m128i v = _mm_loadu_si128((const __m128i *)p);
    _mm_storeu_si128((__m128i *)o, v);
    return (unsigned)_mm_movemask_epi8(_mm_cmplt_epi8(v, _mm_set1_epi8(1)));
}
#define BYTES_A_BIT 1
#else
#define ONES 0x0101010101010101ULL
#define HIGHS 0x8080808080808080ULL
#undef STRIDE
#define STRIDE 8
static inline uint64_t has_zero(uint64_t word) { return (word - ONES) & ~word & HIGHS; }

/* The same of 8 bytes, the highest bit of each; exact up to the first that is special,
 * where the first byte is the lowest. */
static inline uint64_t json_special(const uint8_t *p, uint8_t *o)
{
    uint64_t word = load_64(p);
    memcpy(o, &word, 8);
    return (word & HIGHS) | ((word - ONES * 0x20) & ~word & HIGHS) |
           has_zero(word ^ (ONES * '"')) | has_zero(word ^ (ONES * '\\'));
}

static inline uint64_t text_special(const uint8_t *p, uint8_t *o)
{
    uint64_t word = load_64(p);
    memcpy(o, &word, 8);
    return (word & HIGHS) | has_zero(word);
}
#define BYTES_A_BIT 8
#endif

/* Copies what needs no look; returns how many bytes that were. */
#define DEFINE_COPY_USUAL(NAME, SPECIAL, IS_SPECIAL)                                   \
    static inline size_t NAME(                                                         \
        uint8_t *o, const uint8_t *p, size_t n, const uint8_t *limit)                  \
    {                                                                                  \
        size_t done = 0;                                                               \
        while (IS_LITTLE_ENDIAN && limit - (p + done) >= STRIDE) {                     \
            unsigned long long special = SPECIAL(p + done, o + done);                  \
            if (special) {                                                             \
                done += (size_t)__builtin_ctzll(special) / BYTES_A_BIT;                \
                return done < n ? done : n;                                            \
            }                                                                          \
            done += STRIDE;                                                            \
            if (done >= n)                                                             \
                return n;                                                              \
        }                                                                              \
        while (done < n && !IS_SPECIAL(p[done])) {                                     \
            o[done] = p[done];                                                         \
            done++;                                                                    \
        }                                                                              \
        return done;                                                                   \
    }

DEFINE_COPY_USUAL(copy_usual_json, json_special, IS_JSON_SPECIAL)
DEFINE_COPY_USUAL(copy_usual_text, text_special, IS_TEXT_SPECIAL)

static inline uint8_t *put_escape(uint8_t *o, uint8_t c)
{
    static const char SHORT[0x20] = {
        [8] = 'b', [9] = 't', [10] = 'n', [12] = 'f', [13] = 'r'};
    *o++ = '\\';
    if (c == '"' || c == '\\') {
        *o++ = c;
    } else if (SHORT[c]) {
        *o++ = (uint8_t)SHORT[c];
    } else {
        memcpy(o, "u00", 3);
        o[3] = (uint8_t)LOWER_HEX[c >> 4];
        o[4] = (uint8_t)LOWER_HEX[c & 15];
        o += 5;
    }
    return o;
}

/* \xNN, for a byte that PostgreSQL takes in no text. */
static inline uint8_t *put_repaired(uint8_t *o, uint8_t c, int is_json)
{
    *o++ = '\\';
    if (is_json)
        *o++ = '\\';
    *o++ = 'x';
    *o++ = (uint8_t)LOWER_HEX[c >> 4];
    *o++ = (uint8_t)LOWER_HEX[c & 15];
    return o;
}

/* Writes a text that PostgreSQL takes: for JSON, without its quotes. Beside the most
 * that can come of it, there is room for a stride; `limit` is where all data ends. */
static inline uint8_t *put_text(
    uint8_t *o, const uint8_t *p, size_t n, const uint8_t *limit, int is_json)
{
    const uint8_t *end = p + n;
    for (;;) {
        size_t left = (size_t)(end - p);
        size_t done = is_json ? copy_usual_json(o, p, left, limit)
                              : copy_usual_text(o, p, left, limit);
        o += done;
        p += done;
        if (p == end)
            return o;
        /* Letters that are no ASCII seldom stand alone. */
        do {
            uint8_t c = *p;
            if (c >= 0x80) {
                int bytes = utf8_bytes(p, end);
                if (bytes) {
                    memcpy(o, p, (size_t)bytes);
                    o += bytes;
                    p += bytes;
                } else {
                    o = put_repaired(o, c, is_json);
                    p++;
                }
            } else {
                o = c == 0 ? put_repaired(o, c, is_json) : put_escape(o, c);
                p++;
            }
        } while (p < end && (is_json ? IS_JSON_SPECIAL(*p) : IS_TEXT_SPECIAL(*p)));
        if (p == end)
            return o;
    }
}

/* Tells whether a text has bytes that are written as \xNN. */
static inline int needs_mending(const uint8_t *p, size_t n)
{
    const uint8_t *end = p + n;
    while (p < end) {
        int bytes = *p >= 0x80 ? utf8_bytes(p, end) : *p != 0;
        if (!bytes)
            return 1;
        p += bytes;
    }
    return 0;
}

/* Tells whether bytes are text for three quarters: plain._plain_bin. */
static inline int is_mostly_text(const uint8_t *p, size_t n)
{
    const uint8_t *end = p + n;
    size_t readable = 0;
    while (p < end) {
        if (*p >= 0x80) {
            int bytes = utf8_bytes(p, end);
            readable += (size_t)bytes;
            p += bytes ? bytes : 1;
        } else {
            readable += *p >= 0x20 || *p == '\t' || *p == '\n' || *p == '\r' || *p == 0x1B;
            p++;
        }
    }
    return 4 * readable >= 3 * n;
}

#define BASE64_BYTES(n) (4 * (((n) + 2) / 3))

/* RFC 4648, section 4. */
static inline uint8_t *put_base64(uint8_t *o, const uint8_t *p, size_t n)
{
    static const char DIGITS[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    for (; n >= 3; n -= 3, p += 3, o += 4) {
        o[0] = (uint8_t)DIGITS[p[0] >> 2];
        o[1] = (uint8_t)DIGITS[(p[0] & 3) << 4 | p[1] >> 4];
        o[2] = (uint8_t)DIGITS[(p[1] & 15) << 2 | p[2] >> 6];
        o[3] = (uint8_t)DIGITS[p[2] & 63];
    }
    if (n) {
        o[0] = (uint8_t)DIGITS[p[0] >> 2];
        o[1] = (uint8_t)DIGITS[(p[0] & 3) << 4 | (n == 2 ? p[1] >> 4 : 0)];
        o[2] = n == 2 ? (uint8_t)DIGITS[(p[1] & 15) << 2] : '=';
        o[3] = '=';
        o += 4;
    }
    return o;
}

/* Two digits each, from 00 to 99. */
static const char PAIRS_OF_DIGITS[] =
    "0001020304050607080910111213141516171819202122232425262728293031323334353637383940414243444546474849"
    "5051525354555657585960616263646566676869707172737475767778798081828384858687888990919293949596979899";

static inline uint8_t *put_u64(uint8_t *o, uint64_t number)
{
    uint8_t digits[32];
    int at = 20;
    if (number < 10) {
        *o = (uint8_t)('0' + number);
        return o + 1;
    }
    while (number >= 100) {
        at -= 2;
        memcpy(digits + at, PAIRS_OF_DIGITS + 2 * (number % 100), 2);
        number /= 100;
    }
    if (number >= 10) {
        at -= 2;
        memcpy(digits + at, PAIRS_OF_DIGITS + 2 * number, 2);
    } else {
        digits[--at] = (uint8_t)('0' + number);
    }
    memcpy(o, digits + at, (size_t)(20 - at));
    return o + (20 - at);
}

static inline uint8_t *put_padded(uint8_t *o, uint64_t number, int digits)
{
    for (int at = digits - 1; at >= 0; at--) {
        o[at] = (uint8_t)('0' + number % 10);
        number /= 10;
    }
    return o + digits;
}

/* Writes a finite number if it has few digits, as most that people log: 0.25, 1312.5,
 * 3.0. Returns NULL for others, which Python's own shortest digits are taken for.
 *
 * If m / 10^k, both exact, is the number, then no other decimal of 15 digits or fewer
 * is, so with the least such k those are the shortest digits there are. */
static inline uint8_t *put_short_double(uint8_t *o, double number)
{
    static const double POWERS[] = {1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6};
    double size = fabs(number);
    if (!(size < 1e9) || (size < 1e-4 && size != 0))
        return NULL;
    for (int k = 0; k <= 6; k++) {
        double scaled = rint(size * POWERS[k]);
        if (scaled / POWERS[k] != size)
            continue;
        uint64_t digits = (uint64_t)scaled, power = (uint64_t)POWERS[k];
        if (signbit(number))
            *o++ = '-';
        o = put_u64(o, digits / power);
        *o++ = '.';
        return k ? put_padded(o, digits % power, k) : put_padded(o, 0, 1);
    }
    return NULL;
}

/* Days since 1970-01-01 to the calendar; years 1 to 9999. Gregorian, proleptic: eras of
 * 400 years, each year begun in March so that the leap day is its last. */
static inline uint8_t *put_date(uint8_t *o, int64_t days)
{
    int64_t shifted = days + 719468; /* since 0000-03-01 */
    int64_t era = (shifted >= 0 ? shifted : shifted - 146096) / 146097;
    int64_t day_of_era = shifted - era * 146097;
    int64_t year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36524 -
                           day_of_era / 146096) / 365;
    int64_t day_of_year =
        day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    int64_t shifted_month = (5 * day_of_year + 2) / 153;
    int64_t month = shifted_month < 10 ? shifted_month + 3 : shifted_month - 9;
    o = put_padded(o, (uint64_t)(year_of_era + era * 400 + (month <= 2)), 4);
    *o++ = '-';
    o = put_padded(o, (uint64_t)month, 2);
    *o++ = '-';
    return put_padded(o, (uint64_t)(day_of_year - (153 * shifted_month + 2) / 5 + 1), 2);
}

/* Seconds and nanoseconds since 1970 as EventTime.rfc3339 has them. */
static inline uint8_t *put_rfc3339(uint8_t *o, int64_t seconds, uint32_t nanoseconds)
{
    int64_t days = seconds / 86400, of_day = seconds % 86400;
    if (of_day < 0) {
        of_day += 86400;
        days--;
    }
    o = put_date(o, days);
    *o++ = 'T';
    o = put_padded(o, (uint64_t)(of_day / 3600), 2);
    *o++ = ':';
    o = put_padded(o, (uint64_t)(of_day / 60 % 60), 2);
    *o++ = ':';
    o = put_padded(o, (uint64_t)(of_day % 60), 2);
    *o++ = '.';
    o = put_padded(o, nanoseconds, 9);
    *o++ = 'Z';
    return o;
}

/* For tables of names and keys; who sends colliding ones meets a limit of probes. */
static inline uint32_t hash_bytes(const uint8_t *p, size_t n)
{
    uint64_t a = 0, b = 0;
    if (n >= 8) {
        a = load_64(p);
        b = load_64(p + n - 8);
        if (n > 16)
            b ^= load_64(p + n / 2 - 4) * 0xD6E8FEB86659FD93ULL;
    } else if (n >= 4) {
        uint32_t first, last;
        memcpy(&first, p, 4);
        memcpy(&last, p + n - 4, 4);
        a = first;
        b = last;
    } else if (n) {
        a = p[0];
        b = (uint64_t)p[n / 2] << 8 | p[n - 1];
    }
    a = (a ^ (b << 1) ^ (b >> 63) ^ n) * 0x9E3779B97F4A7C15ULL;
    a ^= a >> 32;
    a *= 0xD6E8FEB86659FD93ULL;
    return (uint32_t)(a >> 32);
}

#endif
