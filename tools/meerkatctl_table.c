/* meerkatctl_table.c - answers as tables: columns as wide as their widest cell.
 *
 * What accounts and keys are called was chosen by customers, so nothing of it may reach a terminal
 * as a command: control characters are shown as question marks. */
#include "meerkatctl.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/limits.h"

#define CELL_MAX    4096
#define COLUMNS_MAX 12

json_t *ctl_member(json_t *from, const char *path)
{
    struct slice rest = slice_str(path);
    while (from != NULL && rest.len > 0) {
        char name[64];
        struct slice part = slice_cut(&rest, '.');
        (void)snprintf(name, sizeof name, "%.*s", SLICE_FMT(part)); /* no member is as long */
        from = json_object_get(from, name);
    }
    return from;
}

const char *ctl_member_text(json_t *from, const char *path)
{
    const char *text = json_string_value(ctl_member(from, path));
    return text != NULL ? text : "";
}

/* ---- cells ----------------------------------------------------------------------------------- */

static void add_safely(struct buf *cell, struct slice text)
{
    for (size_t i = 0; i < text.len; i++) {
        unsigned char byte = (unsigned char)text.data[i];
        unsigned char next = i + 1 < text.len ? (unsigned char)text.data[i + 1] : 0;
        bool is_c1 = byte == 0xc2 && (next & 0xe0) == 0x80; /* U+0080 to U+009F */
        buf_add_byte(cell, byte < 0x20 || byte == 0x7f || is_c1 ? '?' : text.data[i]);
        i += is_c1;
    }
}

static bool is_time(const char *member)
{
    return slice_ends(slice_str(member), SLICE("At")) ||
           slice_ends(slice_str(member), SLICE("_at"));
}

static void add_time(struct buf *cell, uint64_t unix_ms)
{
    char text[CLOCK_TEXT_MAX];
    if (unix_ms > 0) {
        struct slice whole = slice_of(text, clock_rfc3339(unix_ms, text));
        buf_add(cell, slice_head(whole, 10)); /* 2026-01-31T12:34:56.789Z */
        buf_add_byte(cell, ' ');
        buf_add(cell, slice_sub(whole, 11, 8));
    }
}

static void add_value(struct buf *cell, json_t *value, const char *member)
{
    size_t index;
    json_t *item;
    switch (json_typeof(value)) {
    case JSON_STRING:
        add_safely(cell, slice_str(json_string_value(value)));
        break;
    case JSON_INTEGER:
        if (is_time(member)) {
            add_time(cell, (uint64_t)json_integer_value(value));
        } else {
            buf_add_format(cell, "%" JSON_INTEGER_FORMAT, json_integer_value(value));
        }
        break;
    case JSON_TRUE:
        buf_add_str(cell, "yes");
        break;
    case JSON_FALSE:
        buf_add_str(cell, "no");
        break;
    case JSON_ARRAY:
        json_array_foreach(value, index, item)
        {
            buf_add_str(cell, index > 0 ? ", " : "");
            add_value(cell, item, member);
        }
        break;
    case JSON_OBJECT:
    case JSON_REAL:
    case JSON_NULL:
        break; /* nothing that is shown in a cell */
    }
}

static struct buf make_cell(json_t *row, const char *member)
{
    struct buf cell;
    json_t *value = ctl_member(row, member);
    buf_init(&cell, CELL_MAX);
    if (value != NULL) {
        add_value(&cell, value, member);
    }
    if (cell.len == 0) {
        buf_add_byte(&cell, '-');
    }
    return cell;
}

/* Characters of UTF-8. Double width is not known here. */
static size_t width_of(struct slice text)
{
    size_t width = 0;
    for (size_t i = 0; i < text.len; i++) {
        width += ((unsigned char)text.data[i] & 0xc0) != 0x80;
    }
    return width;
}

static void print_cell(struct slice text, size_t width, bool is_last)
{
    if (text.len > 0) {
        (void)fwrite(text.data, 1, text.len, stdout); /* main asks whether all went out */
    }
    if (!is_last) {
        printf("%*s", (int)(width - width_of(text) + 2), "");
    }
}

/* ---- lists and single things ----------------------------------------------------------------- */

void ctl_print_json(const json_t *json, bool is_one_line)
{
    char *text = json_dumps(json, is_one_line ? JSON_COMPACT : JSON_INDENT(2));
    if (text != NULL) {
        printf("%s\n", text);
    }
    free(text);
}

void ctl_print_slice(struct slice text, size_t width)
{
    struct buf safe;
    buf_init(&safe, SIZE_MAX / 2);
    add_safely(&safe, text);
    print_cell(buf_slice(&safe), 0, true);
    size_t wide = width_of(buf_slice(&safe));
    printf("%*s", (int)(width > wide ? width - wide : 0), "");
    buf_fini(&safe);
}

void ctl_print_safely(const char *text)
{
    ctl_print_slice(slice_str(text), 0);
}

void ctl_print_list(const struct ctl *ctl, json_t *list, const struct column *columns,
                    uint32_t count)
{
    size_t widths[COLUMNS_MAX] = {0};
    size_t index;
    json_t *row;
    if (ctl->is_json) {
        ctl_print_json(list, false);
        return;
    }
    for (uint32_t i = 0; i < count; i++) {
        widths[i] = strlen(columns[i].title);
        json_array_foreach(list, index, row)
        {
            struct buf cell = make_cell(row, columns[i].member);
            size_t width = width_of(buf_slice(&cell));
            widths[i] = width > widths[i] ? width : widths[i];
            buf_fini(&cell);
        }
    }
    for (uint32_t i = 0; i < count; i++) {
        print_cell(slice_str(columns[i].title), widths[i], i + 1 == count);
    }
    printf("\n");
    json_array_foreach(list, index, row)
    {
        for (uint32_t i = 0; i < count; i++) {
            struct buf cell = make_cell(row, columns[i].member);
            print_cell(buf_slice(&cell), widths[i], i + 1 == count);
            buf_fini(&cell);
        }
        printf("\n");
    }
}

void ctl_print_one(const struct ctl *ctl, json_t *object, const struct column *columns,
                   uint32_t count)
{
    size_t widest = 0;
    if (ctl->is_json) {
        ctl_print_json(object, false);
        return;
    }
    for (uint32_t i = 0; i < count; i++) {
        widest = max_u64(widest, strlen(columns[i].title));
    }
    for (uint32_t i = 0; i < count; i++) {
        struct buf cell = make_cell(object, columns[i].member);
        print_cell(slice_str(columns[i].title), widest, false);
        print_cell(buf_slice(&cell), 0, true);
        printf("\n");
        buf_fini(&cell);
    }
}

void ctl_print_done(const struct ctl *ctl, json_t *answer, const char *line)
{
    if (ctl->is_json) {
        ctl_print_json(answer, false);
    } else {
        printf("%s\n", line);
    }
}
