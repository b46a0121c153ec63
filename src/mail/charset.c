/* charset.c - labels by table, conversion by iconv, and a UTF-8 reader that gives up on nothing.
 */
#include "mail/charset.h"

#include "base/check.h"

#include <errno.h>
#include <iconv.h>
#include <string.h>

#define LABEL_MAX 40
#define BLOCK     4096 /* bytes of output from one call of iconv */

static const struct slice REPLACEMENT = SLICE_INIT("\xef\xbf\xbd"); /* U+FFFD */
static const struct slice BYTE_ORDER_MARK = SLICE_INIT("\xef\xbb\xbf");

struct charset {
    const char *label; /* lower case, '-' for '_', without "x-" */
    const char *name;
};

/* Supersets stand for what is only ever a mislabelled superset (the WHATWG encoding standard 4.2
 * made the same choices). Converters that nobody needs are left out: each is attack surface. */
static const struct charset charsets[] = {
    {"", "us-ascii"},
    {"us-ascii", "us-ascii"},
    {"ascii", "us-ascii"},
    {"ansi-x3.4-1968", "us-ascii"},
    {"646", "us-ascii"},
    {"7bit", "us-ascii"},
    {"8bit", "us-ascii"},
    {"unknown-8bit", "us-ascii"},
    {"unknown", "us-ascii"},
    {"utf-8", "utf-8"},
    {"utf8", "utf-8"},
    {"unicode-1-1-utf-8", "utf-8"},
    {"utf-7", "utf-7"},
    {"unicode-1-1-utf-7", "utf-7"},
    {"utf-16", "utf-16"},
    {"utf-16le", "utf-16le"},
    {"utf-16be", "utf-16be"},
    {"utf-32", "utf-32"},
    {"utf-32le", "utf-32le"},
    {"utf-32be", "utf-32be"},
    {"iso-8859-1", "windows-1252"},
    {"latin1", "windows-1252"},
    {"latin-1", "windows-1252"},
    {"ansi", "windows-1252"},
    {"windows-1252", "windows-1252"},
    {"iso-8859-2", "iso-8859-2"},
    {"latin2", "iso-8859-2"},
    {"iso-8859-3", "iso-8859-3"},
    {"iso-8859-4", "iso-8859-4"},
    {"iso-8859-5", "iso-8859-5"},
    {"iso-8859-6", "iso-8859-6"},
    {"iso-8859-7", "iso-8859-7"},
    {"iso-8859-8", "iso-8859-8"},
    {"iso-8859-8-i", "iso-8859-8"},
    {"iso-8859-8-e", "iso-8859-8"},
    {"iso-8859-9", "windows-1254"},
    {"iso-8859-10", "iso-8859-10"},
    {"iso-8859-11", "cp874"},
    {"iso-8859-13", "iso-8859-13"},
    {"iso-8859-14", "iso-8859-14"},
    {"iso-8859-15", "iso-8859-15"},
    {"latin-9", "iso-8859-15"},
    {"iso-8859-16", "iso-8859-16"},
    {"windows-874", "cp874"},
    {"tis-620", "cp874"},
    {"windows-1250", "windows-1250"},
    {"windows-1251", "windows-1251"},
    {"windows-1253", "windows-1253"},
    {"windows-1254", "windows-1254"},
    {"windows-1255", "windows-1255"},
    {"windows-1256", "windows-1256"},
    {"windows-1257", "windows-1257"},
    {"windows-1258", "windows-1258"},
    {"koi8-r", "koi8-r"},
    {"koi8-u", "koi8-u"},
    {"koi8-ru", "koi8-u"},
    {"ibm437", "cp437"},
    {"ibm850", "cp850"},
    {"ibm852", "cp852"},
    {"ibm855", "cp855"},
    {"ibm858", "cp858"},
    {"ibm866", "cp866"},
    {"macintosh", "macintosh"},
    {"mac-roman", "macintosh"},
    {"mac-cyrillic", "mac-cyrillic"},
    {"shift-jis", "cp932"},
    {"sjis", "cp932"},
    {"ms-kanji", "cp932"},
    {"windows-31j", "cp932"},
    {"windows-932", "cp932"},
    {"euc-jp", "euc-jp-ms"},
    {"iso-2022-jp", "iso-2022-jp"},
    {"iso-2022-jp-2", "iso-2022-jp-2"},
    {"gb2312", "gb18030"},
    {"gbk", "gb18030"},
    {"gb18030", "gb18030"},
    {"windows-936", "gb18030"},
    {"euc-cn", "gb18030"},
    {"big5", "big5-hkscs"},
    {"big5-hkscs", "big5-hkscs"},
    {"windows-950", "big5-hkscs"},
    {"euc-tw", "euc-tw"},
    {"euc-kr", "cp949"},
    {"ks-c-5601-1987", "cp949"},
    {"ksc5601", "cp949"},
    {"windows-949", "cp949"},
    {"iso-2022-kr", "iso-2022-kr"},
};

static size_t normalise(struct slice label, char out[LABEL_MAX]);
static bool add_clean(struct slice text, struct buf *out);
static bool convert(iconv_t cd, struct slice text, size_t unit, struct buf *out);

const char *charset_find(struct slice label)
{
    char text[LABEL_MAX];
    label = slice_trim(label);
    while (label.len > 0 && (label.data[0] == '"' || label.data[0] == '\'')) {
        label = slice_from(label, 1); /* a quote that was never closed, or the wrong one */
    }
    while (slice_ends(label, SLICE("'")) || slice_ends(label, SLICE("\""))) {
        label.len--;
    }
    if (label.len >= LABEL_MAX) {
        return NULL;
    }
    struct slice wanted = slice_of(text, normalise(label, text));
    for (size_t i = 0; i < ARRAY_LEN(charsets); i++) {
        if (slice_equal(wanted, slice_str(charsets[i].label))) {
            return charsets[i].name;
        }
    }
    return NULL;
}

/* The spellings of one name become one: "ISO_8859-1", "iso8859-1", "CP1252", "x-sjis". The longest
 * prefix that is added has two bytes more than the one it replaces. */
static size_t normalise(struct slice label, char out[LABEL_MAX])
{
    static const struct {
        const char *from;
        const char *to;
    } prefixes[] = {{"iso8859-", "iso-8859-"}, {"iso88", "iso-88"}, {"cp125", "windows-125"},
                    {"cp4", "ibm4"},           {"cp8", "ibm8"},     {"cp9", "windows-9"},
                    {"ms9", "windows-9"},      {"win-", "windows-"}};
    char lower[LABEL_MAX];
    for (size_t i = 0; i < label.len; i++) {
        lower[i] = label.data[i] == '_' ? '-' : ascii_lower(label.data[i]);
    }
    struct slice text = slice_of(lower, label.len);
    if (slice_starts(text, SLICE("x-"))) {
        text = slice_from(text, 2);
    }
    struct slice head = SLICE("");
    for (size_t i = 0; i < ARRAY_LEN(prefixes) && head.len == 0; i++) {
        if (slice_starts(text, slice_str(prefixes[i].from))) {
            head = slice_str(prefixes[i].to);
            text = slice_from(text, strlen(prefixes[i].from));
        }
    }
    text = slice_head(text, LABEL_MAX - head.len);
    memcpy(out, head.data, head.len);
    if (text.len > 0) {
        memcpy(out + head.len, text.data, text.len);
    }
    return head.len + text.len;
}

bool charset_to_utf8(const char *name, struct slice text, struct buf *out)
{
    if (name == NULL) {
        name = CHARSET_FALLBACK;
    }
    bool is_ascii_label = strcmp(name, "us-ascii") == 0;
    if (strcmp(name, "utf-8") == 0 || (is_ascii_label && slice_is_utf8(text))) {
        if (slice_starts(text, BYTE_ORDER_MARK)) {
            text = slice_from(text, BYTE_ORDER_MARK.len);
        }
        return add_clean(text, out);
    }
    iconv_t cd = iconv_open("UTF-8", is_ascii_label ? CHARSET_FALLBACK : name);
    if (cd == (iconv_t)-1) {
        return add_clean(text, out); /* an installation without the converter */
    }
    size_t unit = strncmp(name, "utf-16", 6) == 0 ? 2 : strncmp(name, "utf-32", 6) == 0 ? 4 : 1;
    bool is_whole = convert(cd, text, unit, out);
    (void)iconv_close(cd); /* cannot fail for what iconv_open gave */
    return is_whole;
}

static bool convert(iconv_t cd, struct slice text, size_t unit, struct buf *out)
{
    char block[BLOCK];
    const size_t begun = out->len;
    char *in = (char *)(uintptr_t)text.data; /* iconv writes through its pointer, not to the text */
    size_t left = text.len;
    bool is_ended = false;
    while (!is_ended) {
        char *to = block;
        size_t room = sizeof block;
        is_ended = left == 0; /* then what the converter held back comes */
        size_t status = iconv(cd, is_ended ? NULL : &in, &left, &to, &room);
        int why = status == (size_t)-1 ? errno : 0;
        struct slice got = slice_of(block, (size_t)(to - block));
        if (out->len == begun && slice_starts(got, BYTE_ORDER_MARK)) {
            got = slice_from(got, BYTE_ORDER_MARK.len);
        }
        if (!add_clean(got, out)) {
            return false;
        }
        if (why == EILSEQ || why == EINVAL) { /* damaged, or cut within a character */
            if (!add_clean(REPLACEMENT, out)) {
                return false;
            }
            size_t skipped = why == EINVAL ? left : min_size(unit, left);
            in += skipped;
            left -= skipped;
        }
    }
    return true;
}

/* Runs of good text are copied at once. One U+FFFD stands for a NUL, and one for a damaged
 * character with the bytes behind it that continue nothing. */
static bool add_clean(struct slice text, struct buf *out)
{
    size_t at = 0;
    while (at < text.len) {
        const uint8_t *bytes = (const uint8_t *)text.data;
        size_t good = 0;
        size_t len = 0;
        for (; at + good < text.len; good += len) {
            uint8_t byte = bytes[at + good];
            bool is_ascii = byte > 0 && byte < 0x80; /* most of all text */
            len = is_ascii ? 1 : utf8_char_len(slice_from(text, at + good));
            if (len == 0 || byte == 0) {
                break;
            }
        }
        struct slice run = slice_sub(text, at, good);
        size_t room = out->max_bytes - out->len;
        buf_add(out, slice_head(run, utf8_head_len(run, room)));
        at += good;
        if (run.len > room) {
            return false;
        }
        if (at < text.len) {
            if (out->max_bytes - out->len < REPLACEMENT.len) {
                return false;
            }
            buf_add(out, REPLACEMENT);
            at++;
            size_t end = min_size(text.len, bytes[at - 1] == 0 ? at : at + 3);
            while (at < end && (bytes[at] & 0xc0) == 0x80) {
                at++;
            }
        }
    }
    return true;
}

void charset_guess_byte(uint8_t byte, struct buf *out)
{
    /* windows-1252 from 0x80 to 0x9f; what it does not assign is U+FFFD. */
    static const uint16_t high[32] = {
        0x20ac, 0xfffd, 0x201a, 0x0192, 0x201e, 0x2026, 0x2020, 0x2021, 0x02c6, 0x2030, 0x0160,
        0x2039, 0x0152, 0xfffd, 0x017d, 0xfffd, 0xfffd, 0x2018, 0x2019, 0x201c, 0x201d, 0x2022,
        0x2013, 0x2014, 0x02dc, 0x2122, 0x0161, 0x203a, 0x0153, 0xfffd, 0x017e, 0x0178,
    };
    uint32_t code = byte >= 0x80 && byte < 0xa0 ? high[byte - 0x80] : byte;
    if (code < 0x80) {
        buf_add_byte(out, (char)code);
    } else if (code < 0x800) {
        buf_add_byte(out, (char)(0xc0 | code >> 6));
        buf_add_byte(out, (char)(0x80 | (code & 0x3f)));
    } else {
        buf_add_byte(out, (char)(0xe0 | code >> 12));
        buf_add_byte(out, (char)(0x80 | (code >> 6 & 0x3f)));
        buf_add_byte(out, (char)(0x80 | (code & 0x3f)));
    }
}

size_t utf8_char_len(struct slice text)
{
    uint8_t first = text.len > 0 ? (uint8_t)text.data[0] : 0;
    size_t len = first < 0x80 ? 1 : first >= 0xf0 ? 4 : first >= 0xe0 ? 3 : 2;
    return len <= text.len && slice_is_utf8(slice_head(text, len)) ? len : 0;
}

size_t utf8_head_len(struct slice text, size_t max)
{
    if (text.len <= max) {
        return text.len;
    }
    size_t len = max;
    while (len > 0 && ((uint8_t)text.data[len] & 0xc0) == 0x80) {
        len--;
    }
    return len;
}
