/* sts_policy.h - what a domain says about TLS towards its mail hosts: MTA-STS (RFC 8461).
 *
 * Two texts come from strangers: a TXT record under _mta-sts, whose id changes with the policy, and
 * the policy itself, a file that the domain serves over HTTPS. Both are read here, and a mail
 * host's name is held against the policy. Fetching, remembering and obeying are deliver's.
 *
 * Pure functions. A policy borrows from the text it was read from.
 */
#ifndef MAIL_STS_POLICY_H
#define MAIL_STS_POLICY_H

#include "base/base.h"
#include "base/buf.h"
#include "base/err.h"
#include "base/limits.h"
#include "base/slice.h"

enum sts_mode { STS_MODE_NONE, STS_MODE_TESTING, STS_MODE_ENFORCE };

struct sts_policy {
    enum sts_mode mode;
    uint64_t max_age_s;
    struct slice mx[STS_MX_MAX]; /* "mail.example.com" or "*.example.com", as they were written */
    uint32_t mx_count;
};

/* The fields of a record "<version>; name=value; ..." (RFC 8461 3.1, RFC 8460 3): the value of the
 * first field of that name. Among the TXT records of a name those of another version are passed
 * over, and exactly one must be left. False: there is none, or more, or it lacks the field. */
struct text_records {
    const struct slice *texts;
    uint32_t count;
};
bool text_record_field(const struct text_records *records, struct slice version, struct slice name,
                       struct slice *value) MUST_USE;

/* The id of the records under _mta-sts, 1 to STS_ID_MAX letters and digits. */
bool sts_record_id(const struct text_records *records, struct slice *id) MUST_USE;

/* Reads a policy (RFC 8461 3.2). Lines end with CRLF or LF; unknown fields are ignored, of repeated
 * ones but mx the first counts; a max_age beyond a year is a year.
 * Errors: ERR_INVALID (no version, mode, max_age or, unless the mode is none, mx; a pattern that is
 * no host's name), ERR_TOO_LARGE. */
MUST_USE enum err sts_policy_read(struct slice text, struct sts_policy *policy);

/* Appends the policy as a text that reads as the same, without what was ignored. */
void sts_policy_write(const struct sts_policy *policy, struct buf *out);

/* Whether a mail host is one of the policy's (RFC 8461 4.1): without case, and an asterisk stands
 * for exactly one label. */
bool sts_policy_has(const struct sts_policy *policy, struct slice host);

const char *sts_mode_name(enum sts_mode mode);

#endif
