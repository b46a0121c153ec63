/* mime_split.c - one look at the head of each line, one pass over a level's bytes.
 */
#include "mail/mime_split.h"

#include "base/check.h"
#include "mail/header.h"

struct delimiter {
    size_t begin; /* of the line, with the line end before it, which is the boundary's */
    size_t end;   /* behind the line */
    bool is_final;
};

static size_t block_len(struct slice entity);
static bool find_delimiter(struct slice text, struct slice boundary, struct delimiter *found);
static bool match_line(struct slice text, struct slice boundary, struct delimiter *found);

bool mime_split_entity(struct slice entity, struct slice *headers, struct slice *content)
{
    size_t len = block_len(entity);
    bool is_sound = len != SIZE_MAX;
    if (!is_sound) {
        struct slice rest = entity;
        struct header_field field;
        len = 0;
        while (header_next(&rest, &field)) {
            bool is_mbox_line = len == 0 && slice_starts(field.whole, SLICE("From "));
            if (!is_mbox_line && !header_name_is_valid(field.name)) {
                break;
            }
            len += field.whole.len;
        }
        is_sound = len == entity.len; /* a body is optional, RFC 5322 3.5 */
    }
    *headers = slice_head(entity, len);
    *content = slice_from(entity, len);
    return is_sound;
}

/* header_block_len for entities of millions of lines; SIZE_MAX: no line is empty. */
static size_t block_len(struct slice entity)
{
    if (slice_starts(entity, SLICE("\n"))) {
        return 1;
    }
    if (slice_starts(entity, SLICE("\r\n"))) {
        return 2;
    }
    size_t lf = slice_find(entity, SLICE("\n\n"));
    size_t crlf = slice_find(slice_head(entity, lf), SLICE("\n\r\n"));
    if (crlf != SIZE_MAX) {
        return crlf + 3;
    }
    return lf == SIZE_MAX ? SIZE_MAX : lf + 2;
}

void mime_split_start(struct mime_split *split, struct slice content, struct slice boundary)
{
    CHECK(boundary.len > 0);
    *split = (struct mime_split){.rest = content, .boundary = boundary};
}

bool mime_split_next(struct mime_split *split, struct slice *part)
{
    struct delimiter found;
    if (!split->has_begun) { /* what comes before the first boundary is nobody's */
        if (!find_delimiter(split->rest, split->boundary, &found)) {
            return false;
        }
        split->has_begun = true;
        split->is_closed = found.is_final;
        split->rest = slice_from(split->rest, found.end);
    }
    if (split->is_closed || split->rest.len == 0) {
        return false;
    }
    if (!find_delimiter(split->rest, split->boundary, &found)) {
        *part = split->rest;
        split->rest = slice_from(split->rest, split->rest.len);
        return true;
    }
    *part = slice_head(split->rest, found.begin);
    split->is_closed = found.is_final;
    split->rest = slice_from(split->rest, found.end);
    return true;
}

static bool find_delimiter(struct slice text, struct slice boundary, struct delimiter *found)
{
    size_t at = 0;
    if (match_line(text, boundary, found)) {
        found->begin = 0;
        return true;
    }
    while (at < text.len) {
        size_t line_end = slice_find_byte(slice_from(text, at), '\n');
        if (line_end == SIZE_MAX) {
            return false;
        }
        at += line_end + 1;
        if (match_line(slice_from(text, at), boundary, found)) {
            found->begin = at >= 2 && text.data[at - 2] == '\r' ? at - 2 : at - 1;
            found->end += at;
            return true;
        }
    }
    return false;
}

/* "--" boundary, "--" when it is the final one, blanks, line end. */
static bool match_line(struct slice text, struct slice boundary, struct delimiter *found)
{
    struct slice rest = text;
    if (!slice_starts(rest, SLICE("--")) || !slice_starts(slice_from(rest, 2), boundary)) {
        return false;
    }
    rest = slice_from(rest, 2 + boundary.len);
    found->is_final = slice_starts(rest, SLICE("--"));
    rest = slice_from(rest, found->is_final ? 2 : 0);
    while (rest.len > 0 && ascii_is_space(rest.data[0]) && rest.data[0] != '\n') {
        rest = slice_from(rest, 1);
    }
    if (rest.len > 0 && rest.data[0] != '\n') {
        return false;
    }
    found->end = text.len - rest.len + (rest.len > 0 ? 1 : 0);
    return true;
}
