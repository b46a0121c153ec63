/* smtp_auth.h - the server's side of AUTH PLAIN (RFC 4616) and AUTH LOGIN: lines in, challenges and
 * credentials out.
 *
 * Part of net/smtp_server, apart because it is a machine of its own and holds the secrets: what it
 * decodes lies in one block that never grows, so that wiping it leaves no copy. Base64 is taken
 * strictly: whole groups of four, no white space. Who the credentials belong to is the session's
 * question.
 */
#ifndef NET_SMTP_AUTH_H
#define NET_SMTP_AUTH_H

#include "base/base.h"
#include "base/buf.h"
#include "base/slice.h"
#include "net/smtp_envelope.h"

enum smtp_auth_kind { SMTP_AUTH_PLAIN, SMTP_AUTH_LOGIN };

/* Any bytes but NUL; user and password are not both empty. */
struct smtp_auth {
    struct slice authzid; /* PLAIN: whom to act as; mostly empty */
    struct slice user;
    struct slice password;
    enum smtp_auth_kind kind;
};

struct smtp_auth_reader {
    struct smtp_auth auth; /* complete after SMTP_AUTH_DONE; until smtp_auth_wipe */
    struct buf secret;
    size_t user_bytes; /* of secret: LOGIN's first answer */
    bool has_user;
};

enum smtp_auth_result {
    SMTP_AUTH_CHALLENGE, /* say 334 and *challenge */
    SMTP_AUTH_DONE,
    SMTP_AUTH_BAD, /* say *refusal */
};

/* What is said to the client. */
struct smtp_auth_says {
    const char *challenge;
    const struct smtp_refusal *refusal;
};

void smtp_auth_init(struct smtp_auth_reader *reader);
/* Overwrites and frees what was decoded; as new. Also the end. */
void smtp_auth_wipe(struct smtp_auth_reader *reader);

/* args is what follows "AUTH ": a mechanism, and perhaps the initial response. */
enum smtp_auth_result smtp_auth_begin(struct smtp_auth_reader *reader, struct slice args,
                                      struct smtp_auth_says *says);
/* A line that answers a challenge. */
enum smtp_auth_result smtp_auth_line(struct smtp_auth_reader *reader, struct slice line,
                                     struct smtp_auth_says *says);

#endif
