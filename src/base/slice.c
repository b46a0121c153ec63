/* slice.c - every bound is checked here once, so that callers need not.
 *
 * An empty slice may have a NULL pointer, and C forbids both memcmp(NULL, ..., 0) and NULL + 0, so
 * each function looks at the length before it touches data.
 */
#include "base/slice.h"

#include <string.h>

static struct slice trim_front(struct slice s);
static size_t utf8_sequence(const unsigned char *p, size_t left);

struct slice slice_of(const void *data, size_t len)
{
    return (struct slice){.data = data, .len = len};
}

struct slice slice_str(const char *terminated)
{
    if (terminated == NULL) {
        return (struct slice){.data = NULL, .len = 0};
    }
    return (struct slice){.data = terminated, .len = strlen(terminated)};
}

bool slice_equal(struct slice a, struct slice b)
{
    return a.len == b.len && (a.len == 0 || memcmp(a.data, b.data, a.len) == 0);
}

bool slice_equal_nocase(struct slice a, struct slice b)
{
    if (a.len != b.len) {
        return false;
    }
    for (size_t i = 0; i < a.len; i++) {
        if (ascii_lower(a.data[i]) != ascii_lower(b.data[i])) {
            return false;
        }
    }
    return true;
}

int slice_compare(struct slice a, struct slice b)
{
    size_t common = min_size(a.len, b.len);
    int order = common == 0 ? 0 : memcmp(a.data, b.data, common);
    if (order != 0) {
        return order;
    }
    return (a.len > b.len) - (a.len < b.len);
}

bool slice_starts(struct slice s, struct slice prefix)
{
    return s.len >= prefix.len && slice_equal(slice_head(s, prefix.len), prefix);
}

bool slice_starts_nocase(struct slice s, struct slice prefix)
{
    return s.len >= prefix.len && slice_equal_nocase(slice_head(s, prefix.len), prefix);
}

bool slice_ends(struct slice s, struct slice suffix)
{
    return s.len >= suffix.len && slice_equal(slice_from(s, s.len - suffix.len), suffix);
}

bool slice_ends_nocase(struct slice s, struct slice suffix)
{
    return s.len >= suffix.len && slice_equal_nocase(slice_from(s, s.len - suffix.len), suffix);
}

size_t slice_find_byte(struct slice s, char byte)
{
    if (s.len == 0) {
        return SIZE_MAX;
    }
    const char *found = memchr(s.data, byte, s.len);
    return found == NULL ? SIZE_MAX : (size_t)(found - s.data);
}

size_t slice_rfind_byte(struct slice s, char byte)
{
    if (s.len == 0) {
        return SIZE_MAX;
    }
    const char *found = memrchr(s.data, byte, s.len);
    return found == NULL ? SIZE_MAX : (size_t)(found - s.data);
}

size_t slice_find(struct slice s, struct slice needle)
{
    if (needle.len == 0) {
        return 0;
    }
    if (needle.len > s.len) {
        return SIZE_MAX;
    }
    const char *found = memmem(s.data, s.len, needle.data, needle.len);
    return found == NULL ? SIZE_MAX : (size_t)(found - s.data);
}

bool slice_has_byte(struct slice s, char byte)
{
    return slice_find_byte(s, byte) != SIZE_MAX;
}

struct slice slice_from(struct slice s, size_t from)
{
    size_t skip = min_size(from, s.len);
    if (skip == 0) {
        return s;
    }
    return (struct slice){.data = s.data + skip, .len = s.len - skip};
}

struct slice slice_head(struct slice s, size_t len)
{
    return (struct slice){.data = s.data, .len = min_size(len, s.len)};
}

struct slice slice_sub(struct slice s, size_t from, size_t len)
{
    return slice_head(slice_from(s, from), len);
}

struct slice slice_trim(struct slice s)
{
    s = trim_front(s);
    while (s.len > 0 && ascii_is_space(s.data[s.len - 1])) {
        s.len--;
    }
    return s;
}

struct slice slice_cut(struct slice *rest, char byte)
{
    struct slice whole = *rest;
    size_t at = slice_find_byte(whole, byte);
    if (at == SIZE_MAX) {
        *rest = (struct slice){.data = NULL, .len = 0};
        return whole;
    }
    *rest = slice_from(whole, at + 1);
    return slice_head(whole, at);
}

enum err slice_u64(struct slice s, uint64_t *out)
{
    return slice_uint(s, UINT64_MAX, out);
}

enum err slice_i64(struct slice s, int64_t *out)
{
    uint64_t magnitude = 0;
    if (s.len > 0 && s.data[0] == '-') {
        enum err err = slice_uint(slice_from(s, 1), (uint64_t)INT64_MAX + 1, &magnitude);
        if (err != ERR_OK) {
            return err;
        }
        /* INT64_MIN has no positive twin, so the step over zero is taken last. */
        *out = magnitude == 0 ? 0 : -(int64_t)(magnitude - 1) - 1;
        return ERR_OK;
    }
    enum err err = slice_uint(s, INT64_MAX, &magnitude);
    if (err != ERR_OK) {
        return err;
    }
    *out = (int64_t)magnitude;
    return ERR_OK;
}

enum err slice_uint(struct slice s, uint64_t max, uint64_t *out)
{
    if (s.len == 0) {
        return ERR_INVALID;
    }
    uint64_t value = 0;
    for (size_t i = 0; i < s.len; i++) {
        if (!ascii_is_digit(s.data[i])) {
            return ERR_INVALID;
        }
        uint64_t digit = (uint64_t)(s.data[i] - '0');
        if (value > (UINT64_MAX - digit) / 10) {
            return ERR_INVALID;
        }
        value = value * 10 + digit;
    }
    if (value > max) {
        return ERR_INVALID;
    }
    *out = value;
    return ERR_OK;
}

bool slice_is_utf8(struct slice s)
{
    size_t at = 0;
    while (at < s.len) {
        size_t taken = utf8_sequence((const unsigned char *)s.data + at, s.len - at);
        if (taken == 0) {
            return false;
        }
        at += taken;
    }
    return true;
}

bool slice_is_ascii(struct slice s)
{
    for (size_t i = 0; i < s.len; i++) {
        if ((unsigned char)s.data[i] > 0x7f) {
            return false;
        }
    }
    return true;
}

bool slice_has_control(struct slice s, const char *allowed)
{
    for (size_t i = 0; i < s.len; i++) {
        unsigned char byte = (unsigned char)s.data[i];
        if (byte == 0x7f || byte == 0) {
            return true; /* strchr would find NUL in any `allowed` */
        }
        if (byte < 0x20 && strchr(allowed, byte) == NULL) {
            return true;
        }
    }
    return false;
}

static struct slice trim_front(struct slice s)
{
    size_t skip = 0;
    while (skip < s.len && ascii_is_space(s.data[skip])) {
        skip++;
    }
    return slice_from(s, skip);
}

/* Length of the well-formed sequence at p, or 0. The second byte's range is what rules out overlong
 * forms, surrogates and numbers past U+10FFFF (RFC 3629 4). */
static size_t utf8_sequence(const unsigned char *p, size_t left)
{
    unsigned char lead = p[0];
    unsigned char low = 0x80;
    unsigned char high = 0xbf;
    size_t len = 0;
    if (lead <= 0x7f) {
        return 1;
    }
    if (lead >= 0xc2 && lead <= 0xdf) {
        len = 2;
    } else if (lead >= 0xe0 && lead <= 0xef) {
        len = 3;
        low = lead == 0xe0 ? 0xa0 : 0x80;
        high = lead == 0xed ? 0x9f : 0xbf;
    } else if (lead >= 0xf0 && lead <= 0xf4) {
        len = 4;
        low = lead == 0xf0 ? 0x90 : 0x80;
        high = lead == 0xf4 ? 0x8f : 0xbf;
    } else {
        return 0;
    }
    if (left < len || p[1] < low || p[1] > high) {
        return 0;
    }
    for (size_t i = 2; i < len; i++) {
        if (p[i] < 0x80 || p[i] > 0xbf) {
            return 0;
        }
    }
    return len;
}
