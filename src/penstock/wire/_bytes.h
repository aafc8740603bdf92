/* Numbers in network order, as msgpack and COPY have them. */
#ifndef PENSTOCK_BYTES_H
#define PENSTOCK_BYTES_H

#include <stdint.h>
#include <string.h>

static inline uint16_t be16(const uint8_t *p) { return (uint16_t)(p[0] << 8 | p[1]); }
static inline uint32_t be32(const uint8_t *p)
{
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}
static inline uint64_t be64(const uint8_t *p)
{
    return (uint64_t)be32(p) << 32 | be32(p + 4);
}
static inline void put_be16(uint8_t *o, uint16_t v)
{
    o[0] = (uint8_t)(v >> 8);
    o[1] = (uint8_t)v;
}
static inline void put_be32(uint8_t *o, uint32_t v)
{
    o[0] = (uint8_t)(v >> 24);
    o[1] = (uint8_t)(v >> 16);
    o[2] = (uint8_t)(v >> 8);
    o[3] = (uint8_t)v;
}
static inline void put_be64(uint8_t *o, uint64_t v)
{
    put_be32(o, (uint32_t)(v >> 32));
    put_be32(o + 4, (uint32_t)v);
}
static inline double be_double(const uint8_t *p)
{
    uint64_t bits = be64(p);
    double number;
    memcpy(&number, &bits, 8);
    return number;
}
static inline double be_float(const uint8_t *p)
{
    uint32_t bits = be32(p);
    float number;
    memcpy(&number, &bits, 4);
    return number;
}

#endif
