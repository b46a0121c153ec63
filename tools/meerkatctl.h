/* meerkatctl.h - what the files of meerkatctl share.
 *
 * meerkatctl.c reads the command line and finds the command; meerkatctl_http.c talks to the daemon
 * through its admin socket; meerkatctl_table.c prints; meerkatctl_admin.c has the commands about
 * accounts, users and the server, meerkatctl_keys.c those about keys, meerkatctl_queue.c those
 * about the queue, meerkatctl_explain.c those about one mail that is not delivered,
 * meerkatctl_control.c those about the running server itself, meerkatctl_look.c and
 * meerkatctl_message.c those that look inside. meerkatctl_store.c opens the store of a daemon that
 * does not run. meerkatctl_write.c writes what manual pages and shells say of all of them.
 *
 * A command returns an exit status. Documents belong to the caller and are let go with json_decref;
 * the program is over soon after, so text lives in one arena until the end.
 */
#ifndef TOOLS_MEERKATCTL_H
#define TOOLS_MEERKATCTL_H

#include <jansson.h>

#include "base/arena.h"
#include "base/base.h"
#include "base/buf.h"
#include "base/slice.h"

enum exit_status { EXIT_GOOD, EXIT_REFUSED, EXIT_USAGE, EXIT_UNREACHABLE, EXIT_WRONG };

#define WORDS_MAX 32

struct ctl {
    struct arena arena;
    const char *socket_path; /* NULL: the daemon has none */
    const char *data;        /* the daemon's data folder */
    bool is_json;
    const struct command *command;
    const char *words[WORDS_MAX]; /* behind the command's own */
    uint32_t word_count;
    const char *const *options; /* name, value, name, value, NULL; flags have the value "" */
};

typedef int command_fn(struct ctl *ctl);

struct command {
    const char *group;
    const char *verb; /* NULL: the group is the whole command */
    command_fn *run;
    uint32_t words_min;
    uint32_t words_max;
    const char *words;   /* for the usage: "ACCOUNT" */
    const char *options; /* "rate= key-rate= off": those with = take a value */
    const char *summary;
    const char *more; /* of --help; may be NULL */
};

/* ---- meerkatctl.c ---------------------------------------------------------------------------- */

/* NULL when it was not given. */
const char *ctl_option(const struct ctl *ctl, const char *name);
/* Prints a line that says what is wrong, and returns EXIT_USAGE. */
int ctl_usage(const struct ctl *ctl, const char *fmt, ...) PRINTF_LIKE(2, 3);
const char *ctl_text(struct ctl *ctl, const char *fmt, ...) PRINTF_LIKE(2, 3);
/* "30d", "12h", "90m", "5s" as seconds; false when it is none, or absurd. */
bool ctl_duration(const char *text, uint64_t *seconds) MUST_USE;

/* ---- meerkatctl_write.c ---------------------------------------------------------------------- */

/* The sections of the manual page that the tables know. footer: the options of all commands. */
int write_man(const struct command *commands, size_t count, const char *footer);
/* globals: the options of all commands, as in struct command. */
int write_completion(struct ctl *ctl, const struct command *commands, size_t count,
                     const char *globals);

/* ---- meerkatctl_http.c ----------------------------------------------------------------------- */

struct call {
    const char *method;
    const char *path;
    const char *account; /* "acc_..."; NULL: no account's */
    json_t *body;        /* taken; NULL: none */
    bool is_quiet;       /* no word of a failure */
};
/* One request; *answer is the JSON of a 2xx. Otherwise the reason was printed, and the status to
 * exit with comes back. */
int ctl_call(struct ctl *ctl, const struct call *call, json_t **answer);
/* As it came, whatever it is; the caller's buf has a ceiling. */
int ctl_fetch(struct ctl *ctl, const struct call *call, struct buf *answer);
/* All pages of the shards, as one array. path: "/api/admin/accounts". */
int ctl_all(struct ctl *ctl, const char *path, json_t **list);
/* All pages of an account's own list, newest first, as one array: "/v1/keys". */
int ctl_pages(struct ctl *ctl, const char *path, const char *account, json_t **list);
/* A path with the text as its last segment, percent-encoded. */
const char *ctl_path(struct ctl *ctl, const char *prefix, const char *text, const char *suffix);

/* ---- meerkatctl_table.c ---------------------------------------------------------------------- */

/* A column: its title, and where its value is: "limits.dailyMax". A time ends in At, or is called
 * created_at; it is printed as such. */
struct column {
    const char *title;
    const char *member;
};
/* The JSON itself with --json. */
void ctl_print_list(const struct ctl *ctl, json_t *list, const struct column *columns,
                    uint32_t count);
void ctl_print_one(const struct ctl *ctl, json_t *object, const struct column *columns,
                   uint32_t count);
/* A line of text, or the JSON with --json. */
void ctl_print_done(const struct ctl *ctl, json_t *answer, const char *line);
/* The document, whole, or on one line; and text of customers, which could command a terminal. */
void ctl_print_json(const json_t *json, bool is_one_line);
void ctl_print_safely(const char *text);
void ctl_print_slice(struct slice text, size_t width); /* with blanks up to that many columns */
/* Member by path; NULL when absent. */
json_t *ctl_member(json_t *from, const char *path);
const char *ctl_member_text(json_t *from, const char *path); /* "" when absent */

/* ---- the commands ---------------------------------------------------------------------------- */

int run_shards(struct ctl *ctl);
int run_shard(struct ctl *ctl);
int run_account(struct ctl *ctl);
int run_message(struct ctl *ctl);
int run_accounts_list(struct ctl *ctl);
int run_accounts_show(struct ctl *ctl);
int run_accounts_limits(struct ctl *ctl);
int run_accounts_suspend(struct ctl *ctl);
int run_accounts_resume(struct ctl *ctl);
int run_users_list(struct ctl *ctl);
int run_users_show(struct ctl *ctl);
int run_users_create(struct ctl *ctl);
int run_users_admin(struct ctl *ctl);
int run_users_password(struct ctl *ctl);
int run_users_unlock(struct ctl *ctl);
int run_sessions_rotate(struct ctl *ctl);
int run_audit(struct ctl *ctl);
int run_server(struct ctl *ctl);
int run_top(struct ctl *ctl);
int run_jobs(struct ctl *ctl);
int run_job(struct ctl *ctl);
int run_compact(struct ctl *ctl);
int run_trace(struct ctl *ctl);
int run_explain(struct ctl *ctl);
int run_retry(struct ctl *ctl);
int run_backup(struct ctl *ctl);
int run_export(struct ctl *ctl);
int run_import(struct ctl *ctl);
int run_restore(struct ctl *ctl);
int run_loglevel(struct ctl *ctl);
int run_drain(struct ctl *ctl);
int run_rebalance(struct ctl *ctl);
int run_queue_sites(struct ctl *ctl);
int run_queue_accounts(struct ctl *ctl);
int run_queue_holds(struct ctl *ctl);
int run_queue_ages(struct ctl *ctl);
int run_queue_pause(struct ctl *ctl);
int run_queue_resume(struct ctl *ctl);
int run_queue_retry(struct ctl *ctl);
int run_queue_expire(struct ctl *ctl);
int run_queue_move(struct ctl *ctl);
int run_repair(struct ctl *ctl);
int run_verify(struct ctl *ctl);
int run_keys_list(struct ctl *ctl);
int run_keys_create(struct ctl *ctl);
int run_keys_show(struct ctl *ctl);
int run_keys_revoke(struct ctl *ctl);
int run_keys_disable(struct ctl *ctl);
int run_keys_enable(struct ctl *ctl);
int run_keys_rotate(struct ctl *ctl);

#endif
