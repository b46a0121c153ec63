/* handover.h - one meerkatd hands its listening sockets to the next: meerkatd --takeover.
 *
 * While it runs, the daemon listens on <data>/takeover.sock, a socket of its own beside that of
 * meerkatctl: sessions there end when a drain begins, this one has to outlast it. Who connects as
 * root or as the daemon's user gets all listening sockets. From then on both hold them:
 *
 *   next                              running
 *   connects              ----------> sends the sockets, goes on as ever
 *   looks at what it has
 *   "go"                  ----------> drains; what connects now waits in the sockets' backlog
 *                         <---------- "closed": the store is
 *   opens the store, accepts
 *   "ready"               ----------> ends, status 0
 *
 * The sockets are never closed by both, so nobody who connects is refused. If the next one dies
 * before "go", nothing has happened; if it dies later, the running one finishes its drain and runs
 * itself again, with the sockets. If the running one does not end its drain in time, or dies, the
 * next one ends it and goes on: what was acknowledged is on disk.
 *
 * Diagnostics: `handover.*` in the log of both.
 */
#ifndef HANDOVER_H
#define HANDOVER_H

#include "base/arena.h"
#include "base/conf.h"
#include "net/listen.h"
#include "net/loop.h"
#include "net/sockets.h"

typedef void handover_go_fn(void *context);
typedef bool handover_check_fn(const struct conf *conf);

struct handover {
    const struct sockets *sockets;
    struct listener listener;
    uv_poll_t poll; /* of the channel */
    handover_go_fn *on_go;
    void *context;
    int channel;       /* to the other one; -1: there is none */
    int other;         /* its pidfd; -1 */
    uint64_t begun_ms; /* monotonic, of "go" */
    bool is_watched;   /* the poll is open */
    bool is_closing;   /* and still is the loop's */
    bool is_going;     /* "go" was said */
};

/* The path of the socket, in arena. */
struct slice handover_path(const struct conf *conf, struct arena *arena);

/* ---- of the one that runs ------------------------------------------------------------------- */

void handover_init(struct handover *handover, const struct sockets *sockets);
/* Listens. on_go: begin the drain and keep the sockets. What keeps it from listening is logged; it
 * then runs without. Loop: main's. */
void handover_open(struct handover *handover, struct loop *loop, struct slice path,
                   handover_go_fn *on_go, void *context);
/* Listens no more. The channel stays, if there is one. Harmless twice. */
void handover_stop(struct handover *handover);
/* The loop has ended and the store is closed. Waits for the next one, if there is one; false: it
 * has died, and nobody accepts from the sockets. */
bool handover_finish(struct handover *handover) MUST_USE;

/* ---- of the next one ------------------------------------------------------------------------ */

/* Gets the sockets, has the running daemon drain, and waits until the store is free. Nobody there:
 * true without any. False: it said why, and the running one goes on as it was. */
bool handover_take(struct handover *handover, struct sockets *sockets, const struct conf *conf,
                   handover_check_fn *is_good) MUST_USE;
/* We accept: the other one may go. */
void handover_ready(struct handover *handover);

#endif
