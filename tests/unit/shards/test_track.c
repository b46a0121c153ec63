/* test_track.c - opens and clicks as a shard keeps them: whose they are, what counts, and how many.
 *
 * Not covered here: what is rewritten (tests/unit/mail/test_track_html), the links themselves and
 * their answers (tests/flow/test_tracking).
 */
#include "unit/shards/shard_rig.h"

#define TIMEOUT 120
#define BROWSER "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0"
#define PROXY   "Mozilla/5.0 (via ggpht.com GoogleImageProxy)"

struct scene {
    struct rig *rig;
    struct account_id account;
    struct id mail;
    struct arena arena;
};

static void open_scene(struct scene *it, const char *to)
{
    *it = (struct scene){.rig = rig_open()};
    arena_init(&it->arena, 64 * KIB, 64 * MIB);
    it->account = rig_signup(it->rig);
    it->rig->conf.track_bot_ms = 0;
    (void)rig_domain(it->rig, it->account, "example.com"); /* found by its name */
    struct msg *msg = rig_mail(it->rig, it->account, "a@example.com", to);
    msg->body.send.html = SLICE("<p><a href=\"https://x.test/1\">x</a></p>");
    msg->body.send.tracks_opens = CHOICE_YES;
    msg->body.send.tracks_clicks = CHOICE_YES;
    cr_assert_eq(rig_call(it->rig, rig_shard(it->rig, it->account), msg), ERR_OK);
    it->mail = msg->body.send.id;
    rig_put(it->rig, msg);
}

static void close_scene(struct scene *it)
{
    arena_fini(&it->arena);
    rig_close(it->rig);
}

static struct msg *track_msg(struct scene *it, const char *url, const char *agent)
{
    struct msg *msg = rig_take(it->rig, MSG_SHARD_TRACK);
    msg->body.track.ref = (struct track_ref){
        .kind = url != NULL ? TRACK_CLICK : TRACK_OPEN,
        .mail = it->mail,
        .url = slice_str(url != NULL ? url : ""),
    };
    msg->body.track.agent = slice_str(agent);
    msg->body.track.ip = SLICE("192.0.2.1");
    return msg;
}

static enum err call(struct scene *it, struct msg *msg)
{
    enum err err = rig_call(it->rig, rig_shard(it->rig, it->account), msg);
    rig_put(it->rig, msg);
    return err;
}

static void track(struct scene *it, const char *url, const char *agent)
{
    cr_expect_eq(call(it, track_msg(it, url, agent)), ERR_OK);
}

static struct row_mail mail_of(struct scene *it)
{
    return rig_get_mail(it->rig, it->account, key_mail(it->account, it->mail), &it->arena);
}

static struct row_delivery delivery_of(struct scene *it)
{
    return rig_get_delivery(it->rig, it->account, key_delivery(it->account, it->mail, 0),
                            &it->arena);
}

static uint32_t events_of(struct scene *it)
{
    return rig_count(it->rig, it->account, key_prefix_events(it->account, it->mail));
}

/* The newest event. */
static struct row_event last_event(struct scene *it)
{
    struct key from = key_prefix_events(it->account, it->mail);
    struct key to = key_after(&from);
    struct slice key;
    struct slice value;
    struct row_event row;
    struct kv_iter *iter = kv_iter_open(it->rig->kv, place_shard_index(RIG_SHARDS, it->account),
                                        key_slice(&from), key_slice(&to), true);
    cr_assert(kv_iter_next(iter, &key, &value));
    cr_assert_eq(row_event_decode(arena_dup(&it->arena, value), &row), ERR_OK);
    kv_iter_close(iter);
    return row;
}

static bool has_pair(struct slice pack, const char *name, const char *value)
{
    struct slice item;
    struct slice found;
    while (get_slice(&pack, &item) && get_slice(&pack, &found)) {
        if (slice_equal(item, slice_str(name))) {
            return slice_equal(found, slice_str(value));
        }
    }
    return false;
}

Test(track, an_open_and_a_click_of_one_recipient_are_his, .timeout = TIMEOUT)
{
    struct scene it;
    open_scene(&it, "b@example.net");
    cr_assert_eq(events_of(&it), 1, "sent");
    track(&it, NULL, BROWSER);
    struct row_event event = last_event(&it);
    cr_expect(slice_equal(event.type, SLICE("email.opened")));
    cr_expect(slice_equal(event.recipient, SLICE("b@example.net")));
    cr_expect(has_pair(event.data, "ip", "192.0.2.1"));
    cr_expect(has_pair(event.data, "userAgent", BROWSER));
    cr_expect(has_pair(event.data, "bot", "no"));
    track(&it, "https://x.test/1", BROWSER);
    event = last_event(&it);
    cr_expect(slice_equal(event.type, SLICE("email.clicked")));
    cr_expect(has_pair(event.data, "url", "https://x.test/1"));
    struct row_delivery delivery = delivery_of(&it);
    cr_expect_eq(delivery.opens, 1);
    cr_expect_eq(delivery.clicks, 1);
    cr_expect_gt(delivery.opened_unix_ms, 0);
    cr_expect_gt(delivery.clicked_unix_ms, 0);
    cr_expect_eq(mail_of(&it).opens, 1);
    cr_expect_eq(mail_of(&it).clicks, 1);
    close_scene(&it);
}

Test(track, many_recipients_share_what_is_counted, .timeout = TIMEOUT)
{
    struct scene it;
    open_scene(&it, "b@example.net,c@example.net");
    track(&it, NULL, BROWSER);
    cr_expect_eq(last_event(&it).recipient.len, 0);
    cr_expect_eq(mail_of(&it).opens, 1);
    cr_expect_eq(delivery_of(&it).opens, 0);
    struct msg *other = track_msg(&it, NULL, BROWSER);
    other->body.track.ip = SLICE("192.0.2.2");
    cr_expect_eq(call(&it, other), ERR_OK);
    cr_expect_eq(mail_of(&it).opens, 2, "another reader");
    close_scene(&it);
}

Test(track, the_same_again_is_the_same_also_after_a_restart, .timeout = TIMEOUT)
{
    struct scene it;
    open_scene(&it, "b@example.net");
    track(&it, NULL, BROWSER);
    track(&it, NULL, BROWSER);
    track(&it, "https://x.test/1", BROWSER);
    track(&it, "https://x.test/1", BROWSER);
    cr_expect_eq(events_of(&it), 3);
    rig_restart(it.rig);
    track(&it, NULL, BROWSER);
    track(&it, "https://x.test/1", BROWSER);
    cr_expect_eq(events_of(&it), 3);
    track(&it, "https://x.test/2", BROWSER);
    cr_expect_eq(events_of(&it), 4);
    cr_expect_eq(mail_of(&it).opens, 1);
    cr_expect_eq(mail_of(&it).clicks, 2);
    close_scene(&it);
}

Test(track, programs_are_written_down_but_do_not_count, .timeout = TIMEOUT)
{
    struct scene it;
    open_scene(&it, "b@example.net");
    track(&it, NULL, "curl/7.88.1");
    cr_expect(has_pair(last_event(&it).data, "bot", "yes"));
    struct msg *head = track_msg(&it, "https://x.test/1", BROWSER);
    head->body.track.is_head = true;
    cr_expect_eq(call(&it, head), ERR_OK);
    cr_expect(has_pair(last_event(&it).data, "bot", "yes"));
    cr_expect_eq(mail_of(&it).opens, 0);
    cr_expect_eq(mail_of(&it).clicks, 0);
    track(&it, NULL, PROXY);
    cr_expect(has_pair(last_event(&it).data, "proxy", "yes"));
    cr_expect(has_pair(last_event(&it).data, "bot", "no"));
    cr_expect_eq(mail_of(&it).opens, 1, "a proxy shows it to somebody");
    close_scene(&it);
}

Test(track, who_is_faster_than_reading_is_a_program, .timeout = TIMEOUT)
{
    struct scene it;
    open_scene(&it, "b@example.net");
    it.rig->conf.track_bot_ms = 600000;
    track(&it, "https://x.test/1", BROWSER);
    cr_expect(has_pair(last_event(&it).data, "bot", "yes"), "it is not even delivered");
    struct outbox_entry entry = *rig_entry(it.rig, it.mail, 0);
    struct verdict verdict = rig_verdict(VERDICT_DELIVERED, 250, "2.0.0");
    cr_assert_eq(rig_claim(it.rig, &entry), ERR_OK);
    cr_assert_eq(rig_outcome(it.rig, &entry, &verdict, 1, 0), ERR_OK);
    track(&it, "https://x.test/2", BROWSER);
    cr_expect(has_pair(last_event(&it).data, "bot", "yes"), "just delivered");
    track(&it, NULL, BROWSER);
    cr_expect(has_pair(last_event(&it).data, "bot", "no"), "who looks at once may be a person");
    it.rig->conf.track_bot_ms = 1;
    struct msg *late = track_msg(&it, "https://x.test/3", BROWSER);
    struct row_delivery delivery = delivery_of(&it);
    delivery.updated_unix_ms -= 1000;
    rig_set_delivery(it.rig, it.account, key_delivery(it.account, it.mail, 0), &delivery);
    cr_expect_eq(call(&it, late), ERR_OK);
    cr_expect(has_pair(last_event(&it).data, "bot", "no"));
    cr_expect_eq(mail_of(&it).clicks, 1);
    close_scene(&it);
}

Test(track, several_links_at_once_are_a_program, .timeout = TIMEOUT)
{
    struct scene it;
    open_scene(&it, "b@example.net,c@example.net");
    it.rig->conf.track_bot_ms = 600000;
    track(&it, "https://x.test/1", BROWSER);
    track(&it, "https://x.test/2", BROWSER);
    cr_expect(has_pair(last_event(&it).data, "bot", "no"));
    track(&it, "https://x.test/3", BROWSER);
    cr_expect(has_pair(last_event(&it).data, "bot", "yes"));
    cr_expect_eq(mail_of(&it).clicks, 2);
    close_scene(&it);
}

Test(track, a_mail_keeps_so_many_events_and_no_more, .timeout = TIMEOUT)
{
    struct scene it;
    char url[64];
    open_scene(&it, "b@example.net");
    for (uint32_t i = 0; i < TRACK_EVENTS_MAX + 5; i++) {
        snprintf(url, sizeof(url), "https://x.test/%u", i);
        track(&it, url, BROWSER);
        if (i == 500) {
            rig_restart(it.rig); /* they are counted anew */
        }
    }
    cr_expect_eq(events_of(&it), 1 + TRACK_EVENTS_MAX);
    cr_expect_eq(mail_of(&it).clicks, TRACK_EVENTS_MAX);
    close_scene(&it);
}

Test(track, what_was_not_asked_for_is_not_counted, .timeout = TIMEOUT)
{
    struct scene it;
    open_scene(&it, "b@example.net");
    struct row_mail mail = mail_of(&it);
    mail.tracks_opens = false;
    rig_set_mail(it.rig, it.account, key_mail(it.account, it.mail), &mail);
    cr_expect_eq(call(&it, track_msg(&it, NULL, BROWSER)), ERR_NOT_FOUND);
    cr_expect_eq(events_of(&it), 1);
    it.mail = shard_id(rig_state(it.rig, it.account), it.account);
    cr_expect_eq(call(&it, track_msg(&it, NULL, BROWSER)), ERR_NOT_FOUND, "a mail that is gone");
    close_scene(&it);
}

Test(track, a_domain_says_what_its_mails_do_unless_they_say_otherwise, .timeout = TIMEOUT)
{
    struct rig *rig = rig_open();
    struct arena arena;
    struct account_id account = rig_signup(rig);
    struct id domain = rig_domain(rig, account, "example.com");
    static const struct {
        enum choice choice;
        bool want;
    } cases[] = {{CHOICE_DEFAULT, true}, {CHOICE_NO, false}, {CHOICE_YES, true}};
    arena_init(&arena, 64 * KIB, MIB);
    struct msg *change = rig_take(rig, MSG_SHARD_DOMAIN);
    change->body.domain = (struct shard_domain){
        .caller = rig_key_caller(account, RIGHT_DOMAINS_WRITE),
        .op = DOMAIN_CHANGE,
        .id = domain,
        .given = DOMAIN_FIELD_TRACK_OPENS | DOMAIN_FIELD_TRACK_HOST,
        .tracks_opens = true,
        .track_host = SLICE("link.example.com"),
    };
    cr_assert_eq(rig_call(rig, rig_shard(rig, account), change), ERR_OK);
    cr_expect(slice_equal(change->body.domain.rows[0].track_host, SLICE("link.example.com")));
    cr_expect_not(change->body.domain.rows[0].track_verified);
    rig_put(rig, change);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct msg *msg = rig_mail(rig, account, "a@example.com", "b@example.net");
        msg->body.send.html = SLICE("<p>x</p>");
        msg->body.send.tracks_opens = cases[i].choice;
        cr_assert_eq(rig_call(rig, rig_shard(rig, account), msg), ERR_OK);
        struct row_mail row =
            rig_get_mail(rig, account, key_mail(account, msg->body.send.id), &arena);
        cr_expect_eq(row.tracks_opens, cases[i].want);
        cr_expect_not(row.tracks_clicks);
        rig_put(rig, msg);
    }
    struct msg *plain = rig_mail(rig, account, "a@example.com", "b@example.net");
    cr_assert_eq(rig_call(rig, rig_shard(rig, account), plain), ERR_OK);
    struct row_mail row =
        rig_get_mail(rig, account, key_mail(account, plain->body.send.id), &arena);
    cr_expect_not(row.tracks_opens, "there is no html to count with");
    rig_put(rig, plain);
    arena_fini(&arena);
    rig_close(rig);
}
