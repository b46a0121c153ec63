/* test_track_link.c - tokens of opens and clicks, and who uses them.
 *
 * Not covered here: the answers to them (tests/flow/test_tracking).
 */
#include <criterion/criterion.h>

#include "mail/track_agent.h"
#include "mail/track_link.h"

#include <string.h>

static const struct seal_key key = {.bytes = {1, 2, 3}};

static struct track_ref ref_of(enum track_kind kind, const char *url)
{
    struct track_ref ref = {.kind = kind, .url = slice_str(url)};
    cr_assert_eq(id_parse(ID_MESSAGE, SLICE("msg_0351SnKUtAHLNikrnJ5rvs"), &ref.mail), ERR_OK);
    return ref;
}

static struct slice token_of(struct slice link)
{
    return slice_from(link, slice_rfind_byte(link, '/') + 1);
}

Test(track_link, a_token_tells_mail_and_address, .timeout = 10)
{
    struct arena arena;
    crypto_init();
    arena_init(&arena, 4096, 65536);
    struct track_ref click = ref_of(TRACK_CLICK, "https://example.com/a?b=c&d=1#e");
    struct slice link = track_link(&key, &click, SLICE("https://m.example"), &arena);
    cr_expect(slice_starts(link, SLICE("https://m.example/t/c/")));
    struct track_ref read = {.kind = TRACK_CLICK};
    cr_assert(track_token_read(&key, token_of(link), &arena, &read));
    cr_expect(id_equal(read.mail, click.mail));
    cr_expect(slice_equal(read.url, click.url));
    struct track_ref open = ref_of(TRACK_OPEN, "");
    link = track_link(&key, &open, SLICE("https://m.example"), &arena);
    cr_expect(slice_starts(link, SLICE("https://m.example/t/o/")));
    read = (struct track_ref){.kind = TRACK_OPEN};
    cr_assert(track_token_read(&key, token_of(link), &arena, &read));
    cr_expect(id_equal(read.mail, open.mail));
    arena_fini(&arena);
}

static void expect_refused(struct slice token, enum track_kind kind, const struct seal_key *with,
                           const char *why)
{
    struct arena arena;
    struct track_ref read = {.kind = kind};
    arena_init(&arena, 4096, 65536);
    cr_expect_not(track_token_read(with, token, &arena, &read), "%s", why);
    cr_expect(id_is_none(read.mail), "%s", why);
    arena_fini(&arena);
}

Test(track_link, no_other_address_has_that_token, .timeout = 10)
{
    struct arena arena;
    struct seal_key other = {.bytes = {9}};
    crypto_init();
    arena_init(&arena, 4096, 65536);
    struct track_ref click = ref_of(TRACK_CLICK, "https://example.com/");
    struct slice token = token_of(track_link(&key, &click, SLICE(""), &arena));
    size_t len = 0;
    uint8_t *bytes = arena_alloc(&arena, token.len);
    cr_assert_eq(base64url_decode(token, bytes, &len), ERR_OK);
    for (size_t i = 0; i < len; i++) {
        bytes[i] ^= 1;
        expect_refused(base64url_arena(&arena, slice_of(bytes, len)), TRACK_CLICK, &key, "a bit");
        bytes[i] ^= 1;
    }
    for (size_t cut = 0; cut < token.len; cut++) {
        expect_refused(slice_head(token, cut), TRACK_CLICK, &key, "cut");
    }
    bytes[len] = '/';
    expect_refused(base64url_arena(&arena, slice_of(bytes, len + 1)), TRACK_CLICK, &key, "longer");
    expect_refused(token, TRACK_CLICK, &other, "another server's");
    expect_refused(token, TRACK_OPEN, &key, "of the other kind");
    struct track_ref open = ref_of(TRACK_OPEN, "");
    expect_refused(token_of(track_link(&key, &open, SLICE(""), &arena)), TRACK_CLICK, &key,
                   "an open's, which leads nowhere");
    char *big = arena_bytes(&arena, 2 * TRACK_URL_MAX);
    memset(big, 'A', 2 * TRACK_URL_MAX);
    expect_refused(slice_of(big, 2 * TRACK_URL_MAX), TRACK_CLICK, &key, "too long");
    expect_refused(SLICE("!!!!"), TRACK_CLICK, &key, "no base64");
    arena_fini(&arena);
}

Test(track_agent, tells_people_proxies_and_programs_apart, .timeout = 10)
{
    static const struct {
        const char *text;
        enum track_agent is;
    } cases[] = {
        {"", TRACK_AGENT_BOT},
        {"Mozilla/5.0", TRACK_AGENT_BOT},
        {"Mozilla/5.0 (Windows NT 5.1; rv:11.0) Gecko Firefox/11.0 (via ggpht.com "
         "GoogleImageProxy)",
         TRACK_AGENT_PROXY},
        {"YahooMailProxy; https://help.yahoo.com/kb/yahoo-mail-proxy-SLN28749.html",
         TRACK_AGENT_PROXY},
        {"Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)",
         TRACK_AGENT_BOT},
        {"Slackbot-LinkExpanding 1.0 (+https://api.slack.com/robots)", TRACK_AGENT_BOT},
        {"TelegramBot (like TwitterBot)", TRACK_AGENT_BOT},
        {"curl/7.88.1", TRACK_AGENT_BOT},
        {"python-requests/2.31", TRACK_AGENT_BOT},
        {"BARRACUDA SENTINEL", TRACK_AGENT_BOT},
        {"Mozilla/5.0 (Linux; Android 9; CUBOT_X19) AppleWebKit/537.36 Chrome/99 Mobile Safari",
         TRACK_AGENT_PERSON},
        {"Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0",
         TRACK_AGENT_PERSON},
        {"Microsoft Office/16.0 (Windows NT 10.0; Microsoft Outlook 16.0.5095; Pro)",
         TRACK_AGENT_PERSON},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        cr_expect_eq(track_agent_of(slice_str(cases[i].text)), cases[i].is, "%s", cases[i].text);
    }
}
