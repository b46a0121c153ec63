/* track.c - opens and clicks of sent mails: rewriting on the way out, events on the way back.
 *
 *      TRACK --> remembered? --no--> a worker reads the mail's last events --+
 *                    |                                                       |
 *                   yes ---------------------------------------------------->+--> judge --> rows
 *
 * Links are strangers' to follow, as often as they like. So a mail keeps TRACK_EVENTS_MAX of their
 * events, the same again within a minute is the same, and what was last seen of a mail stands in a
 * small table. The table is a cache: what is pushed out of it, or lost with a restart, is read from
 * the events again.
 *
 * Programs are told from people by their name (mail/track_agent), by asking with HEAD, by being
 * faster than anybody reads, and by following several links at once. Theirs are events, too, but
 * count for nothing and are told to nobody.
 */
#include "base/check.h"
#include "base/clock.h"
#include "base/conf.h"
#include "base/log.h"
#include "mail/track_agent.h"
#include "mail/track_html.h"
#include "shards/shard_int.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SEEN_MAX  16 /* last events of a mail that are remembered */
#define SET_MAILS 8  /* a mail has this many places */
#define SET_COUNT (TRACK_MAILS_MAX / SET_MAILS)

/* Something that was seen; equal ones are the same again. */
struct seen {
    uint64_t what; /* hash of kind, address and, where many got the mail, of who asked */
    uint64_t unix_ms;
    bool is_bot;
    bool is_click;
};

struct track_entry {
    struct id mail;      /* none: the place is free */
    uint64_t used;       /* table's clock */
    uint32_t stored;     /* events of this kind that the mail has */
    uint32_t seen_count; /* ever */
    struct seen seen[SEEN_MAX];
};

struct track_table {
    uint64_t clock;
    struct track_entry entries[TRACK_MAILS_MAX];
};

/* A message whose mail's events are being read. Lives in its arena. */
struct track_work {
    struct shard_job job;
    bool is_single; /* one recipient, so that events know whose they are */
    struct track_entry loaded;
    enum err err;
};

/* What the shard makes of one message. */
struct track_case {
    struct shard *shard;
    struct msg *msg;
    struct row_mail mail;
    struct row_delivery delivery; /* of the one recipient */
    bool is_single;
    bool is_bot;
    bool is_proxy;
    uint64_t now_unix_ms;
};

static enum err check(struct track_case *it);
static void load_work(struct shard_job *job);
static void load_done(struct shard_job *job);
static enum err record(struct track_case *it, struct track_entry *entry);

/* ---- on the way out ------------------------------------------------------------------------- */

/* "https://" of the server's own address and the host of the domain, once it leads here. */
static struct slice base_of(const struct row_domain *domain, struct slice own,
                            char out[CONF_URL_MAX])
{
    size_t host = slice_find(own, SLICE("://"));
    if (!domain->track_verified || domain->track_host.len == 0 || host == SIZE_MAX) {
        return own;
    }
    struct slice rest = slice_from(own, host + 3);
    size_t end = 0;
    while (end < rest.len && memchr(":/", rest.data[end], 2) == NULL) {
        end++;
    }
    int len = snprintf(out, CONF_URL_MAX, "%.*s%.*s%.*s", SLICE_FMT(slice_head(own, host + 3)),
                       SLICE_FMT(domain->track_host), SLICE_FMT(slice_from(rest, end)));
    return len > 0 && len < CONF_URL_MAX ? slice_str(out) : own;
}

void track_rewrite(const struct shard *shard, const struct row_domain *domain,
                   struct track_html *how, struct slice html, struct buf *out)
{
    char own[CONF_URL_MAX];
    char own_host[CONF_URL_MAX];
    how->key = &shard->track_seal;
    how->own = conf_asked_url(shard->place->conf, own);
    how->base = base_of(domain, how->own, own_host);
    (void)track_html_rewrite(how, html, out); /* it fits: its ceiling is the caller's promise */
}

/* ---- what is remembered --------------------------------------------------------------------- */

static struct track_entry *entry_set(struct shard *shard, struct id mail)
{
    if (shard->tracks == NULL) {
        shard->tracks = mem_zalloc(sizeof(*shard->tracks));
    }
    /* The id's sequence and time differ from mail to mail. */
    uint32_t at = crypto_crc32(0, slice_of(mail.bytes, sizeof(mail.bytes))) % SET_COUNT;
    return &shard->tracks->entries[(size_t)at * SET_MAILS];
}

static struct track_entry *entry_find(struct shard *shard, struct id mail)
{
    struct track_entry *set = entry_set(shard, mail);
    for (size_t i = 0; i < SET_MAILS; i++) {
        if (id_equal(set[i].mail, mail)) {
            set[i].used = ++shard->tracks->clock;
            return &set[i];
        }
    }
    return NULL;
}

/* In place of the one that was used longest ago. */
static struct track_entry *entry_keep(struct shard *shard, const struct track_entry *fresh)
{
    struct track_entry *set = entry_set(shard, fresh->mail);
    struct track_entry *place = &set[0];
    for (size_t i = 1; i < SET_MAILS; i++) {
        place = set[i].used < place->used ? &set[i] : place;
    }
    *place = *fresh;
    place->used = ++shard->tracks->clock;
    return place;
}

static void remember(struct track_entry *entry, const struct seen *seen)
{
    entry->seen[entry->seen_count++ % SEEN_MAX] = *seen;
    entry->stored++;
}

static uint64_t hash_of(bool is_click, struct slice url, struct slice ip)
{
    uint64_t hash;
    struct sha256 digest =
        crypto_hmac_sha256_two(is_click ? SLICE("click") : SLICE("open"), ip, url);
    memcpy(&hash, digest.bytes, sizeof(hash));
    return hash;
}

/* The value under a name of an event's data; empty when it is not there. */
static struct slice data_of(struct slice pack, struct slice name)
{
    struct slice item;
    struct slice value;
    while (get_slice(&pack, &item) && get_slice(&pack, &value)) {
        if (slice_equal(item, name)) {
            return value;
        }
    }
    return SLICE("");
}

static void load_event(struct track_work *work, const struct row_event *row)
{
    bool is_click = slice_equal(row->type, SLICE("email.clicked"));
    if (!is_click && !slice_equal(row->type, SLICE("email.opened"))) {
        return;
    }
    struct slice ip = work->is_single ? SLICE("") : data_of(row->data, SLICE("ip"));
    struct seen seen = {
        .what = hash_of(is_click, data_of(row->data, SLICE("url")), ip),
        .unix_ms = row->created_unix_ms,
        .is_bot = slice_equal(data_of(row->data, SLICE("bot")), SLICE("yes")),
        .is_click = is_click,
    };
    remember(&work->loaded, &seen);
}

/* Worker. At most one sync behind: a few events more than the ceiling are no harm. */
static void load_work(struct shard_job *job)
{
    struct track_work *work = CONTAINER_OF(job, struct track_work, job);
    struct id mail = job->msg->body.track.ref.mail;
    struct key from = key_prefix_events(id_account(mail), mail);
    struct key to = key_after(&from);
    struct kv_iter *iter =
        kv_iter_open(job->shard->kv, job->shard->family, key_slice(&from), key_slice(&to), false);
    struct slice key;
    struct slice value;
    work->loaded.mail = mail;
    while (work->loaded.stored < TRACK_EVENTS_MAX && kv_iter_next(iter, &key, &value)) {
        struct row_event row;
        if (row_event_decode(value, &row) == ERR_OK) {
            load_event(work, &row);
        }
    }
    work->err = work->loaded.stored < TRACK_EVENTS_MAX ? kv_iter_err(iter) : ERR_OK;
    kv_iter_close(iter);
}

static void load_done(struct shard_job *job)
{
    struct track_work *work = CONTAINER_OF(job, struct track_work, job);
    struct track_case it = {.shard = job->shard, .msg = job->msg};
    enum err err = work->err;
    if (err == ERR_OK) {
        err = check(&it);
    }
    if (err == ERR_OK) {
        /* Another message may have been faster; what it wrote is in its entry. */
        struct track_entry *entry = entry_find(job->shard, work->loaded.mail);
        err = record(&it, entry != NULL ? entry : entry_keep(job->shard, &work->loaded));
    }
    shard_answer(job->shard, job->msg, err);
}

/* ---- on the way back ------------------------------------------------------------------------ */

void track_handle(struct shard *shard, struct msg *msg)
{
    struct track_case it = {.shard = shard, .msg = msg};
    enum err err = check(&it);
    if (err != ERR_OK) {
        shard_answer(shard, msg, err);
        return;
    }
    struct track_entry *entry = entry_find(shard, it.mail.id);
    if (entry != NULL) {
        shard_answer(shard, msg, record(&it, entry));
        return;
    }
    struct track_work *work = arena_alloc(&msg->arena, sizeof(*work));
    work->job.shard = shard;
    work->job.msg = msg;
    work->is_single = it.is_single;
    shard_offload(shard, &work->job, load_work, load_done);
}

/* Reads only. ERR_NOT_FOUND: the mail is gone, or never counted this. */
static enum err check(struct track_case *it)
{
    struct shard *shard = it->shard;
    const struct track_ref *ref = &it->msg->body.track.ref;
    struct account_id account = id_account(ref->mail);
    it->now_unix_ms = clock_unix_ms();
    if (shard->free_bytes < shard->place->conf->reserve_mb * MIB) {
        shard_probe(shard);
        return ERR_STORAGE;
    }
    enum err err = shard_get_mail(shard, key_mail(account, ref->mail), &it->msg->arena, &it->mail);
    if (err != ERR_OK) {
        return err;
    }
    if (!(ref->kind == TRACK_OPEN ? it->mail.tracks_opens : it->mail.tracks_clicks)) {
        return ERR_NOT_FOUND;
    }
    CHECK(it->mail.direction == DIRECTION_OUTBOUND); /* no other mail tracks */
    it->is_single = mail_rcpt_count(&it->mail) == 1;
    if (it->is_single) {
        err = shard_get_delivery(shard, key_delivery(account, ref->mail, 0), &it->msg->arena,
                                 &it->delivery);
    }
    return err;
}

/* Nobody reads that fast. Where many got the mail, nobody knows who has asked. */
static bool is_too_early(const struct track_case *it)
{
    uint64_t bot_ms = it->shard->place->conf->track_bot_ms;
    if (!it->is_single || bot_ms == 0) {
        return false;
    }
    switch ((enum delivery_status)it->delivery.status) {
    case DELIVERY_DELIVERED:
        return it->now_unix_ms < it->delivery.updated_unix_ms + bot_ms;
    case DELIVERY_PENDING: /* its server is scanning it before it takes it */
    case DELIVERY_DEFERRED:
        return true;
    case DELIVERY_SCHEDULED:
    case DELIVERY_BOUNCED:
    case DELIVERY_FAILED:
    case DELIVERY_SUPPRESSED:
        break;
    }
    return false;
}

/* Several different links within the time in which nobody follows more than one. */
static bool is_burst(const struct track_case *it, const struct track_entry *entry, uint64_t what)
{
    uint64_t bot_ms = it->shard->place->conf->track_bot_ms;
    uint64_t others[SEEN_MAX];
    uint32_t count = 0;
    uint32_t known = (uint32_t)min_u64(entry->seen_count, SEEN_MAX);
    for (uint32_t i = 0; i < known; i++) {
        const struct seen *seen = &entry->seen[i];
        bool is_new =
            seen->is_click && seen->what != what && it->now_unix_ms < seen->unix_ms + bot_ms;
        for (uint32_t n = 0; is_new && n < count; n++) {
            is_new = others[n] != seen->what;
        }
        if (is_new) {
            others[count++] = seen->what;
        }
    }
    return count + 1 >= TRACK_BURST_LINKS;
}

static void judge(struct track_case *it, const struct track_entry *entry, uint64_t what)
{
    const struct shard_track *body = &it->msg->body.track;
    bool is_click = body->ref.kind == TRACK_CLICK;
    enum track_agent agent = track_agent_of(body->agent);
    it->is_proxy = agent == TRACK_AGENT_PROXY;
    it->is_bot = agent == TRACK_AGENT_BOT || body->is_head ||
                 (is_click && (is_too_early(it) || is_burst(it, entry, what)));
}

static bool is_again(const struct track_case *it, const struct track_entry *entry,
                     const struct seen *seen)
{
    uint32_t known = (uint32_t)min_u64(entry->seen_count, SEEN_MAX);
    for (uint32_t i = 0; i < known; i++) {
        const struct seen *before = &entry->seen[i];
        if (before->what == seen->what && before->is_bot == seen->is_bot &&
            it->now_unix_ms < before->unix_ms + TRACK_AGAIN_MS) {
            return true;
        }
    }
    return false;
}

static void put_pair(struct buf *pack, const char *name, struct slice value)
{
    buf_put_slice(pack, slice_str(name));
    buf_put_slice(pack, value);
}

static struct slice pack_data(struct track_case *it)
{
    const struct shard_track *body = &it->msg->body.track;
    struct buf pack;
    buf_init(&pack, TRACK_URL_MAX + TRACK_AGENT_MAX + KIB);
    if (body->ref.kind == TRACK_CLICK) {
        put_pair(&pack, "url", body->ref.url);
    }
    put_pair(&pack, "ip", body->ip);
    put_pair(&pack, "userAgent", slice_head(body->agent, TRACK_AGENT_MAX));
    put_pair(&pack, "bot", it->is_bot ? SLICE("yes") : SLICE("no"));
    if (it->is_proxy) {
        put_pair(&pack, "proxy", SLICE("yes"));
    }
    CHECK(!pack.is_over);
    struct slice data = arena_dup(&it->msg->arena, buf_slice(&pack));
    buf_fini(&pack);
    return data;
}

/* Of a person; the caller writes the mail. */
static void count(struct track_case *it)
{
    struct row_delivery *delivery = &it->delivery;
    bool is_click = it->msg->body.track.ref.kind == TRACK_CLICK;
    it->mail.opens += !is_click;
    it->mail.clicks += is_click;
    if (!it->is_single) {
        return;
    }
    if (is_click) {
        delivery->clicks++;
        delivery->clicked_unix_ms =
            delivery->clicked_unix_ms ? delivery->clicked_unix_ms : it->now_unix_ms;
    } else {
        delivery->opens++;
        delivery->opened_unix_ms =
            delivery->opened_unix_ms ? delivery->opened_unix_ms : it->now_unix_ms;
    }
    shard_put_delivery(it->shard, key_delivery(id_account(it->mail.id), it->mail.id, 0), delivery);
}

static enum err record(struct track_case *it, struct track_entry *entry)
{
    struct shard *shard = it->shard;
    const struct shard_track *body = &it->msg->body.track;
    bool is_click = body->ref.kind == TRACK_CLICK;
    struct seen seen = {
        .what = hash_of(is_click, body->ref.url, it->is_single ? SLICE("") : body->ip),
        .unix_ms = it->now_unix_ms,
        .is_click = is_click,
    };
    judge(it, entry, seen.what);
    seen.is_bot = it->is_bot;
    if (entry->stored >= TRACK_EVENTS_MAX || is_again(it, entry, &seen)) {
        return ERR_OK;
    }
    remember(entry, &seen);
    struct row_event event = {
        .type = is_click ? SLICE("email.clicked") : SLICE("email.opened"),
        .recipient = it->is_single ? it->delivery.recipient : SLICE(""),
        .data = pack_data(it),
    };
    shard_write_event(shard, it->mail.id, &event);
    if (!it->is_bot) {
        count(it);
        hook_tell(shard, &it->mail, &event);
        shard_put_mail(shard, key_mail(id_account(it->mail.id), it->mail.id), &it->mail);
    }
    LOG_DEBUG("mail.tracked", LOG_ID("message", ID_MESSAGE, it->mail.id),
              LOG_TEXT("type", event.type), LOG_BOOL("bot", it->is_bot));
    return ERR_OK;
}
