/* msg_domain.h - what messages say of domains: words, keys, and what is asked of the DNS.
 *
 * A part of msg.h, which includes it; whoever sends or reads messages includes that.
 */
#ifndef SHARDS_MSG_DOMAIN_H
#define SHARDS_MSG_DOMAIN_H

#include "base/arena.h"
#include "base/base.h"
#include "base/conf.h"
#include "base/id.h"
#include "base/slice.h"
#include "kv/row.h"

enum domain_op {
    DOMAIN_CREATE,
    DOMAIN_LIST,
    DOMAIN_GET,
    DOMAIN_CHANGE,
    DOMAIN_DELETE,
    DOMAIN_CHECKED,
    DOMAIN_ROTATE, /* next keys, which sign once their records are seen; those there are stay */
};
/* Of a domain's row: which keys others have taken the place of, so that the records of those before
 * are needed for DKIM_RETIRE_MS more. The numbers are on disk. */
enum domain_rotation { DOMAIN_ROTATED_RSA = 1 << 0, DOMAIN_ROTATED_ED = 1 << 1 };
#define DKIM_RETIRE_MS (UINT64_C(7) * 24 * 3600 * 1000)
/* The names under which the records of its keys stand, and those of keys that come after them. */
struct slice domain_rsa_selector(const struct row_domain *row);
struct slice domain_ed_selector(const struct row_domain *row);
struct slice domain_other_selector(struct slice selector);
/* Members that the client gave. */
enum domain_field {
    DOMAIN_FIELD_RETENTION = 1 << 0,
    DOMAIN_FIELD_ZERO_RETENTION = 1 << 1,
    DOMAIN_FIELD_TRACK_HOST = 1 << 2,
    DOMAIN_FIELD_TRACK_OPENS = 1 << 3,
    DOMAIN_FIELD_TRACK_CLICKS = 1 << 4,
};
struct domain_checks {
    bool mx;
    bool spf;
    bool dkim_rsa;
    bool dkim_ed;
    bool dmarc;
    bool return_path;
    bool track;
    bool next_rsa; /* the record of a key that is to come */
    bool next_ed;
};

/* Look-ups of DELIVER_VERIFY. */
struct deliver_verify {
    struct id id; /* the domain's, for who asks */
    struct slice domain;
    struct slice rsa_public; /* p= values */
    struct slice ed_public;
    struct slice rsa_selector;
    struct slice ed_selector;
    struct slice next_rsa_selector; /* empty: no key is to come */
    struct slice next_ed_selector;
    struct slice next_rsa_public;
    struct slice next_ed_public;
    struct slice mx_host;
    struct slice spf_include;
    struct slice return_path_host; /* name that must be an alias of return_path_target */
    struct slice return_path_target;
    struct slice track_host; /* likewise of track_target; empty: there is none */
    struct slice track_target;
    struct slice hello;      /* what the server calls itself */
    struct slice blocklists; /* zones, comma separated; empty: none is asked */
    bool is_relayed;         /* mail leaves through another server */
    /* out; err ERR_DNS_TEMP when nothing could be looked up */
    struct domain_checks checks;
    bool has_gaps;       /* some look-up had no answer; what it was for counts as not there */
    struct slice health; /* pack of name, status, found, advice */
};

/* What is asked for a domain, all but what comes out; text is in arena, or in conf. own: base of
 * the server's links. */
void deliver_verify_fill(struct deliver_verify *verify, const struct row_domain *row,
                         const struct conf *conf, struct slice own, struct arena *arena);

#endif
