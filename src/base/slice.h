/* slice.h - text and bytes as a pointer and a length, passed by value.
 *
 * A slice borrows: it never owns what it points at, and a struct that stores one says whose bytes
 * they are. Optional text is the empty slice, never a NULL test. All searching, trimming and number
 * parsing of the program is here, so that bounds are checked in one place. Case folding is ASCII
 * only, as mail and HTTP demand; no function looks at the locale.
 */
#ifndef BASE_SLICE_H
#define BASE_SLICE_H

#include "base/base.h"
#include "base/err.h"

struct slice {
    const char *data; /* may be NULL when len is 0; not terminated */
    size_t len;
};

/* A slice of a string literal, at compile time and at run time. */
#define SLICE(literal) ((struct slice){.data = "" literal "", .len = sizeof(literal) - 1})
#define SLICE_INIT(literal)                                                                        \
    {                                                                                              \
        .data = "" literal "", .len = sizeof(literal) - 1                                          \
    }
/* For printf: printf("%.*s", SLICE_FMT(s)). Cuts at INT_MAX. */
#define SLICE_FMT(s) (int)((s).len > 0x7fffffff ? 0x7fffffff : (s).len), (s).data ? (s).data : ""

struct slice slice_of(const void *data, size_t len);
struct slice slice_str(const char *terminated);

bool slice_equal(struct slice a, struct slice b);
bool slice_equal_nocase(struct slice a, struct slice b);
int slice_compare(struct slice a, struct slice b); /* memcmp order, the shorter first */
bool slice_starts(struct slice s, struct slice prefix);
bool slice_starts_nocase(struct slice s, struct slice prefix);
bool slice_ends(struct slice s, struct slice suffix);
bool slice_ends_nocase(struct slice s, struct slice suffix);

/* Position of the first (or last) occurrence, or SIZE_MAX. */
size_t slice_find_byte(struct slice s, char byte);
size_t slice_rfind_byte(struct slice s, char byte);
size_t slice_find(struct slice s, struct slice needle);
bool slice_has_byte(struct slice s, char byte);

/* The part from `from` on, and the first `len` bytes; both clamp to what is there. */
struct slice slice_from(struct slice s, size_t from);
struct slice slice_head(struct slice s, size_t len);
struct slice slice_sub(struct slice s, size_t from, size_t len);

/* Without spaces, tabs, CR and LF at both ends. */
struct slice slice_trim(struct slice s);

/* Cuts the part before the first `byte` off *rest and returns it; *rest continues after the byte.
 * When the byte is absent, all of *rest is returned, *rest becomes empty and its data NULL. Loop:
 * while (rest.data) { part = slice_cut(&rest, ','); ... } */
struct slice slice_cut(struct slice *rest, char byte);

/* Decimal numbers. The whole slice must be digits (and one leading '-' for the signed one).
 * ERR_INVALID on anything else or on overflow; *out untouched then. */
MUST_USE enum err slice_u64(struct slice s, uint64_t *out);
MUST_USE enum err slice_i64(struct slice s, int64_t *out);
/* As slice_u64, but also ERR_INVALID when above max. */
MUST_USE enum err slice_uint(struct slice s, uint64_t max, uint64_t *out);

/* Well-formed UTF-8 (no surrogates, no overlong forms, up to U+10FFFF). NUL is allowed here. */
bool slice_is_utf8(struct slice s);
bool slice_is_ascii(struct slice s);
/* Any byte below 0x20 except those in `allowed`, or 0x7f. */
bool slice_has_control(struct slice s, const char *allowed);

/* ASCII helpers on single bytes, locale-free. */
static inline char ascii_lower(char c)
{
    return (c >= 'A' && c <= 'Z') ? (char)(c + 32) : c;
}
static inline bool ascii_is_digit(char c)
{
    return c >= '0' && c <= '9';
}
/* Of a hexadecimal digit, in either case; -1 for anything else. */
static inline int ascii_hex_value(char c)
{
    char low = ascii_lower(c);
    if (ascii_is_digit(c)) {
        return c - '0';
    }
    return low >= 'a' && low <= 'f' ? low - 'a' + 10 : -1;
}
static inline bool ascii_is_alpha(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}
static inline bool ascii_is_space(char c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

#endif
