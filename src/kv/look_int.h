/* look_int.h - what look.c and look_mail.c share: members of JSON objects.
 *
 * Private to kv. Each writes one member into the object that is open in w.
 */
#ifndef KV_LOOK_INT_H
#define KV_LOOK_INT_H

#include "base/base.h"
#include "base/id.h"
#include "base/json.h"
#include "base/slice.h"
#include "kv/row.h"

void look_u64(struct json_writer *w, const char *name, uint64_t value);
void look_bool(struct json_writer *w, const char *name, bool value);
/* As a date; 0 is null. */
void look_time(struct json_writer *w, const char *name, uint64_t unix_ms);
void look_id(struct json_writer *w, const char *name, enum id_kind kind, struct id id);
/* The row, or null and false when it cannot be read. */
bool look_row(struct json_writer *w, const char *name, enum row_family family, struct slice value);

#endif
