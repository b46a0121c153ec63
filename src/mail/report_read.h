/* report_read.h - what a mail that comes back says of the one that was sent.
 *
 * Four kinds: a notice of failure or delay (RFC 3464, qmail's QSBMF, and the older forms of Exim
 * and sendmail where they are plain), a complaint (RFC 5965 and what extends it, and the form of
 * Outlook's programme), an automatic reply (RFC 3834; a read receipt counts as one), or none of
 * them.
 *
 * Nothing here is to be believed: anybody may write such a mail. Which mail it is about is only
 * known by an address of ours in it that is signed (shards/return_path.c); this module finds what
 * looks like one.
 *
 * Pure, and bounded whatever the mail: REPORT_RCPTS_MAX recipients, texts of one verdict each.
 */
#ifndef MAIL_REPORT_READ_H
#define MAIL_REPORT_READ_H

#include "base/arena.h"
#include "base/base.h"
#include "base/slice.h"
#include "mail/dsn.h"
#include "mail/mime_read.h"

/* The field that carries a mail's token, for complaints whose Return-Path is lost. */
#define REPORT_TOKEN_FIELD "X-Meerkat-Token"

enum report_kind { REPORT_NONE, REPORT_DSN, REPORT_COMPLAINT, REPORT_AUTO_REPLY };
/* "dsn", "arf", "auto-reply", or empty. */
const char *report_kind_text(enum report_kind kind);

enum report_action {
    REPORT_ACTION_OTHER, /* delivered, relayed, expanded: nobody asked */
    REPORT_ACTION_FAILED,
    REPORT_ACTION_DELAYED,
};

struct report_rcpt {
    enum report_action action;
    struct slice final;    /* address; may be empty */
    struct slice original; /* likewise */
    struct slice host;     /* that refused, else that which reports; may be empty */
    uint16_t code;         /* 0: none was given */
    struct slice status;   /* "5.1.1"; may be empty */
    struct slice text;     /* may be empty */
};

#define REPORT_TOKENS_MAX 4

struct report_read {
    enum report_kind kind;
    struct report_rcpt *rcpts; /* of a DSN */
    uint32_t rcpt_count;
    struct slice feedback_type; /* of a complaint, lower case */
    bool is_spam;               /* somebody calls the mail spam, or wants no more of it */
    struct slice *complainers;  /* addresses; may be none */
    uint32_t complainer_count;
    /* What looks like a return path's local part of ours, in the mail it is about. */
    struct slice tokens[REPORT_TOKENS_MAX];
    uint32_t token_count;
};

/* has_null_sender: it came from <>, as such notices do (RFC 5321 4.5.5); the older forms are not
 * recognised without it.
 * Owns: all text is in arena, 2 MiB of it at most. */
void report_read(const struct mime_read *mail, bool has_null_sender, struct arena *arena,
                 struct report_read *report);

/* The first part of text that looks like "b.<mail>.<group>.<check>": false when there is none. */
bool report_token_find(struct slice text, struct slice *token);

/* As if the host had said so at RCPT. */
void report_verdict(const struct report_rcpt *rcpt, struct verdict *verdict);

#endif
