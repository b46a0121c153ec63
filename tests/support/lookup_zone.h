/* lookup_zone.h - a scripted DNS for machines that ask (mail/lookup.h).
 *
 * A zone is an array of rows that ends with a NULL name. Names are compared without case. What no
 * row holds does not exist; a name with rows of other types has no record. The data "!" makes the
 * look-up fail, and "-" gives the name without any record.
 */
#ifndef SUPPORT_LOOKUP_ZONE_H
#define SUPPORT_LOOKUP_ZONE_H

#include "mail/lookup.h"

#include <string.h>

struct zone_row {
    const char *name;
    enum lookup_type type;
    const char *data;
};

#define ZONE_RECORDS_MAX 32

struct zone_answer {
    struct lookup_answer answer;
    struct lookup_record records[ZONE_RECORDS_MAX];
};

static inline void zone_look_up(const struct zone_row *rows, const struct lookup_question *question,
                                struct zone_answer *out)
{
    out->answer = (struct lookup_answer){.outcome = LOOKUP_NO_NAME, .records = out->records};
    for (; rows->name != NULL; rows++) {
        struct slice data = slice_str(rows->data);
        if (!slice_equal_nocase(slice_str(rows->name), question->name)) {
            continue;
        }
        if (slice_equal(data, SLICE("-")) || rows->type != question->type) {
            if (out->answer.outcome == LOOKUP_NO_NAME) {
                out->answer.outcome = LOOKUP_NO_RECORD;
            }
            continue;
        }
        if (slice_equal(data, SLICE("!"))) {
            out->answer = (struct lookup_answer){.outcome = LOOKUP_FAILED};
            return;
        }
        struct lookup_record *record = &out->records[out->answer.count++];
        *record = (struct lookup_record){.text = data};
        if (ip6_parse(data, &record->ip) == ERR_OK) {
            record->text = SLICE("");
        }
        out->answer.outcome = LOOKUP_FOUND;
    }
}

#endif
