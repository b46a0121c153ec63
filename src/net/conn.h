/* conn.h - a stream, plain or TLS: reads, watermarks, one deadline, closing.
 *
 * TCP, or a Unix socket that was accepted: such a conn has no addresses.
 *
 * A conn is embedded in the session that owns it (an HTTP session, an SMTP client). The session
 * gives a table of callbacks; all of them run on the conn's loop, and none runs after on_closed.
 * Writes never block: bytes are queued, small ones gathered within a turn of the loop into one
 * system call. When more than CONN_WRITE_HIGH_BYTES wait, conn_is_choked tells the writer to pause
 * until on_drain.
 *
 * Closing: conn_close sends what is queued (and TLS close_notify), ends the sending direction,
 * waits a second for the peer to do the same (so that a late byte from it does not make the kernel
 * throw our last answer away) and then closes; conn_abort closes now. Either may be called at any
 * time, also from a callback and more than once. on_closed is always the last call; the storage may
 * be freed in it. No callback runs inside a function of this module.
 *
 * States: OPENING (connecting) -> OPEN -> CLOSING (flushing) -> CLOSED, with TLS handshakes inside
 * OPEN (conn_is_handshaking).
 */
#ifndef NET_CONN_H
#define NET_CONN_H

#include <uv.h>

#include "base/base.h"
#include "base/buf.h"
#include "base/cidr.h"
#include "base/err.h"
#include "base/sm.h"
#include "net/loop.h"
#include "net/tls.h"

struct conn;

struct conn_handler {
    /* The connection is usable: accepted or connected, and for implicit TLS the handshake is done;
     * also after conn_start_tls finished. */
    void (*on_open)(struct conn *conn);
    /* Bytes arrived. They are the conn's; copy what must stay. May close the conn. */
    void (*on_data)(struct conn *conn, struct slice data);
    /* The queue fell below half of the high mark after conn_is_choked was true. May be NULL. */
    void (*on_drain)(struct conn *conn);
    /* The peer sent end of file (ERR_CLOSED), or something failed: ERR_CONNECT, ERR_TLS (also when
     * the peer leaves during a handshake), ERR_IO, ERR_TIMEOUT (the deadline passed). Said once; no
     * on_data follows. The session decides, usually for conn_abort or conn_close; a conn with an
     * error other than ERR_TIMEOUT can no longer be written, but conn_close still sends what was
     * queued before. */
    void (*on_fail)(struct conn *conn, enum err err);
    /* The last call. The struct may be freed. */
    void (*on_closed)(struct conn *conn);
};

struct conn_addr {
    struct sockaddr_storage storage;
};

struct conn {
    union {
        uv_tcp_t tcp;
        uv_pipe_t pipe; /* is_local */
    };
    struct loop *loop;
    const struct conn_handler *handler;
    struct tls *tls; /* NULL when plain */
    struct timer deadline;
    struct chore turn_end; /* writes what the turn gathered, tells what it brought */
    struct sm sm;
    struct buf out;       /* queued, not yet given to libuv; no block while empty */
    size_t flying_before; /* queue of the last look at a closing conn: has it moved? */
    enum err failed_with; /* what on_fail is about to say */
    char failure[128];    /* why, for logs and transcripts; terminated */
    bool is_local;        /* a Unix socket */
    bool wants_reading;   /* conn_pause and conn_resume */
    bool is_flying;       /* one uv_write at a time; the next gathers in out */
    bool is_choked;
    bool is_open_due; /* accepted; on_open waits for the end of the turn */
    bool is_tls_open;
    bool has_failed; /* on_fail is due or was said */
    bool has_eof;
    bool is_shut; /* takes no more writes */
    bool is_dead; /* the socket takes no more bytes */
    bool is_lingering;
};

/* Takes an accepted socket. tls NULL for plain; else the handshake starts at once. on_open comes
 * later, never inside. ERR_IO when the socket is already dead; on_closed still runs.
 * Owns: takes the socket, also on failure; holds a use of tls while it needs one. */
MUST_USE enum err conn_accept(struct conn *conn, struct loop *loop, uv_os_sock_t socket,
                              struct tls_context *tls, const struct conn_handler *handler);
/* Starts connecting to addr (port included). on_open, or on_fail with ERR_CONNECT. For implicit TLS
 * call conn_start_tls in on_open. */
void conn_connect(struct conn *conn, struct loop *loop, const struct sockaddr *addr,
                  const struct conn_handler *handler);
/* The same, leaving from one of our addresses; NULL: the system's choice. ERR_CONNECT also when the
 * address is none of this machine's. */
void conn_connect_from(struct conn *conn, struct loop *loop, const struct conn_addr *addr,
                       const struct conn_addr *source, const struct conn_handler *handler);
/* Turns a plain, open conn into TLS (STARTTLS) or starts implicit TLS from on_open. Any plaintext
 * read after this call is ciphertext; bytes already delivered are the caller's problem (RFC
 * 3207 4.2: discard them). on_open when the handshake is done. server_name, for SNI and
 * verification, is empty when we are the server. Ignored after a failure or once closing. */
void conn_start_tls(struct conn *conn, struct tls_context *context, struct slice server_name);
/* The same with a context of TLS_VERIFY_DANE; server_name is the TLSA base domain. */
void conn_start_tls_pinned(struct conn *conn, struct tls_context *context, struct slice server_name,
                           const struct tls_pins *pins);
/* From on_data of a plain conn, right after conn_start_tls: bytes that came with what was plain and
 * belong to the handshake already (those behind a PROXY header). */
void conn_take_early(struct conn *conn, struct slice data);

/* Copies into the queue. Ignored after a failure or once closing. Failures of the conn (ERR_IO) are
 * more than CONN_WRITE_MAX_BYTES queued, for the writer ignored conn_is_choked, and writing before
 * on_open. */
void conn_write(struct conn *conn, struct slice data);
bool conn_is_choked(const struct conn *conn);
bool conn_is_tls(const struct conn *conn);
bool conn_is_handshaking(const struct conn *conn);
bool conn_is_open(const struct conn *conn); /* may be written */

/* Stops and restarts reading, for back-pressure. */
void conn_pause(struct conn *conn);
void conn_resume(struct conn *conn);

/* One deadline: on_fail(ERR_TIMEOUT) unless moved again within delay_ms. 0 switches it off. */
void conn_set_deadline(struct conn *conn, uint64_t delay_ms);

void conn_close(struct conn *conn);
void conn_abort(struct conn *conn);

/* Peer and own address; none for a Unix socket. */
void conn_peer(const struct conn *conn, struct conn_addr *out);
void conn_local(const struct conn *conn, struct conn_addr *out);

/* "192.0.2.1" or "2001:db8::1", terminated. */
#define ADDR_TEXT_MAX 64
size_t conn_addr_text(const struct conn_addr *addr, char out[ADDR_TEXT_MAX]);
/* The address without its port; none for a Unix socket. */
struct ip6 conn_addr_ip(const struct conn_addr *addr);
uint16_t conn_addr_port(const struct conn_addr *addr);
/* Numeric "ip", "ip:port", "[v6]:port"; default_port when absent. No look-ups. */
MUST_USE enum err conn_addr_parse(struct slice text, uint16_t default_port, struct conn_addr *out);
bool conn_addr_is_loopback(const struct conn_addr *addr);
/* Loopback, private, shared (RFC 6598), link-local, multicast, unspecified, reserved,
 * documentation, and v4 of those carried in v6 (mapped, NAT64, 6to4). No address is private too. */
bool conn_addr_is_private(const struct conn_addr *addr);
/* Whether addr lies in "10.0.0.0/8"-like text. ERR_INVALID when the text is not a CIDR. */
MUST_USE enum err conn_addr_in_cidr(const struct conn_addr *addr, struct slice cidr,
                                    bool *is_inside);

#endif
