/* receive_rig.h - mails for the tests of receiving.
 *
 * An account with a domain that may receive, and what an edge says of the mails that come: asked
 * recipients, chunks of a large one, the end. Routes and mailboxes to receive them.
 */
#ifndef UNIT_SHARDS_RECEIVE_RIG_H
#define UNIT_SHARDS_RECEIVE_RIG_H

#include "mail/mime_read.h"
#include "unit/shards/shard_rig.h"

#define RECEIVE_TRACE "Return-Path: <ann@example.net>\r\nReceived: from a by b; today\r\n"
#define RECEIVE_MAIL                                                                               \
    "From: Ann <ann@example.net>\r\nTo: Info <info@example.com>\r\nSubject: Hello\r\n"             \
    "Message-ID: <one@example.net>\r\nDate: Fri, 21 Nov 2025 09:55:06 -0600\r\n\r\nHi there\r\n"

struct receiver {
    struct rig *rig;
    struct account_id account;
    struct id domain;
};

/* An account whose domain example.com may receive. */
static inline struct receiver receiver_open(void)
{
    mime_read_init();
    struct receiver to = {.rig = rig_open()};
    struct arena arena;
    arena_init(&arena, 4 * KIB, MIB);
    to.account = rig_signup(to.rig);
    to.domain = rig_domain(to.rig, to.account, "example.com");
    struct row_domain row =
        rig_get_domain(to.rig, to.account, key_domain(to.account, to.domain), &arena);
    row.mx_verified = true;
    rig_set_domain(to.rig, to.account, key_domain(to.account, to.domain), &row);
    arena_fini(&arena);
    return to;
}

static inline void receiver_close(struct receiver *to)
{
    rig_close(to->rig);
    mime_read_fini();
}

static inline enum err receive_rcpt(struct receiver *to, const char *recipient)
{
    struct msg *msg = rig_take(to->rig, MSG_SHARD_RCPT);
    msg->body.rcpt = (struct shard_rcpt){
        .account = to->account,
        .domain = to->domain,
        .recipient = slice_str(recipient),
    };
    enum err err = rig_call(to->rig, rig_shard(to->rig, to->account), msg);
    rig_put(to->rig, msg);
    return err;
}

/* Not posted. Recipients comma separated. */
static inline struct msg *receive_msg(struct receiver *to, const char *rcpts, struct slice mail)
{
    struct msg *msg = rig_take(to->rig, MSG_SHARD_INBOUND);
    struct shard_inbound *body = &msg->body.inbound;
    struct slice rest = arena_dup(&msg->arena, slice_str(rcpts));
    *body = (struct shard_inbound){
        .account = to->account,
        .data = arena_dup(&msg->arena, mail),
        .size_bytes = mail.len,
        .trace = SLICE(RECEIVE_TRACE),
        .sender = SLICE("ann@example.net"),
        .helo = SLICE("mail.example.net"),
        .remote_addr = SLICE("192.0.2.7"),
        .spf = SLICE("pass"),
        .dkim = SLICE("none"),
        .dmarc = SLICE("fail"),
        .received_unix_ms = clock_unix_ms(),
    };
    body->digest = crypto_sha256(mail);
    body->rcpts = arena_array(&msg->arena, SMTP_RCPT_MAX + 1, sizeof(*body->rcpts));
    while (rest.len > 0) {
        body->rcpts[body->rcpt_count++] = slice_cut(&rest, ',');
    }
    return msg;
}

static inline enum err receive_call(struct receiver *to, struct msg *msg)
{
    return rig_call(to->rig, rig_shard(to->rig, to->account), msg);
}

/* Stores a mail and answers its id. */
static inline struct id receive(struct receiver *to, const char *rcpts, const char *mail)
{
    struct msg *msg = receive_msg(to, rcpts, slice_str(mail));
    enum err err = receive_call(to, msg);
    cr_assert_eq(err, ERR_OK, "inbound: %s", err_info(err)->name);
    struct id id = msg->body.inbound.id;
    rig_put(to->rig, msg);
    return id;
}

static inline struct row_mail received_row(struct receiver *to, struct id mail, struct arena *arena)
{
    return rig_get_mail(to->rig, to->account, key_mail(to->account, mail), arena);
}

/* A route, as the API makes it. */
static inline struct id receive_route(struct receiver *to, const char *pattern,
                                      enum route_action action, const char *destination)
{
    struct msg *msg = rig_take(to->rig, MSG_SHARD_ROUTE);
    struct shard_route *body = &msg->body.route;
    body->op = ROUTE_CREATE;
    body->caller = rig_key_caller(to->account, RIGHT_ROUTES_WRITE);
    body->given = ROUTE_FIELD_MATCH | ROUTE_FIELD_ACTION | ROUTE_FIELD_DESTINATION;
    body->wanted = (struct row_route){
        .match_pattern = slice_str(pattern),
        .action = (uint8_t)action,
        .destination = slice_str(destination),
        .is_enabled = true,
    };
    enum err err = receive_call(to, msg);
    cr_assert_eq(err, ERR_OK, "route: %s", err_info(err)->name);
    struct id id = body->rows[0].id;
    rig_put(to->rig, msg);
    return id;
}

static inline struct id receive_mailbox(struct receiver *to, const char *address)
{
    struct id id = shard_id(rig_state(to->rig, to->account), to->account);
    struct row_mailbox row = {.id = id, .address = slice_str(address), .domain = to->domain};
    struct row_mailbox_name name = {.mailbox = id};
    rig_set_mailbox(to->rig, to->account, key_mailbox(to->account, id), &row);
    rig_set_mailbox_name(to->rig, to->account, key_mailbox_name(to->account, row.address), &name);
    return id;
}

/* Opens a stage and puts the mail into it, chunk by chunk. */
static inline enum err receive_stage(struct receiver *to, enum stage_op op, struct id *mail,
                                     uint32_t chunk, struct slice data)
{
    struct msg *msg = rig_take(to->rig, MSG_SHARD_STAGE);
    msg->body.stage = (struct shard_stage){
        .op = op,
        .account = to->account,
        .mail = *mail,
        .chunk = chunk,
        .data = arena_dup(&msg->arena, data),
    };
    enum err err = receive_call(to, msg);
    *mail = msg->body.stage.mail;
    rig_put(to->rig, msg);
    return err;
}

static inline struct id receive_staged(struct receiver *to, struct slice mail, uint32_t *chunks)
{
    struct id id = {.bytes = {0}};
    cr_assert_eq(receive_stage(to, STAGE_BEGIN, &id, 0, SLICE("")), ERR_OK);
    *chunks = 0;
    for (size_t at = 0; at < mail.len; at += CHUNK_BYTES) {
        cr_assert_eq(receive_stage(to, STAGE_ADD, &id, ++*chunks, slice_sub(mail, at, CHUNK_BYTES)),
                     ERR_OK);
    }
    return id;
}

#endif
