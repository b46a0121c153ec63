/* dkim.h - DomainKeys Identified Mail: canonicalise, sign, read keys (RFC 6376, RFC 8463).
 * Verifying is dkim_verify.
 *
 * Signed is always relaxed/relaxed, a= rsa-sha256 or ed25519-sha256, no l= tag (it lets strangers
 * append), no z=, no i=. From, To, Subject, Date and the other fields that a reader sees are
 * over-signed: named once more than they occur, so that adding one breaks the signature (RFC
 * 6376 8.15).
 *
 * The body is hashed once, when the mail is composed; only the header hash is signed per key.
 * Signing is for workers; canonicalising is streaming and cheap.
 */
#ifndef MAIL_DKIM_H
#define MAIL_DKIM_H

#include "base/arena.h"
#include "base/base.h"
#include "base/buf.h"
#include "base/crypto.h"
#include "base/err.h"
#include "base/slice.h"

/* ---- bodies, RFC 6376 3.4.3 and 3.4.4 ------------------------------------------------------- */

enum dkim_canon { DKIM_RELAXED, DKIM_SIMPLE };

struct dkim_body {
    struct sha256_stream digest;
    uint64_t total_bytes;   /* of the canonical form, hashed or not */
    uint64_t limit;         /* only so many of them are hashed: l= */
    uint64_t pending_lines; /* empty lines seen and not yet hashed */
    bool is_simple;
    bool is_in_space;
    bool is_after_cr;
    bool is_line_empty;
};
/* Relaxed, without a limit: what is signed. */
void dkim_body_start(struct dkim_body *body);
/* For verifying. */
void dkim_body_start_as(struct dkim_body *body, enum dkim_canon canon, uint64_t limit);
/* Any split of the same bytes gives the same hash. LF alone ends a line as CRLF does (RFC
 * 6376 5.3); CR alone is an ordinary byte. */
void dkim_body_add(struct dkim_body *body, struct slice data);
struct sha256 dkim_body_finish(struct dkim_body *body);
/* Instead of finish, when the mail is given up. */
void dkim_body_drop(struct dkim_body *body);

/* Appends the relaxed form of one field (RFC 6376 3.4.2), with its CRLF. */
void dkim_relax_header(struct slice name, struct slice value, struct buf *out);

/* ---- signing -------------------------------------------------------------------------------- */

struct dkim_signer {
    struct slice domain;   /* d= */
    struct slice selector; /* s= */
    const struct sign_key *key;
    uint64_t time_s; /* t= */
};

/* The DKIM-Signature field, folded, with its CRLF, to be put before header_block.
 * header_block: the mail's header fields, with or without the final empty line. Worker. Errors:
 * those of sign_key_sign, ERR_INVALID when there is no From, ERR_TOO_LARGE beyond 1 MiB of
 * header. */
MUST_USE enum err dkim_sign(const struct dkim_signer *signer, struct slice header_block,
                            const struct sha256 *body_hash, struct arena *arena,
                            struct slice *field);

/* ---- published keys ------------------------------------------------------------------------- */

/* The TXT record for a public key: "v=DKIM1; k=rsa; p=...". */
struct slice dkim_record(enum sign_algo algo, struct slice public_text, struct arena *arena);
/* Whether a published TXT record holds the key public_text for algo (tags in any order, white space
 * ignored, RFC 6376 3.6.1). */
bool dkim_record_matches(struct slice record, enum sign_algo algo, struct slice public_text);

/* A key record, read (RFC 6376 3.6.1). Borrows from the record. */
struct dkim_key {
    struct slice type;        /* k= */
    struct slice public_text; /* p=, with its white space; empty: revoked */
    bool is_for_sha256;       /* h= */
    bool is_for_mail;         /* s= */
    bool is_testing;          /* t=y */
    bool is_exact;            /* t=s: i= must be in d= itself */
};
/* NULL, or a sentence that says what is wrong. */
MUST_USE const char *dkim_key_read(struct slice record, struct dkim_key *key);

#endif
