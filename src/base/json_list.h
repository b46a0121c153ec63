/* json_list.h - the items of a list, each as the text it is written with.
 *
 * For bodies of which each item is to be read, and to fail, by itself: this only finds where items
 * begin and end, without building or copying anything. Whether an item is JSON at all, json_read
 * says when it reads it.
 */
#ifndef BASE_JSON_LIST_H
#define BASE_JSON_LIST_H

#include "base/base.h"
#include "base/err.h"
#include "base/slice.h"

/* body is a list, or an object whose member `name` is one. The slices borrow from body.
 * Errors: ERR_NOT_JSON; ERR_BAD_FIELD when there is no such list; ERR_TOO_LARGE when it has more
 * than max items. */
MUST_USE enum err json_list_read(struct slice body, const char *name, struct slice *items,
                                 uint32_t max, uint32_t *count);

#endif
