/* trace.c - see trace.h. */
#include "base/trace.h"

#include <string.h>

#define ID_AT       3
#define SPAN_AT     36
#define FLAGS_AT    53
#define TEXT_LEN    55
#define FLAGS_KNOWN 0x01 /* sampled */

static bool read_hex(struct slice text, size_t at, uint8_t *out, size_t count);
static bool is_zero(const uint8_t *bytes, size_t count);
static size_t write_hex(const uint8_t *bytes, size_t count, char *out);

bool trace_read(struct slice header, struct trace *trace)
{
    struct trace got;
    uint8_t version = 0;
    if (header.len < TEXT_LEN || !read_hex(header, 0, &version, 1) || version == 0xff) {
        return false;
    }
    if (header.len > TEXT_LEN && (version == 0 || header.data[TEXT_LEN] != '-')) {
        return false;
    }
    if (header.data[ID_AT - 1] != '-' || header.data[SPAN_AT - 1] != '-' ||
        header.data[FLAGS_AT - 1] != '-') {
        return false;
    }
    if (!read_hex(header, ID_AT, got.id, sizeof got.id) ||
        !read_hex(header, SPAN_AT, got.span, sizeof got.span) ||
        !read_hex(header, FLAGS_AT, &got.flags, 1)) {
        return false;
    }
    if (is_zero(got.id, sizeof got.id) || is_zero(got.span, sizeof got.span)) {
        return false;
    }
    got.flags &= FLAGS_KNOWN;
    *trace = got;
    return true;
}

bool trace_is_none(const struct trace *trace)
{
    return is_zero(trace->id, sizeof trace->id);
}

size_t trace_text(const struct trace *trace, char out[TRACE_TEXT_MAX])
{
    if (trace_is_none(trace)) {
        out[0] = '\0';
        return 0;
    }
    memcpy(out, "00-", ID_AT);
    (void)write_hex(trace->id, sizeof trace->id, out + ID_AT); /* the places are fixed */
    out[SPAN_AT - 1] = '-';
    (void)write_hex(trace->span, sizeof trace->span, out + SPAN_AT); /* likewise */
    out[FLAGS_AT - 1] = '-';
    (void)write_hex(&trace->flags, 1, out + FLAGS_AT); /* likewise */
    out[TEXT_LEN] = '\0';
    return TEXT_LEN;
}

size_t trace_id_text(const struct trace *trace, char out[TRACE_TEXT_MAX])
{
    size_t len = trace_is_none(trace) ? 0 : write_hex(trace->id, sizeof trace->id, out);
    out[len] = '\0';
    return len;
}

bool request_id_is_good(struct slice id)
{
    for (size_t i = 0; i < id.len; i++) {
        char byte = id.data[i];
        if (!ascii_is_alpha(byte) && !ascii_is_digit(byte) && byte != '-' && byte != '_' &&
            byte != '.') {
            return false;
        }
    }
    return id.len >= REQUEST_ID_MIN && id.len < REQUEST_ID_MAX;
}

/* Small letters only: Trace Context 3.2.2.2. */
static bool read_hex(struct slice text, size_t at, uint8_t *out, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        char high = text.data[at + 2 * i];
        char low = text.data[at + 2 * i + 1];
        if (ascii_hex_value(high) < 0 || ascii_hex_value(low) < 0 || ascii_lower(high) != high ||
            ascii_lower(low) != low) {
            return false;
        }
        out[i] = (uint8_t)(ascii_hex_value(high) << 4 | ascii_hex_value(low));
    }
    return true;
}

static bool is_zero(const uint8_t *bytes, size_t count)
{
    uint8_t any = 0;
    for (size_t i = 0; i < count; i++) {
        any |= bytes[i];
    }
    return any == 0;
}

static size_t write_hex(const uint8_t *bytes, size_t count, char *out)
{
    static const char digits[] = "0123456789abcdef";
    for (size_t i = 0; i < count; i++) {
        out[2 * i] = digits[bytes[i] >> 4];
        out[2 * i + 1] = digits[bytes[i] & 15];
    }
    return 2 * count;
}
