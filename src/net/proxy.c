/* proxy.c - takes bytes until the header's length is known and reached, then reads it as a whole.
 *
 *   "P..." -> a line, to its LF
 *   "\r\n\r\n..." -> 16 bytes, which tell the length -> the rest
 *   anything else -> invalid, at the first byte that differs
 */
#include "net/proxy.h"

#include "base/limits.h"

#include <string.h>

#define V2_FIXED    ((size_t)16) /* signature, version and command, family, length */
#define V2_SIGN_LEN 12
#define CRC_BYTES   4
#define TLV_CRC32C  0x03

static const struct slice v1_sign = SLICE_INIT("PROXY ");
static const struct slice v2_sign = SLICE_INIT("\r\n\r\n\0\r\nQUIT\n");

void proxy_init(struct proxy_reader *reader)
{
    *reader = (struct proxy_reader){.header = {.is_local = true}};
    buf_init(&reader->bytes, PROXY_V2_MAX);
}

void proxy_fini(struct proxy_reader *reader)
{
    buf_fini(&reader->bytes);
}

/* ---- version 1 ------------------------------------------------------------------------------- */

/* Decimal, without a sign or leading zeros. */
static bool read_port(struct slice text, uint16_t *tcp_port)
{
    uint64_t value = 0;
    bool is_padded = text.len > 1 && text.data[0] == '0';
    if (is_padded || slice_uint(text, UINT16_MAX, &value) != ERR_OK) {
        return false;
    }
    *tcp_port = (uint16_t)value;
    return true;
}

static bool read_addr(struct slice text, bool is_v6, struct ip6 *ip)
{
    return slice_has_byte(text, ':') == is_v6 && ip6_parse(text, ip) == ERR_OK;
}

/* "PROXY TCP4 192.0.2.1 192.0.2.2 56324 25\r\n" */
static bool read_v1(struct slice line, struct proxy_header *header)
{
    if (!slice_ends(line, SLICE("\r\n")) || slice_has_control(slice_head(line, line.len - 2), "")) {
        return false;
    }
    struct slice rest = slice_sub(line, v1_sign.len, line.len - v1_sign.len - 2);
    struct slice family = slice_cut(&rest, ' ');
    if (slice_equal(family, SLICE("UNKNOWN"))) {
        return true; /* whatever follows is to be ignored */
    }
    bool is_v6 = slice_equal(family, SLICE("TCP6"));
    struct slice source = slice_cut(&rest, ' ');
    struct slice dest = slice_cut(&rest, ' ');
    struct slice source_port = slice_cut(&rest, ' ');
    header->is_local = false;
    return (is_v6 || slice_equal(family, SLICE("TCP4"))) &&
           read_addr(source, is_v6, &header->source) && read_addr(dest, is_v6, &header->dest) &&
           read_port(source_port, &header->source_tcp_port) &&
           read_port(rest, &header->dest_tcp_port);
}

static enum proxy_event feed_v1(struct proxy_reader *reader, struct slice *rest)
{
    size_t lf = slice_find_byte(*rest, '\n');
    struct slice part = slice_head(*rest, lf == SIZE_MAX ? rest->len : lf + 1);
    if (part.len > PROXY_V1_MAX - reader->bytes.len) {
        return PROXY_EVENT_INVALID;
    }
    buf_add(&reader->bytes, part);
    *rest = slice_from(*rest, part.len);
    if (lf == SIZE_MAX) {
        return reader->bytes.len < PROXY_V1_MAX ? PROXY_EVENT_MORE : PROXY_EVENT_INVALID;
    }
    return read_v1(buf_slice(&reader->bytes), &reader->header) ? PROXY_EVENT_DONE
                                                               : PROXY_EVENT_INVALID;
}

/* ---- version 2 ------------------------------------------------------------------------------- */

static uint8_t byte_at(struct slice s, size_t at)
{
    return (uint8_t)s.data[at];
}

static uint16_t u16_at(struct slice s, size_t at)
{
    return (uint16_t)(byte_at(s, at) << 8 | byte_at(s, at + 1));
}

/* CRC-32C (Castagnoli, RFC 3720 B.4), bit by bit: a header in a connection's life needs no table.
 */
static uint32_t crc32c(uint32_t crc, struct slice s)
{
    for (size_t i = 0; i < s.len; i++) {
        crc ^= byte_at(s, i);
        for (int bit = 0; bit < 8; bit++) {
            crc = (crc >> 1) ^ ((crc & 1) != 0 ? UINT32_C(0x82f63b78) : 0);
        }
    }
    return crc;
}

/* at: where the four bytes of the sum stand in the header; they count as zeros. */
static bool is_crc_right(struct slice bytes, size_t at)
{
    uint32_t said = (uint32_t)u16_at(bytes, at) << 16 | u16_at(bytes, at + 2);
    uint32_t crc = crc32c(UINT32_MAX, slice_head(bytes, at));
    crc = crc32c(crc, SLICE("\0\0\0\0"));
    crc = crc32c(crc, slice_from(bytes, at + CRC_BYTES));
    return said == ~crc;
}

/* Walks the type-length-values from `at` on. False when they do not fill the header exactly or its
 * sum is wrong. */
static bool check_tlvs(struct slice bytes, size_t at, bool is_strict)
{
    while (at < bytes.len) {
        if (bytes.len - at < 3 || bytes.len - at - 3 < u16_at(bytes, at + 1)) {
            return !is_strict;
        }
        size_t len = u16_at(bytes, at + 1);
        if (byte_at(bytes, at) == TLV_CRC32C &&
            (len != CRC_BYTES || !is_crc_right(bytes, at + 3))) {
            return !is_strict && len != CRC_BYTES;
        }
        at += 3 + len;
    }
    return true;
}

static struct ip6 v4_at(struct slice s, size_t at)
{
    struct ip6 ip = {.bytes = {[10] = 0xff, [11] = 0xff}};
    memcpy(ip.bytes + 12, s.data + at, 4);
    return ip;
}

static struct ip6 v6_at(struct slice s, size_t at)
{
    struct ip6 ip;
    memcpy(ip.bytes, s.data + at, sizeof(ip.bytes));
    return ip;
}

static bool read_v2(struct slice bytes, struct proxy_header *header)
{
    enum { V2_LOCAL = 0x20, V2_PROXY = 0x21 };
    enum { UNSPEC = 0x00, TCP4 = 0x11, TCP6 = 0x21, UNIX_STREAM = 0x31 };
    static const struct {
        uint8_t family;
        size_t bytes; /* of both addresses and ports */
    } blocks[] = {{UNSPEC, 0}, {TCP4, 12}, {TCP6, 36}, {UNIX_STREAM, 216}};
    const uint8_t command = byte_at(bytes, V2_SIGN_LEN);
    const uint8_t family = byte_at(bytes, V2_SIGN_LEN + 1);
    size_t i = 0;
    while (i < ARRAY_LEN(blocks) && blocks[i].family != family) {
        i++;
    }
    if (command == V2_LOCAL) {
        /* Addresses are to be ignored whatever they are; so is what we cannot walk. */
        size_t skipped = i < ARRAY_LEN(blocks) ? blocks[i].bytes : bytes.len;
        return check_tlvs(bytes, V2_FIXED + skipped, false);
    }
    /* Datagrams are nothing that a stream could carry for anyone. */
    if (command != V2_PROXY || i == ARRAY_LEN(blocks) || bytes.len < V2_FIXED + blocks[i].bytes) {
        return false;
    }
    header->is_local = family != TCP4 && family != TCP6;
    if (family == TCP4) {
        header->source = v4_at(bytes, V2_FIXED);
        header->dest = v4_at(bytes, V2_FIXED + 4);
        header->source_tcp_port = u16_at(bytes, V2_FIXED + 8);
        header->dest_tcp_port = u16_at(bytes, V2_FIXED + 10);
    } else if (family == TCP6) {
        header->source = v6_at(bytes, V2_FIXED);
        header->dest = v6_at(bytes, V2_FIXED + 16);
        header->source_tcp_port = u16_at(bytes, V2_FIXED + 32);
        header->dest_tcp_port = u16_at(bytes, V2_FIXED + 34);
    }
    return check_tlvs(bytes, V2_FIXED + blocks[i].bytes, family != UNSPEC);
}

/* Moves bytes over until the reader has wanted of them. */
static bool gather(struct proxy_reader *reader, struct slice *rest, size_t wanted)
{
    size_t missing = wanted - min_size(wanted, reader->bytes.len);
    struct slice part = slice_head(*rest, missing);
    buf_add(&reader->bytes, part);
    *rest = slice_from(*rest, part.len);
    return part.len == missing;
}

static enum proxy_event feed_v2(struct proxy_reader *reader, struct slice *rest)
{
    if (!gather(reader, rest, V2_FIXED)) {
        return PROXY_EVENT_MORE;
    }
    size_t wanted = V2_FIXED + (size_t)u16_at(buf_slice(&reader->bytes), V2_FIXED - 2);
    if (wanted > PROXY_V2_MAX) {
        return PROXY_EVENT_INVALID;
    }
    if (!gather(reader, rest, wanted)) {
        return PROXY_EVENT_MORE;
    }
    return read_v2(buf_slice(&reader->bytes), &reader->header) ? PROXY_EVENT_DONE
                                                               : PROXY_EVENT_INVALID;
}

/* ---- either ---------------------------------------------------------------------------------- */

enum proxy_event proxy_feed(struct proxy_reader *reader, struct slice data, size_t *used)
{
    struct slice rest = data;
    enum proxy_event event = PROXY_EVENT_MORE;
    *used = 0;
    if (data.len > 0) {
        char first = reader->bytes.len > 0 ? reader->bytes.data[0] : data.data[0];
        struct slice sign = first == v2_sign.data[0] ? v2_sign : v1_sign;
        bool is_whole = gather(reader, &rest, sign.len);
        struct slice head = slice_head(buf_slice(&reader->bytes), sign.len);
        if (!slice_starts(sign, head)) {
            return PROXY_EVENT_INVALID;
        }
        if (is_whole) {
            event = sign.len == v2_sign.len ? feed_v2(reader, &rest) : feed_v1(reader, &rest);
        }
    }
    *used = data.len - rest.len;
    if (event == PROXY_EVENT_DONE) {
        buf_fini(&reader->bytes);
    }
    return event;
}
