/* repair_int.h - what the rules of repair share; private to kv.
 *
 * A rule gets a patient: a finding, the rows through callbacks, and the deed to be filled in. It
 * reads what the finding speaks of, sees whether it is still so, and either writes and says so, or
 * leaves it and says what a person may do. A rule that does neither found nothing to do.
 */
#ifndef KV_REPAIR_INT_H
#define KV_REPAIR_INT_H

#include "kv/fact.h"
#include "kv/key_text.h"
#include "kv/repair.h"
#include "kv/row.h"

/* A finding in hand. */
struct patient {
    struct repair_rows *rows;
    const struct verify_finding *finding;
    struct repair_deed *deed;
    struct key_parts at; /* of the finding's key; shape NULL when it is none */
    uint32_t family;
    struct buf bytes; /* one row */
    bool is_broken;   /* a row was too large to be written: nothing of the deed may be */
};

enum err patient_get(struct patient *patient, const struct key *key, struct slice *value);
void patient_remove(struct patient *patient, const struct key *key);
/* Each row family: ERR_CORRUPT when it does not decode. put: into the finding's family. */
#define ROW(name, NAME, version, fields)                                                           \
    MUST_USE enum err patient_get_##name(struct patient *patient, struct key key,                  \
                                         struct row_##name *row);                                  \
    void patient_put_##name(struct patient *patient, struct key key, const struct row_##name *row);
ROW_TABLE(ROW)
#undef ROW

/* The row of this key into quarantine; the deed is said. Nothing when it is not there. */
void patient_put_aside(struct patient *patient, const struct key *key, const char *why);
/* The same for a whole prefix. */
void patient_put_all_aside(struct patient *patient, const struct key *prefix, const char *why);
void patient_done(struct patient *patient, const char *fmt, ...) PRINTF_LIKE(2, 3);
void patient_left(struct patient *patient, const char *fmt, ...) PRINTF_LIKE(2, 3);
/* Rows of a prefix; false: they cannot be listed here, which is said. */
bool patient_scan(struct patient *patient, const struct key *prefix, repair_row_fn *fn, void *of);

/* A mail's id as text, in a variable of that name. */
#define MAIL_TEXT(name, id)                                                                        \
    char name[ID_TEXT_MAX];                                                                        \
    (void)id_text(ID_MESSAGE, id, name)

/* ---- repair_mail.c -------------------------------------------------------------------------- */

void repair_mail_row(struct patient *patient); /* a mail's own row does not decode */
void repair_mail_counts(struct patient *patient);
void repair_group(struct patient *patient);
void repair_outbox_missing(struct patient *patient);
void repair_outbox_due(struct patient *patient);
void repair_outbox_dangling(struct patient *patient);
void repair_outbox_twice(struct patient *patient);
void repair_stage(struct patient *patient);

/* ---- repair_link.c -------------------------------------------------------------------------- */

void repair_members(struct patient *patient);
void repair_ref(struct patient *patient);
void repair_ref_dangling(struct patient *patient);
void repair_place(struct patient *patient);
void repair_place_dangling(struct patient *patient);
void repair_thread(struct patient *patient);
void repair_mailbox_name(struct patient *patient);
void repair_domain_name(struct patient *patient);
void repair_key_id(struct patient *patient);
void repair_route_list(struct patient *patient);
void repair_unclaimed(struct patient *patient);
void repair_name(struct patient *patient);
void repair_floor(struct patient *patient);

#endif
