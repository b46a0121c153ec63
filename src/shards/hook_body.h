/* hook_body.h - the JSON of a webhook, composed from what is stored.
 *
 * Of a received mail: `email.received`, with the decoded texts, the verdicts, and links to its
 * attachments (with their bytes where nothing will be kept to follow a link to), for the one
 * recipient of the delivery. Of a sent one: the event, with what the
 * sender gave as metadata. Worker: loads and parses mails of up to MAIL_BYTES_MAX.
 */
#ifndef SHARDS_HOOK_BODY_H
#define SHARDS_HOOK_BODY_H

#include "base/arena.h"
#include "base/crypto.h"
#include "base/err.h"
#include "base/slice.h"
#include "kv/kv.h"
#include "kv/row.h"

struct hook_facts {
    struct kv *kv;
    uint32_t family;
    const struct row_mail *mail;
    const struct row_delivery *delivery;
    const struct row_event *event; /* of an outbound mail */
    struct seal_key attachment_key;
    struct slice base_url; /* of attachment links, without a slash at its end */
    bool has_contents;     /* attachments stand in the body, beside their links */
};

/* Errors: ERR_NOT_FOUND, ERR_CORRUPT and ERR_STORAGE of the mail's rows, ERR_TOO_LARGE. */
MUST_USE enum err hook_body_compose(const struct hook_facts *facts, struct arena *arena,
                                    struct slice *body);

#endif
