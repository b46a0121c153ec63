/* smtp_in_mail.c - the mail that a session has in hand: recipients, bytes, chunks, the end.
 *
 *   RCPT   SHARD_DIRECTORY (whose domain?) -> SHARD_RCPT (does it want that address?) -> 250
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
#include "mail/addr.h"
#include "mail/auth_results.h"

#define SCRATCH_BYTES (16 * KIB)

static void go_on_storing(struct smtp_session *session);

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

/* ---- envelope ------------------------------------------------------------------------------- */

void inbound_mail(struct smtp_session *session)
{
    struct inbound *mail = &session->mail;
    const struct smtp_mail *said = &session->server.mail;
    inbound_reset(session);
    mail->is_open = true;
    mail->is_smtputf8 = said->is_smtputf8;
    mail->sender = arena_dup(&mail->arena, said->from.text);
    (void)id_text(ID_REQUEST, id_random(), mail->id); /* the length is not needed */
    smtp_server_accept(&session->server, SLICE(""));
}

static void put_off_rcpt(struct smtp_session *session, uint16_t code, const char *enhanced,
                         const char *text)
{
    metric_add(METRIC_RCPT_PUT_OFF, 1);
    smtp_server_refuse(&session->server, code, enhanced, slice_str(text));
}

/* For good. Who tries many such addresses is harvesting, and is sent away. */
static void refuse_rcpt(struct smtp_session *session, uint16_t code, const char *enhanced,
                        const char *text)
{
    struct smtp_in *smtp = session->smtp;
    metric_add(METRIC_RCPT_UNKNOWN, 1);
    smtp_server_refuse(&session->server, code, enhanced, slice_str(text));
    if (session->is_guarded &&
        smtp_guard_rcpt_failed(smtp->guard, &session->peer, loop_now_ms(smtp->edge->loop))) {
        smtp_server_close(&session->server, 421, "4.7.0", SLICE("too many unknown recipients"));
    }
}

/* The recipient in the form it is compared in. RFC 5321 4.5.1: "<postmaster>" is whoever has our
 * own name. */
static enum err read_rcpt(struct smtp_session *session)
{
    struct inbound *mail = &session->mail;
    const struct smtp_path *to = &session->server.rcpt.to;
    struct arena scratch;
    struct addr addr;
    arena_init(&scratch, 2 * KIB, SCRATCH_BYTES);
    struct slice text = to->domain.len > 0
                            ? to->text
                            : arena_format(&scratch, "%.*s@%.*s", SLICE_FMT(to->local),
                                           SLICE_FMT(session->smtp->hostname));
    enum err err = addr_parse(text, &scratch, &addr);
    if (err == ERR_OK) {
        struct slice key = addr_key(&addr, &scratch);
        if (key.len > ADDR_MAX || addr.domain.len > DOMAIN_MAX) {
            err = ERR_INVALID;
        } else {
            memcpy(mail->asked_bytes, key.data, key.len);
            mail->asked = slice_of(mail->asked_bytes, key.len);
        }
    }
    arena_fini(&scratch);
    return err;
}

static struct slice domain_of(struct slice key)
{
    return slice_from(key, slice_rfind_byte(key, '@') + 1);
}

/* SIZE_MAX when the account has no part in this mail yet. */
static size_t find_account(const struct inbound *mail, struct account_id account)
{
    for (size_t i = 0; i < mail->account_count; i++) {
        if (mail->accounts[i].account.value == account.value) {
            return i;
        }
    }
    return SIZE_MAX;
}

/* Whose it would be is known: does that account want the address? */
static void ask_account(struct smtp_session *session, struct account_id account, struct id domain)
{
    const struct inbound *mail = &session->mail;
    if (find_account(mail, account) == SIZE_MAX && mail->account_count == INBOUND_ACCOUNTS_MAX) {
        put_off_rcpt(session, 452, "4.5.3", "too many different recipients; send again");
        return;
    }
    struct msg *msg = smtp_in_take(session, MSG_SHARD_RCPT);
    if (msg == NULL) {
        put_off_rcpt(session, 451, "4.3.2", "the service is busy; try again shortly");
        return;
    }
    msg->body.rcpt = (struct shard_rcpt){
        .account = account, .domain = domain, .recipient = arena_dup(&msg->arena, mail->asked)};
    smtp_in_post(place_shard(session->smtp->edge->place, account), msg);
}

static void ask_directory(struct smtp_session *session)
{
    struct inbound *mail = &session->mail;
    struct msg *msg = smtp_in_take(session, MSG_SHARD_DIRECTORY);
    if (msg == NULL) {
        put_off_rcpt(session, 451, "4.3.2", "the service is busy; try again shortly");
        return;
    }
    msg->body.directory = (struct shard_directory){
        .op = DIRECTORY_GET,
        .kind = DIRECTORY_KIND_DOMAIN,
        .name = arena_dup(&msg->arena, domain_of(mail->asked)),
    };
    smtp_in_post(place_directory(session->smtp->edge->place, msg->body.directory.name), msg);
}

/* Bounces come back to "b.<mail in hex>...", below a domain of the mail's account or at our own
 * name: neither is in the directory, and the mail's id says whose it is. Whether it is more than
 * made up is for that account to say (shards/return_path.c). */
static bool is_return_path(const struct smtp_session *session, struct account_id *account)
{
    const struct conf *conf = session->smtp->edge->place->conf;
    struct slice asked = session->mail.asked;
    struct slice domain = domain_of(asked);
    struct slice label = conf->return_path_label;
    struct id mail;
    bool is_below = label.len > 0 && domain.len > label.len + 1 && slice_starts(domain, label) &&
                    domain.data[label.len] == '.';
    if (!slice_starts(asked, SLICE("b.")) ||
        (!is_below && !slice_equal_nocase(domain, conf->hostname))) {
        return false;
    }
    struct slice rest = slice_from(asked, 2);
    struct slice hex = slice_cut(&rest, '.');
    if (hex.len != 2 * sizeof mail.bytes ||
        hex_decode(hex, mail.bytes, sizeof mail.bytes) != ERR_OK) {
        return false;
    }
    *account = id_account(mail);
    return account->value != 0;
}

void inbound_rcpt(struct smtp_session *session)
{
    struct inbound *mail = &session->mail;
    struct account_id account;
    if (session->server.rcpt.to.is_literal) {
        refuse_rcpt(session, 550, "5.7.1", "relaying denied");
    } else if (read_rcpt(session) != ERR_OK) {
        refuse_rcpt(session, 553, "5.1.3", "the recipient's address is malformed");
    } else if (is_return_path(session, &account)) {
        ask_account(session, account, (struct id){.bytes = {0}});
    } else if (mail->domain.len > 0 && slice_equal(domain_of(mail->asked), mail->domain)) {
        ask_account(session, mail->domain_account, mail->domain_id);
    } else {
        ask_directory(session);
    }
}

static void directory_home(struct smtp_session *session, const struct smtp_home *home)
{
    struct inbound *mail = &session->mail;
    if (home->err == ERR_NOT_FOUND) {
        refuse_rcpt(session, 550, "5.7.1", "relaying denied");
    } else if (home->err != ERR_OK) {
        put_off_rcpt(session, 451, "4.3.0", "the recipient could not be looked up");
    } else {
        struct slice domain = domain_of(mail->asked);
        memcpy(mail->domain_bytes, domain.data, domain.len);
        mail->domain = slice_of(mail->domain_bytes, domain.len);
        mail->domain_account = home->account;
        mail->domain_id = home->id;
        ask_account(session, home->account, home->id);
    }
}

/* From the first good recipient on: who only tries addresses costs no look-ups. */
static void start_judge(struct smtp_session *session)
{
    struct smtp_in *smtp = session->smtp;
    struct judge_input input = {.client = session->peer,
                                .helo = session->server.hello,
                                .mail_from = session->mail.sender,
                                .hostname = smtp->hostname};
    session->mail.judge = judge_new(smtp->edge->loop, smtp->dns, &input);
}

static void add_rcpt(struct smtp_session *session, struct account_id account)
{
    struct inbound *mail = &session->mail;
    if (mail->rcpts == NULL) {
        mail->rcpts = arena_array(&mail->arena, INBOUND_RCPT_MAX, sizeof *mail->rcpts);
        start_judge(session);
    }
    for (uint32_t i = 0; i < mail->rcpt_count; i++) {
        if (slice_equal(mail->rcpts[i].key, mail->asked)) {
            return; /* twice the same: one copy */
        }
    }
    size_t index = find_account(mail, account);
    if (index == SIZE_MAX) {
        CHECK(mail->account_count < INBOUND_ACCOUNTS_MAX);
        index = mail->account_count++;
        mail->accounts[index] = (struct inbound_account){.account = account};
    }
    CHECK(mail->rcpt_count < INBOUND_RCPT_MAX); /* the machine counts those that were accepted */
    mail->rcpts[mail->rcpt_count++] =
        (struct inbound_rcpt){arena_dup(&mail->arena, mail->asked), (uint8_t)index};
}

static void rcpt_home(struct smtp_session *session, const struct smtp_home *home)
{
    switch (home->err) {
    case ERR_OK:
        add_rcpt(session, home->account);
        smtp_server_accept(&session->server, SLICE(""));
        break;
    case ERR_NOT_FOUND:
        refuse_rcpt(session, 550, "5.1.1", "no such mailbox here");
        break;
    case ERR_DOMAIN_UNVERIFIED:
        refuse_rcpt(session, 550, "5.7.1", "relaying denied");
        break;
    case ERR_SUSPENDED:
        refuse_rcpt(session, 550, "5.2.1", "the mailbox is disabled");
        break;
    case ERR_QUOTA:
        put_off_rcpt(session, 452, "4.2.2", "the mailbox is full");
        break;
    case ERR_STORAGE:
        put_off_rcpt(session, 452, "4.3.1", "no room for mail at present");
        break;
    case ERR_BUSY:
        put_off_rcpt(session, 451, "4.3.2", "the service is busy; try again shortly");
        break;
    default:
        put_off_rcpt(session, 451, "4.3.0", "the recipient could not be looked up");
        break;
    }
}

/* ---- bytes ---------------------------------------------------------------------------------- */

void inbound_data(struct smtp_session *session)
{
    struct inbound *mail = &session->mail;
    struct edge *edge = session->smtp->edge;
    CHECK(mail->rcpt_count > 0);
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
    if (id_is_none(mail->accounts[0].staged)) {
        begin_staging(session);
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
    size_t index = find_account(mail, home->account);
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

void inbound_end(struct smtp_session *session)
{
    struct inbound *mail = &session->mail;
    mail->is_ended = true;
    if (mail->failed == ERR_OK) {
        note_header(session);
        judge_finish(mail->judge, on_judged, session);
        ask_spam(session);
        if (mail->chunks > 0 && mail->data.len > 0) {
            stage_chunk(session);
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
    struct msg *msgs[INBOUND_ACCOUNTS_MAX];
    struct buf trace;
    uint64_t copies = (uint64_t)mail->data.len * mail->account_count;
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
    if (mail->is_staging || mail->is_storing) {
        return;
    }
    if (mail->failed != ERR_OK) {
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
    size_t index = find_account(mail, home->account);
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
        directory_home(session, home);
        smtp_in_go_on(session);
        break;
    case MSG_SHARD_RCPT:
        rcpt_home(session, home);
        smtp_in_go_on(session);
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
