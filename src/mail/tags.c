/* tags.c - see tags.h. */
#include "mail/tags.h"

static bool is_tag_name(struct slice name);

enum tags_fault tags_parse(struct slice text, struct tag_list *list)
{
    struct slice rest = text;

    list->count = 0;
    while (rest.data != NULL) {
        struct slice value = slice_cut(&rest, ';');
        if (rest.data == NULL && slice_trim(value).len == 0) {
            break; /* the last tag may be followed by ';' */
        }
        struct slice name = slice_trim(slice_cut(&value, '='));
        if (value.data == NULL || !is_tag_name(name)) {
            return TAGS_MALFORMED;
        }
        if (tags_find(list, name) != NULL) {
            return TAGS_TWICE;
        }
        if (list->count == TAGS_MAX) {
            return TAGS_TOO_MANY;
        }
        list->tags[list->count++] =
            (struct tag){.name = name, .value = slice_trim(value), .whole = value};
    }
    return TAGS_OK;
}

const struct tag *tags_find(const struct tag_list *list, struct slice name)
{
    for (uint32_t i = 0; i < list->count; i++) {
        if (slice_equal(list->tags[i].name, name)) {
            return &list->tags[i];
        }
    }
    return NULL;
}

bool tags_list_has(struct slice list, struct slice word)
{
    while (list.data != NULL) {
        if (slice_equal(slice_trim(slice_cut(&list, ':')), word)) {
            return true;
        }
    }
    return false;
}

/* RFC 6376 3.2: a letter, then letters, digits and '_'. '-' is not in the grammar, but people who
 * invent tags put it there, and unknown tags are to be ignored. */
static bool is_tag_name(struct slice name)
{
    if (name.len == 0 || !ascii_is_alpha(name.data[0])) {
        return false;
    }
    for (size_t i = 1; i < name.len; i++) {
        char c = name.data[i];
        if (!ascii_is_alpha(c) && !ascii_is_digit(c) && c != '_' && c != '-') {
            return false;
        }
    }
    return true;
}
