/* lookup.c - see lookup.h. */
#include "mail/lookup.h"

#include "base/limits.h"

#define LABEL_MAX 63 /* RFC 1035 2.3.4 */

bool lookup_name_is_valid(struct slice name)
{
    struct slice rest = name;

    if (name.len == 0 || name.len > DOMAIN_MAX) {
        return false;
    }
    while (rest.data != NULL) {
        struct slice label = slice_cut(&rest, '.');
        if (label.len == 0 || label.len > LABEL_MAX) {
            return false;
        }
        for (size_t i = 0; i < label.len; i++) {
            if (label.data[i] < ' ' || label.data[i] > '~' || label.data[i] == '\\') {
                return false;
            }
        }
    }
    return true;
}
