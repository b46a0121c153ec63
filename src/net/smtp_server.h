/* smtp_server.h - the server's side of an SMTP session as a checked machine: bytes in, events out,
 * verdicts in, replies out. No sockets, no policy, no mail: for port 25 and for submission.
 *
 * The one idea: the machine knows the protocol, the session knows the answers. smtp_server_feed
 * takes bytes up to the next event. Events marked ASKS are questions: the machine takes nothing
 * more (feed says WAIT) until smtp_server_accept or smtp_server_refuse has answered, at once or
 * after a message has come home. So the replies of a pipelined group keep their order, and what the
 * client sends meanwhile stays where the session has it: it pauses its conn and feeds the rest
 * later. All other replies the machine writes by itself; the event is only a notice.
 *
 *     smtp_server_init; ask whether the peer may come in; smtp_server_accept     (220)
 *     bytes came, or a verdict was given:
 *         do event = smtp_server_feed(server, rest, &used); rest is what was not used
 *         while event is neither MORE, WAIT, FULL nor CLOSE
 *         write smtp_server_out, smtp_server_wrote; keep rest
 *     STARTTLS accepted: write the reply, start TLS, drop rest; smtp_server_tls_started
 *     CLOSE, QUIT, or smtp_server_is_closed: write the replies, close
 *
 * Held: one line, one chunk of mail, the replies (limits.h). Above SMTP_OUT_HIGH bytes of replies
 * that nobody took, feed says FULL and takes nothing.
 *
 * Strict where smuggling lives. Only CRLF ends a command; a bare CR, a bare LF, a NUL or a line
 * over its ceiling is 500 and the end, because where the next command begins is anyone's guess; so
 * is a BDAT whose size cannot be read. DATA ends at CRLF "." CRLF and nowhere else; a mail with a
 * bare CR, a bare LF or a NUL in it is refused as a whole after its end (550 5.6.11). BDAT swallows
 * its octets whatever the answer is. Whatever follows STARTTLS in clear is an injection
 * (CVE-2011-0411): 501 and the end when it came in the same bytes, dropped when it came later.
 *
 * Lenient where it is safe: the name in EHLO may be anything printable; commands in any case;
 * spaces at the end of a line.
 */
#ifndef NET_SMTP_SERVER_H
#define NET_SMTP_SERVER_H

#include "base/base.h"
#include "base/buf.h"
#include "base/err.h"
#include "base/limits.h"
#include "base/slice.h"
#include "base/sm.h"
#include "net/smtp.h"
#include "net/smtp_auth.h"
#include "net/smtp_body.h"
#include "net/smtp_envelope.h"

enum smtp_event {
    SMTP_EVENT_NONE, /* never returned */
    SMTP_EVENT_MORE, /* all bytes were used; feed more */
    SMTP_EVENT_WAIT, /* a question is open; nothing was used */
    SMTP_EVENT_FULL, /* replies wait to be taken; nothing was used */

    SMTP_EVENT_CONNECT,  /* ASKS, from init on and never returned: may the peer come in? */
    SMTP_EVENT_HELLO,    /* ASKS. server->hello, is_esmtp; any transaction is over */
    SMTP_EVENT_STARTTLS, /* ASKS */
    SMTP_EVENT_AUTH,     /* ASKS. server->auth; wiped by the answer */
    SMTP_EVENT_MAIL,     /* ASKS. server->mail */
    SMTP_EVENT_RCPT,     /* ASKS. server->rcpt; mail is still there, its slices are not */
    SMTP_EVENT_DATA,     /* ASKS. At DATA or at the first BDAT: may the mail come? */
    SMTP_EVENT_CHUNK,    /* server->chunk: mail bytes, until the next feed */
    SMTP_EVENT_END,      /* ASKS. The mail is complete: server->mail_bytes. Is it on disk? */

    SMTP_EVENT_RESET,   /* the transaction is over without a mail: RSET, or the machine refused it;
                           forget the chunks */
    SMTP_EVENT_NOTED,   /* NOOP, VRFY, HELP, EXPN, a mechanism's challenge: answered */
    SMTP_EVENT_REFUSED, /* a command that was malformed or out of place: answered */
    SMTP_EVENT_QUIT,    /* 221 was written; closed */
    SMTP_EVENT_CLOSE,   /* the machine gave up and said so; closed. Returned for good */
};

struct smtp_server_options {
    struct slice hostname; /* lives as long as the server */
    struct smtp_offers offers;
    uint64_t size_max; /* of a mail, in bytes as they come out */
    uint32_t rcpt_max; /* in one transaction; more is 452 */
    uint32_t mails_max;
    uint32_t bad_max;          /* malformed and misplaced commands; the next is 421 */
    uint32_t rcpt_refused_max; /* unknown recipients: one who harvests addresses */
    uint32_t auth_refused_max;
    bool needs_tls;  /* MAIL is 530 before */
    bool needs_auth; /* submission */
    bool is_tls;     /* implicit TLS */
};

struct smtp_server {
    /* For the session to read. Slices live until the event is answered, unless said otherwise. */
    struct smtp_mail mail;
    struct smtp_rcpt rcpt;
    struct smtp_auth auth;
    struct slice chunk;  /* until the next feed; may point into what was fed */
    struct slice hello;  /* the peer's name for itself; until the next HELLO */
    uint64_t mail_bytes; /* of this transaction, so far */
    uint32_t rcpts;      /* accepted in this transaction */
    bool is_esmtp;       /* EHLO, not HELO */
    bool is_tls;
    bool is_authed;
    bool is_bdat;  /* this mail comes in chunks */
    bool is_early; /* bytes came before the greeting, RFC 5321 4.3.1: mostly a bot */
    bool is_hasty; /* bytes came behind a command that ends a group, RFC 2920 3.1 */

    /* The machine's own. */
    struct smtp_server_options options;
    struct sm sm;
    struct buf line;
    struct buf out;
    struct smtp_auth_reader reader;
    struct smtp_body body;
    enum smtp_event asked;
    uint32_t mails;
    uint32_t bad;
    uint32_t rcpts_refused;
    uint32_t auths_refused;
    uint32_t junk;
    uint32_t excused;   /* misplaced commands that count as no mistake */
    uint8_t swallow_to; /* the state behind octets that nobody wants */
    bool is_line_done;  /* line holds what has been answered */
    bool is_secret;     /* line holds a credential */
    char hello_bytes[SMTP_HELLO_MAX];
};

/* Storage is the caller's and must stay in place. The first question is CONNECT.
 * Errors: none; options are the program's, and are CHECKed. */
void smtp_server_init(struct smtp_server *server, const struct smtp_server_options *options);
void smtp_server_fini(struct smtp_server *server);

/* Takes bytes up to the next event; *used says how many. Feed until MORE, WAIT, FULL or CLOSE, even
 * when no bytes are left: an event may follow from bytes that were taken before. An empty slice is
 * fine at any time.
 * Cost: the bytes of a mail are looked at once and copied once (DATA) or not at all (BDAT). */
enum smtp_event smtp_server_feed(struct smtp_server *server, struct slice data, size_t *used);

/* The question that is open, or SMTP_EVENT_NONE. */
enum smtp_event smtp_server_asked(const struct smtp_server *server);
/* Answers the open question with yes: the code is the protocol's (220, 235, 250, 354). text
 * replaces the usual words where the reply has any; empty for those. */
void smtp_server_accept(struct smtp_server *server, struct slice text);
/* With no: code 400 to 599, enhanced "5.1.1" of the same class. 421 closes; so does any refusal of
 * CONNECT. Lines of text are parted by '\n'; bytes that may not stand in a reply become '?'. */
void smtp_server_refuse(struct smtp_server *server, uint16_t code, const char *enhanced,
                        struct slice text);
/* With no, as base/err.h says it. */
void smtp_server_refuse_err(struct smtp_server *server, enum err err);

/* Says good-bye in any state, whatever is open (a deadline, a drain): 421, or the code given. */
void smtp_server_close(struct smtp_server *server, uint16_t code, const char *enhanced,
                       struct slice text);
/* Nothing more will be taken; write the replies and close. */
bool smtp_server_is_closed(const struct smtp_server *server);

/* The handshake that followed an accepted STARTTLS is done: the client greets anew, and nothing it
 * said in clear is remembered (RFC 3207 4.2). */
void smtp_server_tls_started(struct smtp_server *server);

/* Bytes to write, and how many of them were taken. */
struct slice smtp_server_out(const struct smtp_server *server);
void smtp_server_wrote(struct smtp_server *server, size_t len);

/* For deadlines (RFC 5321 4.5.3.2.7 and its neighbours): bytes of a mail are expected. */
bool smtp_server_is_in_mail(const struct smtp_server *server);
/* The command that the last event came of, for who watches; empty when it holds a credential. Until
 * the next feed. */
struct slice smtp_server_line(const struct smtp_server *server);
/* "envelope", for logs. */
const char *smtp_server_state(const struct smtp_server *server);

#endif
