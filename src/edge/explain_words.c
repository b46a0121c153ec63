/* explain_words.c - see explain_words.h.
 *
 *   delivery is over?  how it ended
 *   its row is gone?   damage
 *   a try is under way: where it stands
 *   scheduled, account suspended, paused by the operator, site closed, addresses used up:
 *       what keeps it, in this order, because each hides those behind it
 *   in memory:         waits for its next try, for a look-up, for its turn
 *   not in memory:     why, and when it will be
 */
#include "edge/explain_words.h"

#include "base/check.h"
#include "base/clock.h"
#include "base/limits.h"
#include "mail/bounce_rules.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define SECOND_MS   UINT64_C(1000)
#define MINUTE_MS   (60 * SECOND_MS)
#define HOUR_MS     (60 * MINUTE_MS)
#define DAY_MS      (24 * HOUR_MS)
#define QUOTED_MAX  240     /* of what a server said */
#define LOOKS_AHEAD HOUR_MS /* shards tell delivery of what is due within */

static const struct explain_class classes[BOUNCE_CLASS_COUNT] = {
    [BOUNCE_NONE] = {"", ""},
    [BOUNCE_HARD] = {"there is no such address",
                     "correct the address; it gets no more mail until its suppression is removed"},
    [BOUNCE_MAILBOX_FULL] = {"the mailbox is full", "the recipient has to make room; send later"},
    [BOUNCE_INACTIVE] = {"the mailbox is no longer in use", "take the address out of your lists"},
    [BOUNCE_SOFT] = {"the server had a passing trouble", "send it again"},
    [BOUNCE_BLOCK] = {"the server refuses our address or domain, mostly by a blocklist",
                      "look the sending address up in the list that the answer names and ask for "
                      "removal, or move the site: meerkatctl queue move"},
    [BOUNCE_POLICY] = {"the server's rules refuse the mail, mostly for want of SPF, DKIM or DMARC",
                       "check the sender's domain: its health names what is missing"},
    [BOUNCE_RATE] = {"the server takes no more from us for now",
                     "it is tried more slowly by itself"},
    [BOUNCE_GREYLIST] = {"the server turns first tries away on purpose (greylisting)",
                         "nothing: the next try passes"},
    [BOUNCE_TLS] = {"the connection could not be secured as it has to be",
                    "compare the host's certificate with its TLSA records or MTA-STS policy; or "
                    "set tls of the domain in the site policy"},
    [BOUNCE_SIZE] = {"the mail is larger than the server takes", "send a smaller one"},
    [BOUNCE_SPAM_CONTENT] = {"the content was taken for spam", "change the content"},
    [BOUNCE_DNS] = {"the DNS of the recipient's domain, or of ours, is at fault",
                    "look the domain's MX records up, and those of the sender's domain"},
    [BOUNCE_RELAY] = {"the server takes no mail for that domain",
                      "the MX records of the recipient's domain lead to the wrong host"},
    [BOUNCE_AUTH] = {"the server wants us to log in, or did not accept our password",
                     "check smarthost_user and its password file"},
    [BOUNCE_PROTOCOL] = {"the server did not understand us", "show its transcript to its owner"},
    [BOUNCE_OTHER] = {"no rule knows this answer", "read what the server said"},
};

const struct explain_class *explain_class(enum bounce_class class)
{
    CHECK(class < BOUNCE_CLASS_COUNT);
    return &classes[class];
}

/* ---- times and texts ------------------------------------------------------------------------ */

static const char *say(struct arena *arena, const char *fmt, ...) PRINTF_LIKE(2, 3);

static const char *say(struct arena *arena, const char *fmt, ...)
{
    va_list args;
    va_list again;
    va_start(args, fmt);
    va_copy(again, args);
    int len = vsnprintf(NULL, 0, fmt, again);
    va_end(again);
    CHECK(len >= 0);
    char *text = arena_bytes(arena, (size_t)len + 1);
    (void)vsnprintf(text, (size_t)len + 1, fmt, args); /* as long as just measured */
    va_end(args);
    return text;
}

static const char *distance(uint64_t ms, struct arena *arena)
{
    if (ms < 2 * MINUTE_MS) {
        return say(arena, "%llu s", (unsigned long long)((ms + SECOND_MS - 1) / SECOND_MS));
    }
    if (ms < 2 * HOUR_MS) {
        return say(arena, "%llu m", (unsigned long long)(ms / MINUTE_MS));
    }
    if (ms < 2 * DAY_MS) {
        return say(arena, "%llu h", (unsigned long long)(ms / HOUR_MS));
    }
    return say(arena, "%llu d", (unsigned long long)(ms / DAY_MS));
}

const char *explain_time(uint64_t unix_ms, uint64_t now_unix_ms, struct arena *arena)
{
    if (unix_ms + SECOND_MS > now_unix_ms && unix_ms <= now_unix_ms) {
        return "just now";
    }
    if (unix_ms < now_unix_ms) {
        return say(arena, "%s ago", distance(now_unix_ms - unix_ms, arena));
    }
    return say(arena, "in %s", distance(unix_ms - now_unix_ms, arena));
}

static const char *when(const struct explain_case *facts, uint64_t unix_ms, struct arena *arena)
{
    return explain_time(unix_ms, facts->now_unix_ms, arena);
}

/* Others' words on one line, without what a terminal would obey. */
static const char *quoted(struct slice text, struct arena *arena)
{
    size_t len = min_size(text.len, QUOTED_MAX);
    while (len > 0 && len < text.len && ((unsigned char)text.data[len] & 0xc0) == 0x80) {
        len -= 1; /* no half character at the cut */
    }
    text = slice_trim(slice_head(text, len));
    char *out = arena_bytes(arena, text.len + 1);
    for (size_t i = 0; i < text.len; i++) {
        unsigned char byte = (unsigned char)text.data[i];
        unsigned char next = i + 1 < text.len ? (unsigned char)text.data[i + 1] : 0;
        bool is_c1 = byte == 0xc2 && (next & 0xe0) == 0x80; /* U+0080 to U+009F */
        out[i] = byte < 0x20 || byte == 0x7f || is_c1 ? ' ' : text.data[i];
        if (is_c1) {
            out[++i] = ' ';
        }
    }
    out[text.len] = '\0';
    return out;
}

/* As one word of a command, for a shell: names of sites have bars in them, and those of hosts are
 * what their owners made them. */
static const char *word(struct slice text, struct arena *arena)
{
    const char *plain = quoted(text, arena);
    size_t safe = strspn(plain, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
                                "-_.,:@/+");
    if (plain[safe] == '\0' && plain[0] != '\0' && plain[0] != '-') {
        return plain;
    }
    char *out = arena_bytes(arena, 4 * strlen(plain) + 3);
    size_t len = 0;
    out[len++] = '\'';
    for (const char *at = plain; *at != '\0'; at++) {
        if (*at == '\'') {
            memcpy(out + len, "'\\'", 3);
            len += 3;
        }
        out[len++] = *at;
    }
    out[len++] = '\'';
    out[len] = '\0';
    return out;
}

static bool is_hook(const struct explain_case *facts)
{
    return facts->delivery->row.kind == DELIVERY_WEBHOOK;
}

static const char *whom(const struct explain_case *facts, struct arena *arena)
{
    const struct delivery_facts *delivery = facts->delivery;
    if (is_hook(facts)) {
        struct slice url = delivery->row.url;
        size_t query = slice_find_byte(url, '?'); /* may hold a secret of its owner's */
        return say(arena, "the webhook %s", quoted(slice_head(url, query), arena));
    }
    struct slice host = delivery->has_last ? delivery->last.remote_host : SLICE("");
    return host.len > 0 ? quoted(host, arena) : "the mail host";
}

/* "mx.example answered 451 4.3.0 "try later" 3 m ago", or our own words of the last try. */
static const char *last_answer(const struct explain_case *facts, struct arena *arena)
{
    const struct delivery_facts *delivery = facts->delivery;
    const struct row_attempt *last = &delivery->last;
    if (!delivery->has_last) {
        return "";
    }
    const char *ago = when(facts, last->ended_unix_ms, arena);
    const char *text = quoted(last->response, arena);
    unsigned number = (unsigned)delivery->last_number;
    if (last->outcome == ATTEMPT_UNCERTAIN) {
        return say(arena,
                   "Try %u was cut off when the server stopped: nobody knows whether the "
                   "mail arrived, so it may arrive twice.",
                   number);
    }
    if (last->code == 0) {
        return say(arena, "Try %u failed %s (%s): %s.", number, ago,
                   smtp_step_name((enum smtp_step)last->step), text);
    }
    return say(arena, "Try %u, %s: %s answered %u%s%s%s%s%s.", number, ago, whom(facts, arena),
               (unsigned)last->code, last->enhanced.len > 0 ? " " : "",
               quoted(last->enhanced, arena), text[0] != '\0' ? " \"" : "", text,
               text[0] != '\0' ? "\"" : "");
}

static const struct explain_class *last_class(const struct explain_case *facts)
{
    const struct delivery_facts *delivery = facts->delivery;
    struct slice word = delivery->row.bounce_class;
    if (word.len == 0 && delivery->has_last) {
        word = delivery->last.bounce_class;
    }
    return explain_class(bounce_class_of(word));
}

/* " That means: ..." */
static const char *meaning(const struct explain_case *facts, struct arena *arena)
{
    const struct explain_class *class = last_class(facts);
    return class->meaning[0] == '\0' ? "" : say(arena, " That means: %s.", class->meaning);
}

static const char *account_words(const struct explain_case *facts, struct arena *arena)
{
    char text[ID_TEXT_MAX];
    (void)account_text(id_account(facts->mail->id), text); /* terminated */
    return arena_cstr(arena, slice_str(text));
}

static const char *plural(uint64_t count)
{
    return count == 1 ? "" : "s";
}

/* ---- what is over --------------------------------------------------------------------------- */

static void say_delivered(const struct explain_case *facts, struct arena *arena,
                          struct explanation *out)
{
    const struct row_mail *mail = facts->mail;
    const char *ago = when(facts, facts->delivery->row.updated_unix_ms, arena);
    bool is_rehearsed = !is_hook(facts) && (mail->mode == MODE_TEST || mail->is_sandbox);
    out->state = is_rehearsed ? "rehearsed" : "delivered";
    if (is_rehearsed) {
        out->text =
            say(arena,
                "It was rehearsed %s: %s, so no mail server was asked and "
                "nothing left.",
                ago, mail->mode == MODE_TEST ? "a test key sent it" : "it was sent with `sandbox`");
        out->advice = "send it with a live key and without `sandbox` to have it delivered";
        return;
    }
    out->text = say(arena, "%s took it %s.%s", whom(facts, arena), ago,
                    facts->delivery->row.has_complained ? " The recipient has since called "
                                                          "it spam."
                                                        : "");
}

static void say_bounced(const struct explain_case *facts, struct arena *arena,
                        struct explanation *out)
{
    out->state = "bounced";
    out->needs_action = true;
    out->text = say(arena, "It was refused for good. %s%s", last_answer(facts, arena),
                    meaning(facts, arena));
    out->advice = last_class(facts)->advice;
}

static const char *retry_command(const struct explain_case *facts, struct arena *arena)
{
    char text[ID_TEXT_MAX];
    (void)id_text(ID_DELIVERY, facts->delivery->row.id, text); /* terminated */
    return say(arena, "meerkatctl retry %s", text);
}

static void say_failed(const struct explain_case *facts, struct arena *arena,
                       struct explanation *out)
{
    const struct row_delivery *row = &facts->delivery->row;
    out->needs_action = true;
    if (facts->mail->status == MAIL_CANCELLED && !is_hook(facts)) {
        out->state = "cancelled";
        out->text = "It was cancelled before it was sent.";
        out->advice = "send it again if that was a mistake";
        return;
    }
    out->state = "given-up";
    out->text =
        say(arena, "It was given up after %u tr%s%s%s. %s%s", (unsigned)row->attempts,
            row->attempts == 1 ? "y" : "ies", row->last_response.len > 0 ? ": " : "",
            quoted(row->last_response, arena), last_answer(facts, arena), meaning(facts, arena));
    out->advice = say(arena, "mend what it says, then: %s", retry_command(facts, arena));
}

static void say_suppressed(const struct explain_case *facts, struct arena *arena,
                           struct explanation *out)
{
    const struct delivery_facts *delivery = facts->delivery;
    out->state = "suppressed";
    out->needs_action = true;
    if (!delivery->has_suppression) {
        out->text = "The address was on the account's suppression list when the mail was "
                    "due; it is not any more.";
        out->advice = "send it again";
        return;
    }
    const struct row_suppression *row = &delivery->suppression;
    uint8_t reason = row->reason < SUPPRESSION_REASON_COUNT ? row->reason : SUPPRESSION_MANUAL;
    out->since_unix_ms = row->created_unix_ms;
    out->text = say(arena, "The account sends no mail to this address since %s (%s)%s%s.",
                    when(facts, row->created_unix_ms, arena),
                    suppression_reason_text((enum suppression_reason)reason),
                    row->note.len > 0 ? ": " : "", quoted(row->note, arena));
    out->advice = say(arena,
                      "if the address is good again: DELETE "
                      "/api/contacts/suppressions/%s, then send it again",
                      quoted(row->email, arena));
}

static bool say_end(const struct explain_case *facts, struct arena *arena, struct explanation *out)
{
    out->is_done = true;
    out->since_unix_ms = facts->delivery->row.updated_unix_ms;
    switch ((enum delivery_status)facts->delivery->row.status) {
    case DELIVERY_DELIVERED:
        say_delivered(facts, arena, out);
        return true;
    case DELIVERY_BOUNCED:
        say_bounced(facts, arena, out);
        return true;
    case DELIVERY_FAILED:
        say_failed(facts, arena, out);
        return true;
    case DELIVERY_SUPPRESSED:
        say_suppressed(facts, arena, out);
        return true;
    case DELIVERY_PENDING:
    case DELIVERY_SCHEDULED:
    case DELIVERY_DEFERRED:
        break;
    }
    out->is_done = false;
    out->since_unix_ms = 0;
    return false;
}

/* ---- a try that is under way ---------------------------------------------------------------- */

static const char *step_words(const struct explain_entry *entry, struct arena *arena)
{
    switch (entry->step) {
    case EXPLAIN_STEP_CLAIM:
        return "its account's shard is asked for it; when that takes long, the shard or the "
               "disk is slow (meerkatctl top, meerkatctl shards)";
    case EXPLAIN_STEP_CONN:
        return say(arena, "all %u connections that %s takes are in use; it has the next",
                   (unsigned)entry->site.limit, quoted(entry->site.name, arena));
    case EXPLAIN_STEP_ROUTE:
        return "the hosts of the domain are being looked up";
    case EXPLAIN_STEP_CONNECT:
    case EXPLAIN_STEP_SEND:
        break;
    case EXPLAIN_STEP_OUTCOME:
        return "it has its answer, which is being written down; when that takes long, the "
               "shard or the disk is slow (meerkatctl top, meerkatctl shards)";
    }
    if (entry->host.len == 0) {
        return entry->step == EXPLAIN_STEP_SEND ? "the endpoint has it and has not answered"
                                                : "a connection is about to be opened";
    }
    return say(arena, "%s [%s] has to answer (%s)", quoted(entry->host, arena),
               quoted(entry->addr, arena), quoted(entry->smtp_step, arena));
}

static void say_tried(const struct explain_case *facts, struct arena *arena,
                      struct explanation *out)
{
    const struct explain_entry *entry = facts->entry;
    out->state = "trying";
    out->since_unix_ms = entry->since_unix_ms;
    out->text = say(arena, "It is being tried, for %s now: %s.",
                    distance(facts->now_unix_ms > entry->since_unix_ms
                                 ? facts->now_unix_ms - entry->since_unix_ms
                                 : 0,
                             arena),
                    step_words(entry, arena));
}

/* ---- what keeps it back --------------------------------------------------------------------- */

static void say_lost(const struct explain_case *facts, struct arena *arena, struct explanation *out)
{
    (void)facts;
    out->state = "lost";
    out->needs_action = true;
    out->text = "The delivery is open, but the outbox row that would have it tried is "
                "missing: the store is damaged here.";
    out->advice = "meerkatctl verify";
    (void)arena;
}

static void say_scheduled(const struct explain_case *facts, struct arena *arena,
                          struct explanation *out)
{
    uint64_t due_unix_ms = facts->delivery->row.next_attempt_unix_ms;
    out->state = "scheduled";
    out->next_unix_ms = due_unix_ms;
    out->text =
        say(arena, "Its sender wants it sent %s, not before.", when(facts, due_unix_ms, arena));
}

static void say_suspended(const struct explain_case *facts, struct arena *arena,
                          struct explanation *out)
{
    const char *account = account_words(facts, arena);
    out->state = "suspended";
    out->needs_action = true;
    out->text = say(arena,
                    "Its account %s is suspended: what it has queued waits. Resumed, it "
                    "goes on within ten minutes.",
                    account);
    out->advice = say(arena, "meerkatctl accounts resume %s", account);
}

/* "--site X --account Y", as the hold was made. */
static const char *hold_options(const struct queue_hold *hold, struct arena *arena)
{
    char text[ID_TEXT_MAX] = "";
    if (hold->account.value != 0) {
        (void)account_text(hold->account, text); /* terminated */
    }
    if (hold->account.value == 0 && hold->site.len == 0) {
        return " --all";
    }
    return say(arena, "%s%s%s%s", hold->site.len > 0 ? " --site " : "",
               hold->site.len > 0 ? word(hold->site, arena) : "",
               text[0] != '\0' ? " --account " : "", text);
}

static void say_paused(const struct explain_case *facts, struct arena *arena,
                       struct explanation *out)
{
    const struct queue_hold *hold = &facts->entry->hold;
    const char *site = quoted(hold->site, arena);
    bool is_all = hold->account.value == 0 && hold->site.len == 0;
    const char *what = is_all                     ? "All mail of this server"
                       : hold->account.value == 0 ? say(arena, "Its site %s", site)
                       : hold->site.len == 0      ? "All mail of its account"
                                                  : say(arena, "Its account's mail to %s", site);
    const char *by = hold->by.len > 0 ? quoted(hold->by, arena) : "the operator";
    const char *reason =
        hold->reason.len > 0 ? say(arena, " (\"%s\")", quoted(hold->reason, arena)) : "";
    out->state = "paused";
    out->needs_action = hold->until_unix_ms == 0;
    out->since_unix_ms = hold->since_unix_ms;
    out->next_unix_ms = hold->until_unix_ms;
    out->text = say(arena, "%s was paused by %s %s%s.", what, by,
                    when(facts, hold->since_unix_ms, arena), reason);
    if (hold->until_unix_ms != 0) {
        out->text =
            say(arena, "%s The pause ends %s.", out->text, when(facts, hold->until_unix_ms, arena));
    }
    out->advice = say(arena, "meerkatctl queue resume%s", hold_options(hold, arena));
}

static const char *retry_site(const struct explain_case *facts, struct arena *arena)
{
    return say(arena, "meerkatctl queue retry --site %s", word(facts->entry->site.name, arena));
}

static void say_closed(const struct explain_case *facts, struct arena *arena,
                       struct explanation *out)
{
    const struct queue_site *site = &facts->entry->site;
    out->state = "site-closed";
    out->since_unix_ms = site->failed_unix_ms;
    out->next_unix_ms = max_u64(site->closed_until_unix_ms, facts->entry->ready_unix_ms);
    out->text = say(
        arena,
        "Its site %s is left alone for another %s: %u failure%s in a row, the last %s (%s). Then "
        "one mail is tried, and when it gets through the others follow.",
        quoted(site->name, arena), distance(site->closed_until_unix_ms - facts->now_unix_ms, arena),
        (unsigned)site->failures, plural(site->failures), when(facts, site->failed_unix_ms, arena),
        quoted(site->reason, arena));
    out->advice = say(arena, "once the host works again: %s", retry_site(facts, arena));
}

static void say_used_up(const struct explain_case *facts, struct arena *arena,
                        struct explanation *out)
{
    const struct explain_entry *entry = facts->entry;
    struct slice pool = entry->site.pool.len > 0 ? entry->site.pool : SLICE("default");
    out->state = "addresses-used-up";
    out->next_unix_ms = (uint64_t)(clock_day_of(facts->now_unix_ms) + 1) * DAY_MS;
    out->text =
        say(arena,
            "%s of the sending pool %s %s warming up and may send no more to %s today. It goes on "
            "%s (midnight UTC).",
            entry->source_count == 1 ? "The address" : "All addresses", quoted(pool, arena),
            entry->source_count == 1 ? "is" : "are", quoted(entry->site.group, arena),
            when(facts, out->next_unix_ms, arena));
    out->advice =
        say(arena, "or send it from another pool: meerkatctl queue move --site %s --pool POOL",
            word(entry->site.name, arena));
}

/* ---- what only waits ------------------------------------------------------------------------ */

static void say_put_off(const struct explain_case *facts, struct arena *arena,
                        struct explanation *out)
{
    const struct explain_entry *entry = facts->entry;
    const struct delivery_facts *delivery = facts->delivery;
    bool is_later = entry->where == EXPLAIN_ABSENT;
    uint64_t next_unix_ms = is_later ? entry->due_unix_ms : entry->ready_unix_ms;
    out->state = "waiting";
    out->next_unix_ms = next_unix_ms;
    out->since_unix_ms = delivery->has_last ? delivery->last.ended_unix_ms : 0;
    out->text =
        say(arena, "%s%s%sIt is tried %s%s%s.", last_answer(facts, arena), meaning(facts, arena),
            delivery->has_last ? " " : "", delivery->row.attempts > 0 ? "again " : "",
            when(facts, next_unix_ms, arena), entry->is_hastened ? ", as the operator wished" : "");
    if (is_hook(facts)) {
        out->advice = say(arena, "mend the endpoint, then: %s", retry_command(facts, arena));
    } else if (delivery->has_last && delivery->last.step == SMTP_STEP_RESOLVE) {
        out->advice = say(arena, "look it up: dig MX %s; then: %s", word(entry->domain, arena),
                          retry_command(facts, arena));
    } else {
        out->advice = say(arena, "to have it tried now: %s", retry_command(facts, arena));
    }
}

static void say_looked_up(const struct explain_case *facts, struct arena *arena,
                          struct explanation *out)
{
    out->state = "looking-up";
    out->text = say(arena,
                    "It is due, and who takes mail for %s is being looked up in the "
                    "DNS.",
                    quoted(facts->entry->domain, arena));
    out->advice = "if it stays so, check the servers of dns_servers";
}

/* What the line waits for, and the state's word. */
static const char *line_words(const struct explain_case *facts, struct arena *arena,
                              const char **state)
{
    const struct explain_entry *entry = facts->entry;
    const struct queue_site *site = &entry->site;
    *state = "in-line";
    if (entry->is_behind_account) {
        *state = "account-turn";
        return "its account has as many tries under way as is fair to the others";
    }
    if (facts->schedule->is_crowded) {
        *state = "server-busy";
        return say(arena,
                   "the server has as many tries under way as it may (%u, option "
                   "delivery_max)",
                   (unsigned)facts->schedule->open);
    }
    if (site->failures > 0 && site->closed_until_unix_ms == 0 && site->limit == 1) {
        return say(arena, "after %u failure%s (%s) the site gets one mail at a time",
                   (unsigned)site->failures, plural(site->failures), quoted(site->reason, arena));
    }
    if (site->rate > 0) {
        *state = "rate-limited";
        return say(arena, "the site takes %u mail%s a minute, by policy or as it has said",
                   (unsigned)site->rate, plural(site->rate));
    }
    if (site->busy >= site->limit) {
        *state = "connections-full";
        return say(arena, "all %u connection%s that the site takes %s in use",
                   (unsigned)site->limit, plural(site->limit), site->limit == 1 ? "is" : "are");
    }
    return "its turn comes at once";
}

static void say_due(const struct explain_case *facts, struct arena *arena, struct explanation *out)
{
    const struct explain_entry *entry = facts->entry;
    const char *why = line_words(facts, arena, &out->state);
    const char *estimate = "";
    if (entry->ahead > 0 && entry->per_min > 0) {
        uint64_t left_ms = (uint64_t)entry->ahead * MINUTE_MS / entry->per_min;
        out->next_unix_ms = facts->now_unix_ms + left_ms;
        estimate = say(arena, "; at the present %u a minute that takes about %s",
                       (unsigned)entry->per_min, distance(left_ms, arena));
    }
    out->text = say(arena, "It is due and stands in line at %s behind %s%u other%s%s: %s.",
                    quoted(entry->site.name, arena), entry->is_ahead_more ? "more than " : "",
                    (unsigned)entry->ahead, plural(entry->ahead), estimate, why);
    if (facts->delivery->has_last) {
        out->text = say(arena, "%s %s", out->text, last_answer(facts, arena));
    }
    out->advice = say(arena, "meerkatctl queue sites --search %s", word(entry->site.group, arena));
}

/* The row is there, and delivery has not got it. */
static void say_absent(const struct explain_case *facts, struct arena *arena,
                       struct explanation *out)
{
    const struct delivery_facts *delivery = facts->delivery;
    uint64_t due_unix_ms = delivery->row.next_attempt_unix_ms;
    if (due_unix_ms > facts->now_unix_ms) {
        say_put_off(facts, arena, out);
        if (due_unix_ms > facts->now_unix_ms + LOOKS_AHEAD) {
            out->state = "later";
        }
        return;
    }
    if (delivery->is_leased) {
        uint64_t until_unix_ms = delivery->outbox.lease_until_unix_ms;
        out->state = "leased";
        out->next_unix_ms = until_unix_ms;
        out->text = say(arena,
                        "A try of it began and has not said how it ended; its lease ends "
                        "%s, then it is tried again.",
                        when(facts, until_unix_ms, arena));
        return;
    }
    if (facts->schedule != NULL && !facts->schedule->is_open) {
        out->state = "delivery-stopped";
        out->text = "Delivery is starting or stopping: nothing leaves at this moment.";
        return;
    }
    if (facts->schedule != NULL && facts->schedule->is_full) {
        out->state = "schedule-full";
        out->text = say(arena,
                        "It is due, and waits on disk: the schedule in memory is full "
                        "(%u entries). It comes when there is room.",
                        (unsigned)facts->schedule->scheduled);
        out->advice = "meerkatctl queue ages";
        return;
    }
    out->state = "not-announced";
    out->text = "It is due, and delivery does not have it in memory yet; its shard tells of "
                "what is due every ten minutes.";
    out->advice = say(arena, "or at once: %s", retry_command(facts, arena));
}

static bool has_site(const struct explain_entry *entry)
{
    return entry->has_site && entry->where != EXPLAIN_GIVEN_UP;
}

/* What keeps the whole account or site from sending. */
static bool say_kept(const struct explain_case *facts, struct arena *arena, struct explanation *out)
{
    const struct explain_entry *entry = facts->entry;
    const struct queue_site *site = &entry->site;
    if (facts->delivery->row.status == DELIVERY_SCHEDULED) {
        say_scheduled(facts, arena, out);
    } else if (facts->facts->is_suspended && !is_hook(facts)) {
        say_suspended(facts, arena, out);
    } else if (entry->has_hold) {
        say_paused(facts, arena, out);
    } else if (has_site(entry) && site->closed_until_unix_ms > facts->now_unix_ms) {
        say_closed(facts, arena, out);
    } else if (has_site(entry) && !is_hook(facts) && entry->source_count > 0 &&
               entry->source_used == entry->source_count) {
        say_used_up(facts, arena, out);
    } else {
        return false;
    }
    return true;
}

static void say_open(const struct explain_case *facts, struct arena *arena, struct explanation *out)
{
    switch (facts->entry->where) {
    case EXPLAIN_WAITING:
        say_put_off(facts, arena, out);
        break;
    case EXPLAIN_LOOKUP:
        say_looked_up(facts, arena, out);
        break;
    case EXPLAIN_DUE:
        say_due(facts, arena, out);
        break;
    case EXPLAIN_GIVEN_UP:
        out->state = "giving-up";
        out->needs_action = true;
        out->text = "The operator gave it up: it bounces as soon as its turn comes.";
        break;
    case EXPLAIN_TRIED:
    case EXPLAIN_ABSENT:
        say_absent(facts, arena, out);
        break;
    }
}

void explain_delivery(const struct explain_case *facts, struct arena *arena,
                      struct explanation *out)
{
    const struct delivery_facts *delivery = facts->delivery;
    *out = (struct explanation){.state = "unknown", .text = "", .advice = ""};
    if (say_end(facts, arena, out)) {
        return;
    }
    if (delivery->found == OUTBOX_LOST) {
        say_lost(facts, arena, out);
        return;
    }
    if (facts->entry == NULL || delivery->found != OUTBOX_THERE) {
        out->state = "moving";
        out->text = "Its row is being written at this moment; ask again.";
        return;
    }
    if (!is_hook(facts)) {
        out->until_unix_ms = delivery->outbox.created_unix_ms + facts->retry_age_ms;
    }
    if (facts->entry->where == EXPLAIN_TRIED) {
        say_tried(facts, arena, out);
    } else if (!say_kept(facts, arena, out)) {
        say_open(facts, arena, out);
    }
    if (delivery->is_crashed) {
        out->text = say(
            arena,
            "%s The server stopped in the middle of a try, whose end nobody knows: the recipient "
            "may have it already.",
            out->text);
    }
}

/* ---- the mail as a whole -------------------------------------------------------------------- */

static struct explanation *add(struct explanation *notes, uint32_t *count, const char *state)
{
    CHECK(*count < EXPLAIN_NOTES_MAX);
    struct explanation *note = &notes[(*count)++];
    *note = (struct explanation){.state = state, .text = "", .advice = ""};
    return note;
}

static void say_received(const struct explain_case *facts, struct arena *arena,
                         struct explanation *note)
{
    const struct row_mail *mail = facts->mail;
    uint32_t forwards = mail->delivery_count - mail->hook_count;
    note->since_unix_ms = mail->received_unix_ms;
    if (mail->delivery_count == 0) {
        note->text = "It was received and stored. No route asks for a webhook or sends it "
                     "on, so nothing is to be delivered.";
        return;
    }
    note->text =
        say(arena,
            "It was received and stored. Routes made %u webhook call%s of it, %u still open and %u "
            "given up, and sent it on to %u address%s.",
            (unsigned)mail->hook_count, plural(mail->hook_count), (unsigned)mail->hook_open,
            (unsigned)mail->hook_failed, (unsigned)forwards, forwards == 1 ? "" : "es");
}

static void say_domain(const struct explain_case *facts, struct arena *arena,
                       struct explanation *notes, uint32_t *count)
{
    const struct mail_facts *known = facts->facts;
    if (!known->has_domain) {
        struct explanation *note = add(notes, count, "domain-gone");
        note->text = say(arena,
                         "The sender's domain %s was removed since: the mail goes out "
                         "without a DKIM signature.",
                         quoted(known->domain_name, arena));
        return;
    }
    if (known->domain_failing_unix_ms == 0 && known->domain_status == DOMAIN_VERIFIED) {
        return;
    }
    struct explanation *note = add(notes, count, "domain-failing");
    const char *fault = "is not verified";
    if (known->domain_failing_unix_ms != 0) {
        fault = say(arena, "fails its checks, first seen %s",
                    when(facts, known->domain_failing_unix_ms, arena));
    }
    note->since_unix_ms = known->domain_failing_unix_ms;
    note->text = say(arena,
                     "The sender's domain %s %s. What was accepted is still sent, and may be "
                     "refused for it.",
                     quoted(known->domain_name, arena), fault);
    note->advice = say(arena, "GET /api/domains/%s/health says what is missing",
                       quoted(known->domain_id, arena));
}

uint32_t explain_mail(const struct explain_case *facts, struct arena *arena,
                      struct explanation notes[EXPLAIN_NOTES_MAX])
{
    const struct row_mail *mail = facts->mail;
    bool is_inbound = mail->direction == DIRECTION_INBOUND;
    uint32_t count = 0;
    if (is_inbound) {
        say_received(facts, arena, add(notes, &count, "received"));
    } else {
        say_domain(facts, arena, notes, &count);
    }
    if (!is_inbound && mail->mode == MODE_TEST) {
        add(notes, &count, "test")->text = "A test key sent it: it is rehearsed and never leaves.";
    } else if (!is_inbound && mail->is_sandbox) {
        add(notes, &count, "sandbox")->text =
            "It was sent with `sandbox`: it is rehearsed and never leaves.";
    }
    if (mail->status == MAIL_CANCELLED && !is_inbound) {
        add(notes, &count, "cancelled")->text = "It was cancelled before it was sent.";
    }
    if (facts->facts->left_out > 0) {
        add(notes, &count, "cut")->text =
            say(arena, "%u more deliveries are left out here; ask for one by its id.",
                (unsigned)facts->facts->left_out);
    }
    return count;
}
