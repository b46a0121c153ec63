/* tls_report_json.h - a day's report on TLS towards one domain (RFC 8460), as JSON and as a mail,
 * and the record that says where it is wanted.
 *
 * Pure functions: what was counted comes from deliver/tls_report.
 */
#ifndef MAIL_TLS_REPORT_JSON_H
#define MAIL_TLS_REPORT_JSON_H

#include "base/arena.h"
#include "base/base.h"
#include "base/buf.h"
#include "base/limits.h"
#include "base/slice.h"
#include "mail/sts_policy.h"

/* Failures of one kind at one host, RFC 8460 4.3. */
struct tls_report_detail {
    struct slice result; /* "starttls-not-supported" */
    struct slice sending_ip;
    struct slice mx_host;
    struct slice mx_ip;
    uint64_t sessions;
};

/* What happened under one policy. */
struct tls_report_part {
    struct slice type; /* "sts", "tlsa", "no-policy-found" */
    struct slice text; /* of the policy or its TLSA records, a line each; may be empty */
    uint64_t successes;
    uint64_t failures;
    const struct tls_report_detail *details;
    uint32_t detail_count;
};

struct tls_report_doc {
    struct slice organization;
    struct slice contact;
    struct slice id;
    struct slice domain; /* whose TLS it is about */
    uint64_t start_unix_ms;
    uint64_t end_unix_ms; /* its last second */
    const struct tls_report_part *parts;
    uint32_t part_count;
};

/* Appends the JSON of RFC 8460 4.4. */
void tls_report_write_json(const struct tls_report_doc *doc, struct buf *out);

struct tls_report_mail {
    const struct tls_report_doc *doc;
    struct slice from;      /* address */
    struct slice to;        /* address */
    struct slice submitter; /* domain that sends the report */
    struct slice packed;    /* the JSON, gzip'd */
    uint64_t date_unix_ms;
};

/* Appends the mail of RFC 8460 5.3, without a Message-ID. What stands in header fields was checked
 * before: addresses, domains, an id without white space. */
void tls_report_write_mail(const struct tls_report_mail *mail, struct buf *out);

/* Where reports on a domain are wanted, from the TXT records under _smtp._tls (RFC 8460 3): https
 * addresses and mail addresses, others are left out. Slices borrow from the records, but for mail
 * addresses, which are decoded into arena. Returns how many; 0: no reports are wanted. */
enum tls_report_way { TLS_REPORT_HTTPS, TLS_REPORT_MAILTO };
struct tls_report_target {
    enum tls_report_way way;
    struct slice address;
};
uint32_t tls_report_targets(const struct text_records *records, struct arena *arena,
                            struct tls_report_target targets[TLS_REPORT_TARGETS]);

#endif
