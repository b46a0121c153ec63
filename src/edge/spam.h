/* spam.h - asking rspamd what it thinks of a mail that is coming in (its HTTP API, /checkv2).
 *
 * One per edge that has rspamd_url set. The answer is advice: it is stored with the mail and told
 * to its webhook, and nothing is refused for it. Without one, rspamd being down or slow, the mail
 * goes on unjudged. Mails over MAIL_INLINE_MAX are not asked about: they are on disk in chunks by
 * then, and spam is small.
 */
#ifndef EDGE_SPAM_H
#define EDGE_SPAM_H

#include "base/base.h"
#include "base/cidr.h"
#include "base/conf.h"
#include "base/slice.h"
#include "net/dns.h"
#include "net/http_client.h"
#include "net/loop.h"

struct spam;

/* Whether conf asks for one. */
bool spam_is_wanted(const struct conf *conf);
/* Ends the process when rspamd_url cannot be called; says so. dns must outlive it. */
struct spam *spam_open(struct loop *loop, struct dns *dns, const struct conf *conf);
typedef void spam_closed_fn(void *context);
/* No question may be open. on_closed when the memory is gone. */
void spam_close(struct spam *spam, spam_closed_fn *on_closed, void *context);

struct spam_mail {
    struct slice bytes; /* stay in place until the answer */
    struct slice sender;
    const struct slice *rcpts;
    uint32_t rcpt_count;
    struct slice helo;
    struct ip6 client;
    struct slice id; /* ours, for rspamd's log */
};

struct spam_question;
typedef void spam_fn(struct spam_question *question);

struct spam_question {
    struct http_call call;
    spam_fn *on_answer;
    const char *verdict; /* "ham", "spam", or empty: nobody knows */
};

/* on_answer runs once, later, unless spam_cancel comes first.
 * Owns: question stays the caller's and in place; zero it before first use. */
void spam_ask(struct spam *spam, struct spam_question *question, const struct spam_mail *mail,
              spam_fn *on_answer);
void spam_cancel(struct spam_question *question);

/* What an answer says: "ham" or "spam" by its action; empty when it is no answer. Pure. */
const char *spam_verdict(struct slice body);

#endif
