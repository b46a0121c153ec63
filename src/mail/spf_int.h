/* spf_int.h - what the files of SPF share: terms of a record (spf_term.c), macros (spf_macro.c) and
 * the machine (spf.c).
 *
 * Terms and macros are pure: they read text and write text, and bound both.
 */
#ifndef MAIL_SPF_INT_H
#define MAIL_SPF_INT_H

#include "base/base.h"
#include "base/cidr.h"
#include "base/limits.h"
#include "base/slice.h"
#include "mail/spf.h"

/* ---- macros, RFC 7208 7 --------------------------------------------------------------------- */

enum macro_use {
    MACRO_DOMAIN,      /* a domain-spec: ends in a top label or a macro */
    MACRO_MODIFIER,    /* the value of a modifier that nobody knows */
    MACRO_EXPLANATION, /* text for humans: spaces, and the letters c, r, t */
};

/* What the letters stand for. */
struct macro_values {
    struct slice local;         /* l */
    struct slice sender_domain; /* o; s is local@sender_domain */
    struct slice domain;        /* d */
    struct slice validated;     /* p */
    struct slice helo;          /* h */
    struct slice receiver;      /* r */
    const struct ip6 *client;   /* i, c, v */
    uint64_t now_s;             /* t */
};

#define MACRO_TEXT_MAX 2048
_Static_assert(MACRO_TEXT_MAX >= SPF_EXPLANATION_MAX, "an explanation fits");

struct macro_text {
    char data[MACRO_TEXT_MAX];
    size_t len;
};

bool macro_is_valid(struct slice spec, enum macro_use use);
/* Whether the validated name of the client is needed. */
bool macro_has_letter(struct slice spec, char letter);
/* spec is valid. A domain that grows beyond the room loses its left end, which is cut off anyway
 * (RFC 7208 7.3); other text its right end. */
void macro_expand(struct slice spec, const struct macro_values *values, bool is_domain,
                  struct macro_text *out);
/* Spaces of a line for an address: dotted quad, or nibbles between dots. */
#define MACRO_IP_MAX 64
size_t macro_ip_dots(const struct ip6 *ip, char out[MACRO_IP_MAX]);
bool ip6_is_v4(const struct ip6 *ip);

/* ---- terms, RFC 7208 4.6.1 ------------------------------------------------------------------ */

enum term_kind {
    TERM_ALL,
    TERM_INCLUDE,
    TERM_A,
    TERM_MX,
    TERM_PTR,
    TERM_IP4,
    TERM_IP6,
    TERM_EXISTS,
    TERM_REDIRECT,
    TERM_EXP,
    TERM_UNKNOWN, /* a modifier that is ignored */
};

struct spf_term {
    enum term_kind kind;
    enum spf_result result; /* when a mechanism matches */
    struct slice text;      /* the whole term */
    struct slice spec;      /* domain-spec; empty: the domain itself */
    struct cidr net;        /* ip4, ip6 */
    uint8_t bits4;          /* a, mx */
    uint8_t bits6;
};

/* "v=spf1", alone or before a space (RFC 7208 4.5). *terms is what follows. */
bool spf_record_is(struct slice text, struct slice *terms);
enum term_outcome { TERM_READ, TERM_END, TERM_MALFORMED };
enum term_outcome spf_term_next(struct slice *rest, struct spf_term *term);

#endif
