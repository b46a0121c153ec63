/* smtp_in_mail.c - the mail that a session has in hand: bytes, chunks, the end. Its recipients are
 * in smtp_in_rcpt.c.
 *
 *   bytes  hashed, shown to the judge, gathered; beyond MAIL_INLINE_MAX:
 *            STAGE_BEGIN to each account -> STAGE_ADD of CHUNK_BYTES to each -> go on reading
 *   END    the last chunk staged  -+
 *          the judge is done      -+-> SHARD_INBOUND to each account -> all OK: 250, else 451
 *
 * Whatever fails on the way is said at END, for the protocol has no word for it earlier; until then
 * the bytes are read and forgotten. A mail answered 451 may lie in some of its accounts already:
 * they know it again by its digest when it comes once more.
 */
#include "edge/smtp_in_int.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/limits.h"
#include "base/log.h"
#include "base/metric.h"
#include "mail/auth_results.h"

static void go_on_storing(struct smtp_session *session);
static void begin_staging(struct smtp_session *session);
static void finish_bytes(struct smtp_session *session);

/* ---- life ----------------------------------------------------------------------------------- */

void inbound_init(struct inbound *mail)
{
    *mail = (struct inbound){.account_count = 0};
    arena_init(&mail->arena, 2 * KIB, INBOUND_ARENA_BYTES);
    buf_init(&mail->data, INBOUND_HELD_MAX);
}

static void release(struct smtp_session *session, uint64_t bytes)
{
    struct edge *edge = session->smtp->edge;
    CHECK(session->mail.reserved_bytes >= bytes && edge->body_bytes >= bytes);
    session->mail.reserved_bytes -= bytes;
    edge->body_bytes -= bytes;
}

bool inbound_reserve(struct smtp_session *session, uint64_t bytes)
{
    struct edge *edge = session->smtp->edge;
    if (edge->body_bytes + bytes > EDGE_BODY_BYTES) {
        return false;
    }
    session->mail.reserved_bytes += bytes;
    edge->body_bytes += bytes;
    return true;
}

/* What is with SHARD_INBOUND is not ours to drop: orphan_home does when it fails. */
static void drop_staged(struct smtp_session *session)
{
    struct inbound *mail = &session->mail;
    for (uint32_t i = 0; i < mail->account_count && !mail->is_storing; i++) {
        if (!id_is_none(mail->accounts[i].staged)) {
            smtp_in_drop(session->smtp, mail->accounts[i].account, mail->accounts[i].staged);
            mail->accounts[i].staged = (struct id){.bytes = {0}};
        }
    }
}

void inbound_reset(struct smtp_session *session)
{
    struct inbound *mail = &session->mail;
    drop_staged(session);
    if (mail->judge != NULL) {
        judge_free(mail->judge);
    }
    if (mail->is_spam_asked) {
        spam_cancel(&mail->spam);
    }
    if (mail->is_hashing) {
        sha256_drop(&mail->bytes);
    }
    release(session, mail->reserved_bytes);
    buf_fini(&mail->data);
    arena_fini(&mail->arena);
    inbound_init(mail);
}

/* ---- bytes ---------------------------------------------------------------------------------- */

void inbound_data(struct smtp_session *session)
{
    struct inbound *mail = &session->mail;
    struct edge *edge = session->smtp->edge;
    CHECK(mail->rcpt_count > 0 || mail->is_complaint);
    if (session->is_leaving) {
        smtp_server_refuse(&session->server, 421, "4.3.2", SLICE("shutting down"));
    } else if (edge->body_bytes + CHUNK_BYTES > EDGE_BODY_BYTES) {
        metric_add(METRIC_INBOUND_PUT_OFF, 1);
        inbound_reset(session);
        smtp_server_refuse(&session->server, 451, "4.3.2",
                           SLICE("the service is busy; try again shortly"));
    } else {
        sha256_start(&mail->bytes);
        mail->is_hashing = true;
        mail->started_ms = loop_now_ms(edge->loop);
        smtp_server_accept(&session->server, SLICE(""));
    }
}

/* The rest of the mail is read and forgotten. */
void inbound_fail(struct smtp_session *session, enum err err)
{
    struct inbound *mail = &session->mail;
    CHECK(err != ERR_OK);
    if (mail->failed != ERR_OK) {
        return;
    }
    mail->failed = err;
    drop_staged(session);
    release(session, mail->reserved_bytes);
    buf_fini(&mail->data);
    buf_init(&mail->data, INBOUND_HELD_MAX);
}

static uint32_t count_hops(struct slice rest)
{
    uint32_t hops = 0;
    while (rest.data != NULL) {
        hops += slice_starts_nocase(slice_cut(&rest, '\n'), SLICE("received:"));
    }
    return hops;
}

/* The header block lies at the front of what is in hand, before any of it is staged. One that is
 * longer than that claims no author: DKIM_HEADER_MAX is near anyway. */
static void note_header(struct smtp_session *session)
{
    struct inbound *mail = &session->mail;
    struct slice data = buf_slice(&mail->data);
    struct auth_range range;
    size_t from = 0;
    if (mail->has_header) {
        return;
    }
    mail->has_header = true;
    mail->hops =
        count_hops(slice_head(data, min_size(slice_find(data, SLICE("\r\n\r\n")), data.len)));
    size_t end = slice_find(data, SLICE("\r\n\r\n"));
    if (slice_starts(data, SLICE("\r\n"))) {
        data = slice_head(data, 0); /* a body without a header */
    } else if (end != SIZE_MAX) {
        data = slice_head(data, end + 2);
    } else if (!mail->is_ended) {
        return;
    }
    judge_header(mail->judge, data);
    while (auth_results_next(data, session->smtp->hostname, &from, &range)) {
        mail->forged += 1;
    }
}

/* One message for each account. False when one found no room: then none was posted. */
static bool take_each(struct smtp_session *session, enum msg_kind kind,
                      struct msg *msgs[INBOUND_ACCOUNTS_MAX])
{
    const struct inbound *mail = &session->mail;
    for (uint32_t i = 0; i < mail->account_count; i++) {
        msgs[i] = smtp_in_take(session, kind);
        if (msgs[i] == NULL) {
            while (i > 0) {
                msg_put(&session->smtp->edge->actor, msgs[--i]);
            }
            return false;
        }
    }
    return true;
}

static void post_each(struct smtp_session *session, struct msg *msgs[INBOUND_ACCOUNTS_MAX])
{
    struct inbound *mail = &session->mail;
    for (uint32_t i = 0; i < mail->account_count; i++) {
        mail->waiting += 1;
        smtp_in_post(place_shard(session->smtp->edge->place, mail->accounts[i].account), msgs[i]);
    }
}

static void begin_staging(struct smtp_session *session)
{
    struct inbound *mail = &session->mail;
    struct msg *msgs[INBOUND_ACCOUNTS_MAX];
    if (!take_each(session, MSG_SHARD_STAGE, msgs)) {
        inbound_fail(session, ERR_BUSY);
        return;
    }
    for (uint32_t i = 0; i < mail->account_count; i++) {
        msgs[i]->body.stage =
            (struct shard_stage){.op = STAGE_BEGIN, .account = mail->accounts[i].account};
    }
    mail->is_staging = true;
    post_each(session, msgs);
}

/* The next chunk: a whole one, or what is left at the end. */
static void stage_chunk(struct smtp_session *session)
{
    struct inbound *mail = &session->mail;
    struct msg *msgs[INBOUND_ACCOUNTS_MAX];
    struct slice chunk = slice_head(buf_slice(&mail->data), CHUNK_BYTES);
    uint64_t copies = (uint64_t)chunk.len * mail->account_count;
    if (!inbound_reserve(session, copies)) {
        inbound_fail(session, ERR_BUSY);
        return;
    }
    if (!take_each(session, MSG_SHARD_STAGE, msgs)) {
        inbound_fail(session, ERR_BUSY);
        return;
    }
    mail->chunks += 1;
    for (uint32_t i = 0; i < mail->account_count; i++) {
        msgs[i]->body.stage = (struct shard_stage){
            .op = STAGE_ADD,
            .account = mail->accounts[i].account,
            .mail = mail->accounts[i].staged,
            .chunk = mail->chunks,
            .data = arena_dup(&msgs[i]->arena, chunk),
        };
    }
    mail->is_staging = true;
    post_each(session, msgs);
    buf_consume(&mail->data, chunk.len);
}

/* With whoever it is for by now. */
static void go_on_staging(struct smtp_session *session)
{
    if (session->mail.account_count == 0) {
        inbound_fail(session, ERR_NOT_FOUND);
    } else if (session->mail.failed == ERR_OK) {
        begin_staging(session);
    }
}

static void traced_home(struct smtp_session *session, const struct smtp_home *home)
{
    struct inbound *mail = &session->mail;
    inbound_complained_home(session, home);
    if (mail->is_ended) {
        finish_bytes(session);
        go_on_storing(session);
    } else {
        mail->is_staging = false;
        go_on_staging(session);
        if (!mail->is_staging) {
            smtp_in_go_on(session);
        }
    }
}

void inbound_chunk(struct smtp_session *session)
{
    struct inbound *mail = &session->mail;
    struct slice chunk = session->server.chunk;
    if (mail->failed != ERR_OK) {
        return;
    }
    if (!inbound_reserve(session, chunk.len)) {
        inbound_fail(session, ERR_BUSY);
        return;
    }
    sha256_add(&mail->bytes, chunk);
    judge_add(mail->judge, chunk);
    buf_add(&mail->data, chunk);
    CHECK(!mail->data.is_over); /* staged before the next chunk comes */
    if (mail->data.len <= MAIL_INLINE_MAX) {
        return;
    }
    note_header(session);
    if (inbound_find_complained(session)) {
        mail->is_staging = true;
    } else if (id_is_none(mail->accounts[0].staged)) {
        go_on_staging(session);
    } else {
        stage_chunk(session);
    }
}

/* After the last of the messages of one round. */
static void staged_round(struct smtp_session *session)
{
    struct inbound *mail = &session->mail;
    mail->is_staging = false;
    if (mail->failed == ERR_OK) {
        /* What was staged by this round has left us, copies included. */
        release(session, mail->reserved_bytes - mail->data.len);
        bool has_more = mail->data.len > MAIL_INLINE_MAX || (mail->is_ended && mail->data.len > 0);
        if (has_more) {
            stage_chunk(session);
        }
    } else {
        drop_staged(session);
    }
    if (mail->is_staging) {
        return;
    }
    if (mail->is_ended) {
        go_on_storing(session);
    }
}

static void stage_home(struct smtp_session *session, const struct smtp_home *home)
{
    struct inbound *mail = &session->mail;
    size_t index = inbound_find_account(mail, home->account);
    CHECK(index != SIZE_MAX && mail->waiting > 0);
    mail->waiting -= 1;
    if (home->err != ERR_OK) {
        inbound_fail(session, home->err);
    } else if (home->op == STAGE_BEGIN) {
        mail->accounts[index].staged = home->id;
    }
    if (mail->waiting == 0) {
        staged_round(session);
    }
}

/* ---- the end -------------------------------------------------------------------------------- */

static void on_judged(void *context)
{
    struct smtp_session *session = context;
    session->mail.is_judged = true;
    go_on_storing(session);
}

static void on_spam_known(struct spam_question *question)
{
    struct smtp_session *session = CONTAINER_OF(question, struct smtp_session, mail.spam);
    session->mail.is_spam_asked = false;
    go_on_storing(session);
}

/* Only about what is in memory whole. */
static void ask_spam(struct smtp_session *session)
{
    struct inbound *mail = &session->mail;
    struct smtp_in *smtp = session->smtp;
    struct slice *rcpts;
    if (smtp->spam == NULL || mail->chunks > 0 || mail->data.len > MAIL_INLINE_MAX) {
        return;
    }
    rcpts = arena_array(&mail->arena, mail->rcpt_count, sizeof *rcpts);
    for (uint32_t i = 0; i < mail->rcpt_count; i++) {
        rcpts[i] = mail->rcpts[i].key;
    }
    struct spam_mail question = {
        .bytes = buf_slice(&mail->data),
        .sender = mail->sender,
        .rcpts = rcpts,
        .rcpt_count = mail->rcpt_count,
        .helo = session->server.hello,
        .client = session->peer,
        .id = slice_str(mail->id),
    };
    mail->is_spam_asked = true;
    spam_ask(smtp->spam, &mail->spam, &question, on_spam_known);
}

/* All of it is here, and whom it is for is known. */
static void finish_bytes(struct smtp_session *session)
{
    struct inbound *mail = &session->mail;
    if (mail->failed != ERR_OK || mail->account_count == 0) {
        return;
    }
    ask_spam(session);
    if (mail->chunks > 0 && mail->data.len > 0) {
        stage_chunk(session);
    }
}

void inbound_end(struct smtp_session *session)
{
    struct inbound *mail = &session->mail;
    mail->is_ended = true;
    if (mail->failed == ERR_OK) {
        note_header(session);
        bool is_tracing = inbound_find_complained(session);
        judge_finish(mail->judge, on_judged, session);
        if (!is_tracing) {
            finish_bytes(session);
        }
    }
    go_on_storing(session);
}

static void log_mail(const struct smtp_session *session, const char *event, const char *err)
{
    const struct inbound *mail = &session->mail;
    const struct judge_results *judged = mail->is_judged ? judge_results(mail->judge) : NULL;
    char ip[IP6_TEXT_MAX];
    LOG_INFO(event, LOG_STR("smtp", mail->id), LOG_ID("message", ID_MESSAGE, mail->accounts[0].id),
             LOG_TEXT("client", slice_of(ip, ip6_text(&session->peer, ip))),
             LOG_U64("bytes", session->server.mail_bytes), LOG_U64("recipients", mail->rcpt_count),
             LOG_U64("accounts", mail->account_count), LOG_BOOL("tls", session->server.is_tls),
             LOG_STR("spf", judged == NULL ? "" : spf_result_text(judged->spf->result)),
             LOG_STR("dkim", judged == NULL ? "" : dkim_result_text(judged->dkim)),
             LOG_STR("dmarc", judged == NULL ? "" : dmarc_result_text(judged->dmarc->result)),
             LOG_STR("err", err));
}

static void put_off(struct smtp_session *session, enum err err)
{
    bool is_busy = err == ERR_BUSY;
    bool is_full = err == ERR_STORAGE;
    metric_add(METRIC_INBOUND_PUT_OFF, 1);
    log_mail(session, "smtp.put_off", err_info(err)->name);
    session->mail.is_storing = false;
    inbound_reset(session);
    smtp_server_refuse(&session->server, is_full ? 452 : 451,
                       is_busy   ? "4.3.2"
                       : is_full ? "4.3.1"
                                 : "4.3.0",
                       slice_str(is_busy   ? "the service is busy; try again shortly"
                                 : is_full ? "no room for mail at present"
                                           : "the mail could not be stored; try again"));
    smtp_in_go_on(session);
}

/* RFC 9989 7.4 would rather not, so it is the operator's choice. */
static bool is_refused_by_policy(const struct smtp_session *session)
{
    const struct dmarc_verdict *dmarc = judge_results(session->mail.judge)->dmarc;
    return session->smtp->edge->place->conf->smtp_dmarc_reject && dmarc->result == DMARC_FAIL &&
           dmarc->policy == DMARC_POLICY_REJECT;
}

struct no {
    const char *reason; /* for the log */
    uint16_t code;
    const char *enhanced;
    const char *text;
};
static const struct no no_policy = {"dmarc", 550, "5.7.1",
                                    "refused by the DMARC policy of the author's domain"};
static const struct no no_complaint = {"complaint", 550, "5.7.1",
                                       "this is no report about a mail of this server"};
static const struct no no_loop = {"hops", 554, "5.4.6", "too many hops: this mail is in a loop"};

/* For good. */
static void refuse_mail(struct smtp_session *session, const struct no *no)
{
    metric_add(METRIC_INBOUND_REFUSED, 1);
    log_mail(session, "smtp.refused", no->reason);
    inbound_reset(session);
    smtp_server_refuse(&session->server, no->code, no->enhanced, slice_str(no->text));
    smtp_in_go_on(session);
}

static int compare_rcpts(const void *a, const void *b)
{
    return slice_compare(*(const struct slice *)a, *(const struct slice *)b);
}

/* The recipients of one account, sorted. */
static uint32_t rcpts_of(const struct inbound *mail, uint32_t account, struct arena *arena,
                         struct slice **out)
{
    struct slice *rcpts = arena_array(arena, mail->rcpt_count, sizeof *rcpts);
    uint32_t count = 0;
    for (uint32_t i = 0; i < mail->rcpt_count; i++) {
        if (mail->rcpts[i].account == account) {
            rcpts[count++] = arena_dup(arena, mail->rcpts[i].key);
        }
    }
    CHECK(count > 0);
    qsort(rcpts, count, sizeof *rcpts, compare_rcpts);
    *out = rcpts;
    return count;
}

/* Of what makes the mail the same for one account when it comes again. */
static struct sha256 digest_of(const struct shard_inbound *body, const struct sha256 *bytes)
{
    struct sha256_stream stream;
    sha256_start(&stream);
    sha256_add(&stream, body->sender);
    sha256_add(&stream, SLICE("\0"));
    for (uint32_t i = 0; i < body->rcpt_count; i++) {
        sha256_add(&stream, body->rcpts[i]);
        sha256_add(&stream, SLICE("\0"));
    }
    sha256_add(&stream, sha256_slice(bytes));
    return sha256_finish(&stream);
}

static void fill(const struct smtp_session *session, uint32_t account, struct slice trace,
                 const struct sha256 *bytes, struct msg *msg)
{
    const struct inbound *mail = &session->mail;
    const struct judge_results *judged = judge_results(mail->judge);
    struct arena *arena = &msg->arena;
    struct shard_inbound *body = &msg->body.inbound;
    char ip[IP6_TEXT_MAX];
    *body = (struct shard_inbound){
        .account = mail->accounts[account].account,
        .mail = mail->accounts[account].staged,
        .chunks = mail->chunks,
        .data = arena_dup(arena, buf_slice(&mail->data)),
        .size_bytes = session->server.mail_bytes,
        .trace = arena_dup(arena, trace),
        .sender = arena_dup(arena, mail->sender),
        .helo = arena_dup(arena, session->server.hello),
        .remote_addr = arena_dup(arena, slice_of(ip, ip6_text(&session->peer, ip))),
        .spf = slice_str(spf_result_text(judged->spf->result)),
        .dkim = slice_str(dkim_result_text(judged->dkim)),
        .dmarc = slice_str(dmarc_result_text(judged->dmarc->result)),
        .spam = slice_str(mail->spam.verdict != NULL ? mail->spam.verdict : ""),
        .received_unix_ms = clock_unix_ms(),
    };
    body->rcpt_count = rcpts_of(mail, account, arena, &body->rcpts);
    body->digest = digest_of(body, bytes);
}

static void store(struct smtp_session *session)
{
    struct inbound *mail = &session->mail;
    struct msg *msgs[INBOUND_ACCOUNTS_MAX] = {NULL};
    struct buf trace;
    uint64_t copies = (uint64_t)mail->data.len * mail->account_count;
    CHECK(mail->account_count > 0);
    CHECK(mail->chunks == 0 || mail->data.len == 0);
    if (!inbound_reserve(session, copies) || !take_each(session, MSG_SHARD_INBOUND, msgs)) {
        put_off(session, ERR_BUSY);
        return;
    }
    struct sha256 bytes = sha256_finish(&mail->bytes);
    mail->is_hashing = false;
    buf_init(&trace, INBOUND_TRACE_MAX);
    inbound_trace(session, &trace);
    CHECK(!trace.is_over); /* what strangers chose in it is bounded */
    for (uint32_t i = 0; i < mail->account_count; i++) {
        CHECK(msgs[i] != NULL); /* take_each left none out */
        fill(session, i, buf_slice(&trace), &bytes, msgs[i]);
    }
    buf_fini(&trace);
    mail->is_storing = true;
    post_each(session, msgs);
}

/* Whatever END waits for calls here when it is there. */
static void go_on_storing(struct smtp_session *session)
{
    struct inbound *mail = &session->mail;
    CHECK(mail->is_ended);
    if (mail->is_staging || mail->is_storing || mail->is_tracing) {
        return;
    }
    if (mail->account_count == 0 && (mail->failed == ERR_OK || mail->failed == ERR_NOT_FOUND)) {
        refuse_mail(session, &no_complaint);
    } else if (mail->failed != ERR_OK) {
        put_off(session, mail->failed);
    } else if (mail->hops > INBOUND_HOPS_MAX) {
        refuse_mail(session, &no_loop);
    } else if (!mail->is_judged || mail->is_spam_asked) {
        return;
    } else if (is_refused_by_policy(session)) {
        refuse_mail(session, &no_policy);
    } else {
        store(session);
    }
}

static void accept_mail(struct smtp_session *session)
{
    struct inbound *mail = &session->mail;
    char id[ID_TEXT_MAX];
    char text[ID_TEXT_MAX + 32];
    (void)id_text(ID_MESSAGE, mail->accounts[0].id, id);       /* the length is not needed */
    (void)snprintf(text, sizeof text, "Ok: queued as %s", id); /* fits */
    metric_add(METRIC_INBOUND_MAILS, 1);
    metric_add(METRIC_INBOUND_BYTES, session->server.mail_bytes);
    log_mail(session, "smtp.received", "");
    inbound_reset(session);
    smtp_server_accept(&session->server, slice_str(text));
    smtp_in_go_on(session);
}

static void inbound_stored(struct smtp_session *session, const struct smtp_home *home)
{
    struct inbound *mail = &session->mail;
    size_t index = inbound_find_account(mail, home->account);
    CHECK(index != SIZE_MAX && mail->waiting > 0);
    struct inbound_account *account = &mail->accounts[index];
    mail->waiting -= 1;
    if (home->err == ERR_OK) {
        account->id = home->id;
        account->staged = (struct id){.bytes = {0}}; /* it is the shard's now */
    } else {
        mail->failed = home->err;
    }
    if (mail->waiting > 0) {
        return;
    }
    if (mail->failed == ERR_OK) {
        mail->is_storing = false;
        accept_mail(session);
    } else {
        put_off(session, mail->failed);
    }
}

void inbound_home(struct smtp_session *session, const struct smtp_home *home)
{
    switch (home->kind) {
    case MSG_SHARD_DIRECTORY:
        inbound_directory_home(session, home);
        smtp_in_go_on(session);
        break;
    case MSG_SHARD_RCPT:
        if (!session->mail.is_tracing) {
            inbound_rcpt_home(session, home);
            smtp_in_go_on(session);
            break;
        }
        traced_home(session, home);
        break;
    case MSG_SHARD_STAGE:
        stage_home(session, home);
        if (!session->mail.is_staging) {
            smtp_in_go_on(session);
        }
        break;
    case MSG_SHARD_INBOUND:
        inbound_stored(session, home);
        break;
    default: /* home_of has let nothing else pass */
        CHECK(false);
    }
}
