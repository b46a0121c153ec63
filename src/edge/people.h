/* people.h - what the calls about people share: passwords, tries that are counted, sessions.
 *
 * Each is one step of a chain: it waits for a worker or a shard and then runs `then`, unless it has
 * answered the request itself. A chain that ends because its client left has done what it did;
 * every order of steps here is chosen so that nothing is lost by that (api_account.c,
 * api_people.c).
 *
 * Whatever holds a password or a token lies in arenas marked secret.
 */
#ifndef EDGE_PEOPLE_H
#define EDGE_PEOPLE_H

#include "edge/api_int.h"
#include "edge/auth.h"

typedef void people_step_fn(struct request *request);

/* ---- passwords: on a worker, PASSWORD_JOBS_MAX at once -------------------------------------- */

typedef void people_hash_fn(struct request *request, struct slice hash);
typedef void people_check_fn(struct request *request, bool is_good);
void people_hash(struct request *request, struct slice password, people_hash_fn *then);
/* An empty hash is of nobody: nothing matches it, and that takes as long. */
void people_check(struct request *request, struct slice password, struct slice hash,
                  people_check_fn *then);
/* Whether it may be somebody's; answers 400 and returns false when it may not. param is its name in
 * the body. */
bool people_password_is_good(struct request *request, struct slice password,
                             const char *param) MUST_USE;
/* False after 503: one more would have to be refused anyway. Ask before anything is counted. */
bool people_has_room(struct request *request) MUST_USE;

/* ---- tries ---------------------------------------------------------------------------------- */

/* Counts one try of email (empty: none) and of the request's address; 429 when one of them has none
 * left. */
void people_try(struct request *request, struct slice email, people_step_fn *then);
/* It was no failure: gives back what people_try took. */
void people_forgive(struct request *request, people_step_fn *then);

/* ---- sessions ------------------------------------------------------------------------------- */

/* Somebody who has proved to be that user. */
struct people_entry {
    struct account_id account;
    struct id user;
    struct slice checked_hash; /* that the password was checked against; empty: there was none */
    struct slice google_sub;   /* who vouches; empty: nobody */
};
/* Opens a session (a write), then answers 200 {token, user}. ERR_LOGIN, ERR_SUSPENDED are
 * answered. */
void people_open_session(struct request *request, const struct people_entry *entry);
/* Likewise with the first password of one who was invited. */
void people_join(struct request *request, const struct token *invite, struct slice hash);

/* A new session's id and expiry, for messages that open it. */
struct token people_new_session(struct account_id account, struct id user);

/* ---- sign-up (api_account.c) ---------------------------------------------------------------- */

/* Who was made by an administrator. */
struct people_made {
    const struct row_user *user;
    struct account_id account;
    struct slice key;
};
typedef void people_made_fn(struct request *request, const struct people_made *made);

struct people_newcomer {
    struct slice email;      /* addr_key form, in request->keep */
    struct slice password;   /* empty: signs in elsewhere */
    struct slice google_sub; /* there */
    struct slice name;
    bool is_admin;        /* with `then` only; else the first user of the server is one */
    people_made_fn *then; /* made by an administrator: whatever signup_open says, without a session,
                             and answered by this; else NULL */
};
/* A new account with its owner. With a password: 201 {token, user, account, apiKey}; without: 200
 * {token, user}. Refuses when the server takes no sign-ups. The caller has counted the try; a
 * sign-up that succeeds gives it back. */
void people_sign_up(struct request *request, const struct people_newcomer *newcomer);

/* ---- bodies, answers, the directory --------------------------------------------------------- */

/* api_login_shape: of log-in and sign-up. */
struct people_login {
    struct slice email;
    struct slice password;
};
/* An email as it was sent, in addr_key form in request->keep; answers 400 and returns false when it
 * is none. */
bool people_read_email(struct request *request, struct slice text, struct slice *email) MUST_USE;
/* Posts to the directory of emails, for account and id. */
void people_directory(struct request *request, enum directory_op op, struct slice email,
                      const struct token *owner, request_msg_fn *on_return);
/* Copies text that was in a message into request->keep. */
struct slice people_keep(struct request *request, struct slice text);
void people_write_user(struct json_writer *w, const struct row_user *user);
void people_write_account(struct json_writer *w, struct account_id account, struct slice name);
void people_write_token(struct request *request, struct json_writer *w, const char *name,
                        const struct token *token);
void people_answer_ok(struct request *request);

#endif
