/* world.h - a running Meerkat with real neighbours, for flow and crash tests.
 *
 * A world is a folder of its own under /tmp, the built meerkatd as a child process on free ports, a
 * dnsmasq that answers for the zone "test", and as many sinks as the test asks for. Its HTTP client
 * is libcurl. Children die with the test, whatever becomes of it.
 *
 * Whatever the helpers return lives until world_end. A helper that cannot do its work prints why,
 * the end of the daemon's log and aborts: the test is then reported as crashed, with the reason
 * above it. Nothing here judges Meerkat but world_stop, which insists on a clean exit.
 *
 * Environment: MEERKAT_BUILD, the folder with meerkatd and sink; by default that of the test
 * itself. MEERKAT_KEEP, set to anything, leaves the folder for a look at it.
 */
#ifndef SUPPORT_WORLD_H
#define SUPPORT_WORLD_H

#include <jansson.h>
#include <stdarg.h>
#include <sys/types.h>

#include "base/arena.h"
#include "base/base.h"
#include "base/slice.h"

#define WORLD_OPTIONS_MAX 40
#define WORLD_PEERS_MAX   16
#define WORLD_PASSED_MAX  8
#define WORLD_WAIT_MS     30000 /* how long the helpers wait for anything; sanitizers are slow */
#define WORLD_HOST        "mail.meerkat.test"

/* A child process other than the daemon. */
struct peer {
    const char *name;
    const char *store;  /* sink: folder of its .eml files */
    const char *output; /* file with what it printed */
    pid_t pid;          /* 0: not running */
    uint16_t tcp_port;  /* SMTP of a sink, DNS of dnsmasq */
    uint16_t http_port; /* of a sink */
};

struct world {
    struct arena arena; /* owns all text and replies */
    const char *dir;
    const char *data;
    const char *log; /* the daemon's standard error, over all its runs */
    const char *key; /* API key of the first account */
    const char *token;
    char *dns_records; /* lines of dnsmasq's configuration */
    struct peer peers[WORLD_PEERS_MAX];
    struct peer *dns;
    uint16_t resolver_port; /* who meerkatd asks; 0: dnsmasq */
    uint32_t peer_count;
    struct world_option {
        const char *name;
        const char *value;
    } options[WORLD_OPTIONS_MAX];
    uint32_t option_count;
    struct world_passed {
        const char *name;
        int fd;
    } passed[WORLD_PASSED_MAX];
    uint32_t passed_count;
    pid_t daemon; /* 0: not running */
    pid_t before; /* the one that was taken over from; 0: none */
    pid_t keeper; /* ends the others and removes the folder when the test has died */
    int keeper_fd;
    uint16_t http_port;
    uint16_t https_port;
    uint16_t smtp_port; /* with smtp_listen set */
    uint16_t submission_port;
    uint16_t submissions_port;
    void *curl; /* one handle: the connection is kept */
    json_t *documents;
};

struct world_call {
    const char *method;
    const char *path;
    const char *bearer; /* NULL: the world's key; "": none */
    const char *base;   /* NULL: http://127.0.0.1:port */
    const char *ca;     /* CA file for https */
    struct slice body;
    const char *headers[8]; /* "name: value" */
};

struct reply {
    long status; /* 0: no answer */
    struct slice head;
    struct slice body;
    json_t *json;        /* NULL when the body is not JSON */
    const char *failure; /* curl's words, "" on success */
};

/* ---- the world -------------------------------------------------------------------------------
 */

/* A folder and no process. world_end stops everything (the daemon as world_stop does) and removes
 * the folder. */
struct world *world_new(void);
void world_end(struct world *world);

/* One of meerkatd's options for the next start; replaces an earlier value. */
void world_set(struct world *world, const char *name, const char *fmt, ...) PRINTF_LIKE(3, 4);

/* Starts dnsmasq, if it does not run yet, and meerkatd, and waits until it listens. */
void world_start(struct world *world);
/* The same without the waiting: for a test that kills it on its way up. */
void world_launch(struct world *world);
/* From the next start on the daemon gets this socket as systemd would pass it; it stays the
 * caller's. name NULL: without any names. */
void world_pass(struct world *world, const char *name, int fd);
/* Starts the next daemon with --takeover beside the one that runs, which becomes the world's
 * `before`. Waits for nothing. */
void world_launch_takeover(struct world *world);
/* Waits until the daemon listens. */
void world_await_ready(struct world *world);
/* Exit status of the one before, or 128 and the signal. */
int world_await_before(struct world *world);
/* SIGTERM; insists on exit status 0 and a log without sanitizer reports. */
void world_stop(struct world *world);
/* The same for a daemon that was told already: a second signal would end it at once. */
void world_await_stop(struct world *world);
/* SIGKILL, and waits. */
void world_kill(struct world *world);
/* Starts meerkatd and expects it to end by itself: its exit status, or 128 and the signal. */
int world_run(struct world *world);
/* The same with --check-config, which only looks. */
int world_check_config(struct world *world);
/* Of a daemon that does not run: meerkatctl verify reads every row of its store, and everything has
 * to be as it should. */
void world_verify(struct world *world);
/* The daemon's log so far. */
struct slice world_log(struct world *world);

/* Prints why, with the end of the daemon's log, and aborts. */
NORETURN void world_fail(struct world *world, const char *fmt, ...) PRINTF_LIKE(2, 3);

/* ---- HTTP -------------------------------------------------------------------------------------
 */

struct reply *world_call(struct world *world, const struct world_call *call);
struct reply *world_get(struct world *world, const char *fmt, ...) PRINTF_LIKE(2, 3);
/* The body is a format in which an apostrophe stands for a quotation mark: "{'to':'%s'}". */
struct reply *world_post(struct world *world, const char *path, const char *fmt, ...)
    PRINTF_LIKE(3, 4);

/* Members of the JSON by path, "deliveries.0.status". Absent or of another type: NULL, "", -1. */
json_t *reply_at(const struct reply *reply, const char *path);
const char *reply_text(const struct reply *reply, const char *path);
long long reply_int(const struct reply *reply, const char *path);
/* The value of a record that a domain wants published; a test fails without it. */
const char *reply_record(const struct reply *domain, const char *name);
/* Members of an array or object, or 0. */
size_t reply_count(const struct reply *reply, const char *path);
/* A header's value, or the empty slice. */
struct slice reply_header(const struct reply *reply, const char *name);

/* ---- accounts, domains, mails -----------------------------------------------------------------
 */

/* Signs up; the first one's key and token become the world's. */
struct reply *world_signup(struct world *world, const char *email);
/* Creates the domain with the world's key, publishes every record that Meerkat asks for, verifies.
 * Returns its id. */
const char *world_domain(struct world *world, const char *domain);
/* Publishes the "dns" list of a domain's reply; only the record with this purpose, or all (NULL).
 * dnsmasq is restarted. */
void world_publish(struct world *world, const struct reply *reply, const char *purpose);
/* Posts to /v1/send, expects 202 and returns the message's id. As world_post. */
const char *world_send(struct world *world, const char *fmt, ...) PRINTF_LIKE(2, 3);
/* Reads the message until the member at path is `want`; returns that reply. The message itself is
 * read first: who waits for message.send_status sees everything else at least as late. */
struct reply *world_await(struct world *world, const char *id, const char *path, const char *want);
/* Starts a sink as the mail host of "dest.test" and the world, signs up, verifies "send.test". */
struct peer *world_ready_to_send(struct world *world);

/* ---- neighbours -------------------------------------------------------------------------------
 */

/* Adds lines to dnsmasq's configuration and restarts it on the same port. Names under "test" that
 * no line mentions do not exist. Beware: meerkatd caches every answer for five seconds at least. */
void world_dns(struct world *world, const char *fmt, ...) PRINTF_LIKE(2, 3);
void world_dns_stop(struct world *world);
/* The next world_dns starts from nothing. */
void world_dns_forget(struct world *world);

/* A sink on ip (127.0.0.x). The first one's port becomes the option smtp_port; later ones listen
 * on the same port of another address. arguments: further ones of tools/sink, NULL at the end, or
 * NULL. */
struct peer *world_sink(struct world *world, const char *ip, const char *const *arguments);
/* Replaces the profile; "" is a well-behaved server. */
void world_sink_profile(struct world *world, const struct peer *sink, const char *words);
/* A member of GET /count. */
long long world_sink_count(struct world *world, const struct peer *sink, const char *name);
/* Waits for the n-th mail, from 1, and returns it as stored: X-Sink- lines in front. */
struct slice world_sink_mail(struct world *world, const struct peer *sink, uint32_t number);

/* Any other program: argv[0] is looked up in PATH. */
struct peer *world_spawn(struct world *world, const char *name, const char *const *argv);
/* The port that a peer writes to a file once it listens. */
uint16_t world_await_port(struct world *world, struct peer *peer, const char *path);
void world_peer_stop(struct world *world, struct peer *peer, int signal_number);
/* A port that nobody listens on just now, TCP and UDP, on 127.0.0.1. */
uint16_t world_free_port(void);
bool world_is_listening(uint16_t tcp_port);
/* The path of a program that was built: "meerkatctl". */
const char *world_program(struct world *world, const char *name);
/* Runs a program to its end with `input` on its standard input; what it printed in *output, if not
 * NULL. Returns its exit status. */
int world_tool(struct world *world, const char *const *argv, struct slice input,
               struct slice *output);
/* meerkatctl for the daemon of that data folder, NULL: the world's own. The words are parted by
 * single blanks. */
int world_ctl(struct world *world, const char *data, const char *words, struct slice input,
              struct slice *output);

/* ---- small things -----------------------------------------------------------------------------
 */

const char *world_text(struct world *world, const char *fmt, ...) PRINTF_LIKE(2, 3);
const char *world_vtext(struct world *world, const char *fmt, va_list args);
struct slice world_read_file(struct world *world, const char *path);
void world_write_file(struct world *world, const char *path, struct slice content);

/* For loops that wait: `struct wait wait = wait_start(MS); while (!cond && wait_more(&wait)) {}`.
 * wait_more pauses a moment and is false once the time is over. */
struct wait {
    uint64_t end_ms;
};
struct wait wait_start(uint64_t ms);
bool wait_more(struct wait *wait);
/* The same with a function. Returns whether it became true. */
typedef bool wait_fn(void *context);
bool wait_until(wait_fn *is_true, void *context, uint64_t ms);

#endif
