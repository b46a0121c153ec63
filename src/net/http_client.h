/* http_client.h - calls to other servers over HTTP/1.1, through libcurl on a loop.
 *
 * One client per loop. A call is one request and its answer: no redirect is followed, no cookie,
 * proxy, .netrc or password in the address is used. TLS is 1.2 or later and always verified, with
 * the system's CAs or a file. Connections are kept and used again.
 *
 * Where a call may go is decided here, not by libcurl: the name is looked up through net/dns, the
 * addresses are judged, and the connection is tied to a judged one; the socket itself is refused to
 * any other. So a name that changes its mind between the look-up and the connection changes
 * nothing. Unless the client or the call allows it, loopback, private and reserved addresses are
 * refused (conn_addr_is_private): ERR_REFUSED_TARGET. When some of a name's addresses are refused,
 * the others are used. An address that takes no connection is followed by the next.
 *
 * Everything has an end: timeout_ms bounds a call from its start to its last byte, body_max and
 * HTTP_CALL_HEADER_MAX bound the answer. More than body_max is cut and the connection closed; the
 * call has not failed then.
 *
 * Not here: retrying, signing, what a status means.
 */
#ifndef NET_HTTP_CLIENT_H
#define NET_HTTP_CLIENT_H

#include "base/base.h"
#include "base/err.h"
#include "base/limits.h"
#include "base/slice.h"
#include "net/conn.h"
#include "net/dns.h"
#include "net/http.h"
#include "net/http_target.h"
#include "net/loop.h"

struct http_client;

struct http_client_options {
    struct dns *dns;         /* of the same loop; must outlive the client */
    struct slice ca_path;    /* PEM; empty: the system's CAs */
    struct slice user_agent; /* empty: none is said */
    struct http_target_rule rule;
};

/* Errors: ERR_INVALID when the rule's networks do not parse. */
MUST_USE enum err http_client_open(struct loop *loop, const struct http_client_options *options,
                                   struct http_client **client);
typedef void http_client_closed_fn(void *context);
/* Open calls end with ERR_DRAINING; on_closed when the memory is gone. */
void http_client_close(struct http_client *client, http_client_closed_fn *on_closed, void *context);

struct http_call_request {
    enum http_method method; /* GET, POST, PUT or DELETE */
    struct slice url;        /* see http_url.h; the host in A-labels */
    const struct http_header *headers;
    uint32_t header_count;    /* HTTP_CALL_SEND_MAX at most */
    struct slice body;        /* POST and PUT; stays in place until the call is over */
    const struct slice *keep; /* names of the answer's header fields to keep, first of each */
    uint32_t keep_count;      /* HTTP_CALL_KEEP_MAX at most */
    size_t body_max;          /* of the answer; HTTP_CALL_BODY_MAX at most */
    uint64_t timeout_ms;      /* 1 to HTTP_CALL_MS_MAX */
    bool allows_private;      /* the address is the operator's own */
};

#define HTTP_CALL_FAILURE_MAX 160

/* err: ERR_OK when an answer came, whatever its status. ERR_INVALID (address or header field
 * malformed), ERR_BUSY (HTTP_CALLS_MAX), ERR_DNS_NONE, ERR_DNS_TEMP, ERR_REFUSED_TARGET,
 * ERR_CONNECT, ERR_TLS, ERR_TIMEOUT, ERR_CLOSED (the server left without an answer), ERR_IO (the
 * connection broke), ERR_UPSTREAM (the answer is not HTTP, or its header is too large),
 * ERR_DRAINING. status, headers and body hold what had come by then. */
struct http_call_result {
    enum err err;
    uint16_t status;                          /* 0: none came */
    bool is_cut;                              /* there was more body */
    struct slice body;                        /* all slices: during on_done only */
    struct slice headers[HTTP_CALL_KEEP_MAX]; /* as the request's keep; trimmed; empty: absent */
    struct conn_addr peer;                    /* the address that was called; when has_peer */
    bool has_peer;
    uint32_t connects;                   /* connections made; 0 when one was used again */
    uint64_t elapsed_ms;                 /* since http_call_start */
    char failure[HTTP_CALL_FAILURE_MAX]; /* why, for people; printable, terminated; "" when OK */
};

struct http_call;
typedef void http_call_fn(struct http_call *call, const struct http_call_result *result);

struct exchange;

struct http_call {
    struct exchange *exchange; /* NULL when not calling */
    http_call_fn *on_done;
};

/* Calls. on_done runs once, later, on the loop and never inside a function of this module, unless
 * http_call_cancel comes first; in it the call may be used again, and the client may be closed.
 * Numbers over their ceilings are programmer errors; what is in the text is not.
 * Owns:   call stays the caller's and in place until done or cancelled; zero it before first use.
 *         url, headers and keep are copied, body is not. */
void http_call_start(struct http_client *client, struct http_call *call,
                     const struct http_call_request *request, http_call_fn *on_done);
void http_call_cancel(struct http_call *call);

#endif
