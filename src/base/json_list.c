/* json_list.c - see json_list.h. */
#include "base/json_list.h"

#include <string.h>

/* What is left to be read; every function below takes from its front. */
static void skip_space(struct slice *rest)
{
    while (rest->len > 0 && rest->data[0] != '\0' && strchr(" \t\r\n", rest->data[0]) != NULL) {
        *rest = slice_from(*rest, 1);
    }
}

static bool take_byte(struct slice *rest, char byte)
{
    skip_space(rest);
    if (rest->len == 0 || rest->data[0] != byte) {
        return false;
    }
    *rest = slice_from(*rest, 1);
    return true;
}

static bool take_string(struct slice *rest, struct slice *text)
{
    struct slice start = *rest;
    size_t at = 1;
    if (rest->len == 0 || rest->data[0] != '"') {
        return false;
    }
    while (at < start.len && start.data[at] != '"') {
        at += start.data[at] == '\\' ? 2 : 1;
    }
    if (at >= start.len) {
        return false;
    }
    *text = slice_sub(start, 1, at - 1);
    *rest = slice_from(start, at + 1);
    return true;
}

/* A value: a string, what stands between brackets, or what goes on up to a delimiter. */
static bool take_value(struct slice *rest, struct slice *value)
{
    skip_space(rest);
    struct slice start = *rest;
    struct slice text;
    size_t depth = 0;
    while (rest->len > 0) {
        char byte = rest->data[0];
        bool is_end = byte == ',' || byte == ']' || byte == '}';
        if (depth == 0 && is_end) {
            break;
        }
        if (byte == '"') {
            if (!take_string(rest, &text)) {
                return false;
            }
            continue;
        }
        depth += byte == '[' || byte == '{';
        depth -= is_end && byte != ',';
        *rest = slice_from(*rest, 1);
    }
    *value = slice_trim(slice_head(start, start.len - rest->len));
    return depth == 0 && value->len > 0;
}

static enum err read_items(struct slice *rest, struct slice *items, uint32_t max, uint32_t *count)
{
    uint32_t found = 0;
    if (!take_byte(rest, '[')) {
        return ERR_BAD_FIELD;
    }
    if (take_byte(rest, ']')) {
        *count = 0;
        return ERR_OK;
    }
    do {
        struct slice item;
        if (!take_value(rest, &item)) {
            return ERR_NOT_JSON;
        }
        if (found == max) {
            return ERR_TOO_LARGE;
        }
        items[found++] = item;
    } while (take_byte(rest, ','));
    if (!take_byte(rest, ']')) {
        return ERR_NOT_JSON;
    }
    *count = found;
    return ERR_OK;
}

/* The member called name; all others are passed over. */
static enum err read_object(struct slice *rest, const char *name, struct slice *list)
{
    bool is_found = false;
    if (!take_byte(rest, '{')) {
        return ERR_NOT_JSON;
    }
    if (take_byte(rest, '}')) {
        return ERR_BAD_FIELD;
    }
    do {
        struct slice key;
        struct slice value;
        skip_space(rest);
        if (!take_string(rest, &key) || !take_byte(rest, ':') || !take_value(rest, &value)) {
            return ERR_NOT_JSON;
        }
        if (slice_equal(key, slice_str(name))) {
            if (is_found) {
                return ERR_NOT_JSON; /* json_read takes no key twice either */
            }
            is_found = true;
            *list = value;
        }
    } while (take_byte(rest, ','));
    if (!take_byte(rest, '}')) {
        return ERR_NOT_JSON;
    }
    return is_found ? ERR_OK : ERR_BAD_FIELD;
}

enum err json_list_read(struct slice body, const char *name, struct slice *items, uint32_t max,
                        uint32_t *count)
{
    struct slice rest = body;
    struct slice list;
    skip_space(&rest);
    if (rest.len == 0 || rest.data[0] != '{') {
        enum err err = rest.len > 0 && rest.data[0] == '[' ? ERR_OK : ERR_NOT_JSON;
        err = err == ERR_OK ? read_items(&rest, items, max, count) : err;
        skip_space(&rest);
        return err == ERR_OK && rest.len > 0 ? ERR_NOT_JSON : err;
    }
    enum err err = read_object(&rest, name, &list);
    skip_space(&rest);
    if (err != ERR_OK || rest.len > 0) {
        return err != ERR_OK ? err : ERR_NOT_JSON;
    }
    err = read_items(&list, items, max, count);
    return err == ERR_OK && list.len > 0 ? ERR_NOT_JSON : err;
}
