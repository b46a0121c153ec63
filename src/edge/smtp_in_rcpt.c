/* smtp_in_rcpt.c - the envelope of a mail that comes in: MAIL, RCPT, and whom a complaint is for.
 *
 *   RCPT   a return path: its account; else SHARD_DIRECTORY (whose domain?)
 *            -> SHARD_RCPT (does it want that address?) -> 250
 *   RCPT   complaint_address, which need be nobody's -> 250; from the bytes, before they are
 * stored: the token of the mail that it quotes -> SHARD_RCPT -> one more recipient, or none
 */
#include "edge/smtp_in_int.h"

#include <string.h>

#include "base/limits.h"
#include "base/metric.h"
#include "base/check.h"
#include "mail/addr.h"
#include "mail/report_read.h"

#define SCRATCH_BYTES (16 * KIB)

static bool is_complaint_rcpt(const struct smtp_session *session);
static void take_complaint(struct smtp_session *session);

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
size_t inbound_find_account(const struct inbound *mail, struct account_id account)
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
    if (inbound_find_account(mail, account) == SIZE_MAX &&
        mail->account_count == INBOUND_ACCOUNTS_MAX) {
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

void inbound_directory_home(struct smtp_session *session, const struct smtp_home *home)
{
    struct inbound *mail = &session->mail;
    if (home->err == ERR_NOT_FOUND && is_complaint_rcpt(session)) {
        take_complaint(session);
    } else if (home->err == ERR_NOT_FOUND) {
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

static void need_rcpts(struct smtp_session *session)
{
    struct inbound *mail = &session->mail;
    if (mail->rcpts == NULL) {
        mail->rcpts = arena_array(&mail->arena, INBOUND_RCPT_MAX, sizeof *mail->rcpts);
        start_judge(session);
    }
}

static void add_rcpt(struct smtp_session *session, struct account_id account)
{
    struct inbound *mail = &session->mail;
    need_rcpts(session);
    for (uint32_t i = 0; i < mail->rcpt_count; i++) {
        if (slice_equal(mail->rcpts[i].key, mail->asked)) {
            return; /* twice the same: one copy */
        }
    }
    size_t index = inbound_find_account(mail, account);
    if (index == SIZE_MAX) {
        CHECK(mail->account_count < INBOUND_ACCOUNTS_MAX);
        index = mail->account_count++;
        mail->accounts[index] = (struct inbound_account){.account = account};
    }
    CHECK(mail->rcpt_count < INBOUND_RCPT_MAX); /* the machine counts those that were accepted */
    mail->rcpts[mail->rcpt_count++] =
        (struct inbound_rcpt){arena_dup(&mail->arena, mail->asked), (uint8_t)index};
}

/* ---- complaints ----------------------------------------------------------------------------- */

static bool is_complaint_rcpt(const struct smtp_session *session)
{
    struct slice wanted = session->smtp->edge->place->conf->complaint_address;
    return wanted.len > 0 && slice_equal_nocase(wanted, session->mail.asked);
}

/* Without an account: whose it is will be seen. */
static void take_complaint(struct smtp_session *session)
{
    session->mail.is_complaint = true;
    need_rcpts(session);
    smtp_server_accept(&session->server, SLICE(""));
}

/* A complaint belongs to the account of the mail that it quotes: it goes to that mail's return
 * path, as a bounce of it would. False when there is nobody to ask; the whole header of the quoted
 * mail stands near the front. */
bool inbound_find_complained(struct smtp_session *session)
{
    struct inbound *mail = &session->mail;
    struct slice host = session->smtp->edge->place->conf->hostname;
    struct account_id account;
    struct slice token;
    if (!mail->is_complaint || mail->is_traced) {
        return false;
    }
    mail->is_traced = true;
    if (!report_token_find(buf_slice(&mail->data), &token) ||
        token.len + 1 + host.len > sizeof mail->asked_bytes ||
        mail->rcpt_count == INBOUND_RCPT_MAX) {
        return false;
    }
    for (size_t i = 0; i < token.len; i++) {
        mail->asked_bytes[i] = ascii_lower(token.data[i]);
    }
    mail->asked_bytes[token.len] = '@';
    memcpy(mail->asked_bytes + token.len + 1, host.data, host.len);
    mail->asked = slice_of(mail->asked_bytes, token.len + 1 + host.len);
    if (!is_return_path(session, &account) || (inbound_find_account(mail, account) == SIZE_MAX &&
                                               mail->account_count == INBOUND_ACCOUNTS_MAX)) {
        return false;
    }
    struct msg *msg = smtp_in_take(session, MSG_SHARD_RCPT);
    if (msg == NULL) {
        inbound_fail(session, ERR_BUSY);
        return false;
    }
    msg->body.rcpt =
        (struct shard_rcpt){.account = account, .recipient = arena_dup(&msg->arena, mail->asked)};
    mail->is_tracing = true;
    smtp_in_post(place_shard(session->smtp->edge->place, account), msg);
    return true;
}

void inbound_complained_home(struct smtp_session *session, const struct smtp_home *home)
{
    session->mail.is_tracing = false;
    if (home->err == ERR_OK) {
        add_rcpt(session, home->account);
    } else if (home->err != ERR_NOT_FOUND && home->err != ERR_SUSPENDED) {
        inbound_fail(session, home->err);
    }
}

/* ---- answers -------------------------------------------------------------------------------- */

void inbound_rcpt_home(struct smtp_session *session, const struct smtp_home *home)
{
    bool is_complaint = is_complaint_rcpt(session);
    if (is_complaint && (home->err == ERR_NOT_FOUND || home->err == ERR_DOMAIN_UNVERIFIED)) {
        take_complaint(session);
        return;
    }
    session->mail.is_complaint |= is_complaint && home->err == ERR_OK;
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
