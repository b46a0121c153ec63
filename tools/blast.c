/* blast.c - load for a Meerkat on this machine: offers mails, counts and times the answers.
 *
 *     blast --url http://127.0.0.1:8080 --key mk_live_...     POST /v1/send
 *     blast --smtp 127.0.0.1:2525 --rcpt c@d                  SMTP, as a stranger
 *     blast --smtp 127.0.0.1:587 --key ... --tls starttls     SMTP submission (or --tls implicit)
 *     blast --smtp ... --hook-listen 127.0.0.1:0 --hook-secret whsec_...  and the webhooks of it
 *
 *     [--concurrency 16] [--seconds 10] [--count N] [--bytes 5120] [--from a@b] [--to c@d]
 *     [--rate N] [--rcpts N] [--ids FILE] [--flood] [--json] [--connections N --idle]
 *     [--mails-per-conn 1000] [--hook-port-file FILE] [--hook-delay-ms N]
 *
 * --concurrency connections each carry one mail after the other, for --seconds or until --count are
 * accepted; --bytes is the length of the text. Every "{n}" in --to becomes a running number; with
 * --rcpts a mail over HTTP has so many recipients, each with its own. --ids appends the id of each
 * mail that was taken, one a line, before the connection asks again. An answer of 503 is followed
 * by a pause, except with --flood. --idle opens --connections more that say nothing; without --key
 * it opens only those. Over SMTP a 250 behind the mail is what a 202 is over HTTP, and a 4yz what a
 * 503 is; the envelope is pipelined where the server offers that, and no two mails are alike; after
 * --mails-per-conn a connection ends with QUIT.
 *
 * With --rate (open loop) so many mails are offered a second in all, evenly, whether the server
 * keeps up or not; an answer is timed from the moment at which its mail was due, so that a server
 * that stalls is charged for every mail that it held up, those without an answer included. Without
 * (closed loop) what clients felt is `latency`; `corrected_latency` adds the mails that each would
 * have asked about meanwhile, had it gone on at the median, which stands beside it.
 *
 * --hook-listen makes blast the endpoint of the webhooks of these mails: it checks their
 * signatures, acknowledges --hook-delay-ms later, times them from the 250 of the mail, and waits
 * for those that are due.
 *
 * Prints `name value unit`, or --json. It goes to 127.0.0.0/8 and nowhere else, and ends in bounded
 * time. Status 1 when nothing was accepted or a webhook is missing.
 */
#include "blast.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/crypto.h"
#include "base/json.h"
#include "net/tls.h"

#define CLIENT_MAX    60000
#define ANSWER_MAX    (4 * MIB)
#define ANSWER_MS     60000
#define BEHIND_MAX    10000000 /* mails that are charged for at the end of a schedule */
#define RECONNECT_MS  50
#define BUSY_PAUSE_MS 100
#define SILENCE_MS    30000 /* no answer at all for so long: give up */
#define TICK_MS       100

static void ask(struct client *client);
static void end_offer(struct blast *blast);

/* ---- answers ----------------------------------------------------------------------------------
 */

/* One write a line: what stands in the file was acknowledged, whoever dies next. */
static void note_id(const struct blast *blast, struct slice id)
{
    char line[128];
    int len = snprintf(line, sizeof line, "%.*s\n", SLICE_FMT(id));
    if (id.len == 0 || id.len > sizeof line - 2 || write(blast->ids_fd, line, (size_t)len) != len) {
        fatal("cannot note an id: %s; free some space", strerror(errno));
    }
}

static bool is_taken(const struct blast *blast, uint16_t status)
{
    return status == (blast->options.smtp.len > 0 ? 250 : 202);
}

static bool is_put_off(const struct blast *blast, uint16_t status)
{
    return blast->options.smtp.len > 0 ? status / 100 == 4 : status == 503;
}

void blast_take(struct client *client, uint16_t status, struct slice id)
{
    struct blast *blast = client->blast;
    uint64_t now_us = clock_mono_us();
    uint64_t took_us = now_us - client->asked_us;
    blast->answered_us = now_us;
    blast->statuses[status] += 1;
    blast->flying -= client->is_waiting ? 1 : 0;
    client->is_waiting = false;
    if (is_put_off(blast, status)) {
        histogram_add(&blast->shed, took_us);
    } else if (is_taken(blast, status)) {
        histogram_add(&blast->accepted, took_us);
        blast_hook_due(blast, client->number, now_us);
        if (blast->ids_fd != -1) {
            note_id(blast, id);
        }
    }
}

void blast_next(struct client *client, uint16_t status)
{
    if (is_put_off(client->blast, status) && !client->blast->options.is_flood) {
        timer_start(&client->pause, BUSY_PAUSE_MS);
    } else {
        ask(client);
    }
}

/* ---- a client ----------------------------------------------------------------------------------
 */

static void on_client_data(struct conn *conn, struct slice data)
{
    struct client *client = CONTAINER_OF(conn, struct client, conn);
    if (client->blast->options.smtp.len > 0) {
        blast_smtp_data(client, data);
    } else {
        blast_http_data(client, data);
    }
}

static void on_client_open(struct conn *conn)
{
    struct client *client = CONTAINER_OF(conn, struct client, conn);
    client->is_open = true;
    if (client->blast->options.smtp.len > 0) {
        blast_smtp_open(client);
    } else if (!client->is_idle) {
        ask(client);
    }
}

static void on_client_fail(struct conn *conn, enum err err)
{
    struct client *client = CONTAINER_OF(conn, struct client, conn);
    client->blast->refused += err == ERR_CONNECT ? 1 : 0;
    conn_abort(conn);
}

static void on_client_closed(struct conn *conn)
{
    struct client *client = CONTAINER_OF(conn, struct client, conn);
    client->blast->broken += client->is_waiting && !client->blast->is_stopping ? 1 : 0;
    client->blast->flying -= client->is_waiting ? 1 : 0;
    client->is_used = false;
    client->is_open = false;
    client->is_waiting = false;
    buf_clear(&client->in);
    timer_stop(&client->pause);
    if (!client->blast->is_stopping && !client->is_idle) {
        bool was_asked_to = client->wait == SMTP_WAIT_QUIT;
        timer_start(&client->pause, was_asked_to ? 0 : RECONNECT_MS);
    }
    client->wait = SMTP_WAIT_GREETING;
}

static const struct conn_handler client_handler = {
    .on_open = on_client_open,
    .on_data = on_client_data,
    .on_fail = on_client_fail,
    .on_closed = on_client_closed,
};

static void connect_client(struct client *client)
{
    client->is_used = true;
    conn_connect(&client->conn, &client->blast->loop,
                 (const struct sockaddr *)&client->blast->addr.storage, &client_handler);
}

static void on_pause_over(struct timer *timer)
{
    struct client *client = CONTAINER_OF(timer, struct client, pause);
    if (client->is_used) {
        ask(client);
    } else {
        connect_client(client);
    }
}

void blast_add_to(const struct blast *blast, uint64_t number, struct buf *out)
{
    struct slice to = blast->options.to;
    size_t at;
    while ((at = slice_find(to, SLICE("{n}"))) != SIZE_MAX) {
        buf_add(out, slice_head(to, at));
        buf_add_u64(out, number);
        to = slice_from(to, at + 3);
    }
    buf_add(out, to);
}

static uint64_t due_us_of(const struct blast *blast, uint64_t number)
{
    return blast->started_us + number * (uint64_t)SECOND_US / blast->options.rate;
}

/* Takes the next place in the schedule; false when it has not come yet: the pause ends then. */
static bool is_due(struct client *client, uint64_t now_us)
{
    struct blast *blast = client->blast;
    if (client->due_us == 0) {
        client->number = blast->asked;
        client->due_us = due_us_of(blast, blast->asked);
        blast->asked += 1;
    }
    if (client->due_us >= now_us + 1000) {
        timer_start(&client->pause, (client->due_us - now_us) / 1000);
        return false;
    }
    return true;
}

static void ask(struct client *client)
{
    struct blast *blast = client->blast;
    const struct options *options = &blast->options;
    if (blast->is_stopping || blast->is_offered) {
        return;
    }
    if (options->count > 0 && blast->accepted.count + blast->flying >= options->count) {
        if (blast->flying == 0) {
            end_offer(blast);
        }
        return; /* whose mail is not taken asks again by itself */
    }
    client->asked_us = clock_mono_us();
    if (options->rate == 0) {
        client->number = blast->asked;
        blast->asked += 1;
    } else if (!is_due(client, client->asked_us)) {
        return;
    } else {
        client->asked_us = min_u64(client->asked_us, client->due_us);
        client->due_us = 0;
    }
    client->is_waiting = true;
    blast->flying += 1;
    conn_set_deadline(&client->conn, ANSWER_MS);
    if (options->smtp.len > 0) {
        blast_smtp_ask(client);
    } else {
        blast_http_ask(client);
    }
}

/* What the schedule still owes an answer to, timed so far. */
static void charge_late(struct blast *blast)
{
    for (size_t i = 0; i < blast->client_count; i++) {
        struct client *client = &blast->clients[i];
        uint64_t since_us = client->is_waiting ? client->asked_us : client->due_us;
        if (since_us != 0 && since_us < blast->ended_us) {
            histogram_add(&blast->late, blast->ended_us - since_us);
        }
    }
    for (uint64_t i = blast->asked; blast->behind < BEHIND_MAX; i++) {
        uint64_t due_us = due_us_of(blast, i);
        if (due_us >= blast->ended_us) {
            return;
        }
        histogram_add(&blast->late, blast->ended_us - due_us);
        blast->behind += 1;
    }
}

/* ---- the program -------------------------------------------------------------------------------
 */

void blast_stop(struct blast *blast)
{
    if (blast->is_stopping) {
        return;
    }
    blast->is_stopping = true;
    blast->ended_us = blast->is_offered ? blast->ended_us : clock_mono_us();
    blast_report(blast);
    timer_stop(&blast->tick);
    for (size_t i = 0; i < blast->client_count; i++) {
        timer_stop(&blast->clients[i].pause);
        if (blast->clients[i].is_used) {
            conn_abort(&blast->clients[i].conn);
        }
    }
    for (size_t i = 0; i < ARRAY_LEN(blast->signals); i++) {
        uv_close((uv_handle_t *)&blast->signals[i], NULL);
    }
    blast_hook_close(blast);
    loop_stop(&blast->loop);
}

/* No mail is offered from now on. Those that fly may still be taken: their webhooks count. */
static void end_offer(struct blast *blast)
{
    if (blast->is_offered) {
        return;
    }
    bool has_all = blast->options.count > 0 && blast->accepted.count >= blast->options.count;
    blast->ended_us = clock_mono_us();
    blast->is_offered = true;
    if (blast->options.rate > 0 && !has_all) {
        charge_late(blast);
    }
    if (blast->hooks == NULL) {
        blast_stop(blast);
    }
}

static void on_signal(uv_signal_t *handle, int number)
{
    (void)number; /* each of them ends the run */
    blast_stop(handle->data);
}

/* The last acknowledgement is on its way too. */
static bool has_all_hooks(const struct blast *blast, uint64_t now_us)
{
    uint64_t delay_us = (blast->options.hook_delay_ms + TICK_MS) * 1000;
    return blast_hook_is_done(blast) &&
           now_us >= max_u64(blast->answered_us, blast_hook_seen_us(blast)) + delay_us;
}

static void on_tick(struct timer *timer)
{
    struct blast *blast = CONTAINER_OF(timer, struct blast, tick);
    uint64_t now_us = clock_mono_us();
    uint64_t heard_us = max_u64(blast->answered_us, blast_hook_seen_us(blast));
    uint64_t silent_us = now_us - max_u64(blast->started_us, heard_us);
    bool is_asking = blast->options.key.len > 0 || blast->options.smtp.len > 0;
    bool is_over = blast->options.seconds > 0 &&
                   now_us - blast->started_us >= blast->options.seconds * (uint64_t)SECOND_US;
    bool is_silent = is_asking && silent_us > SILENCE_MS * UINT64_C(1000);
    if (is_over || is_silent) {
        end_offer(blast);
    }
    if (blast->is_offered && (is_silent || has_all_hooks(blast, now_us))) {
        blast_stop(blast);
    }
    if (!blast->is_stopping) {
        timer_start(&blast->tick, TICK_MS);
    }
}

static void usage(const char *problem)
{
    fatal(
        "%s\nusage: blast --url http://127.0.0.1:PORT --key KEY [--rcpts N] [--idle "
        "--connections N]\n"
        "   or: blast --smtp 127.0.0.1:PORT --rcpt A [--key KEY --tls starttls|implicit]\n"
        "         [--mails-per-conn N] [--hook-listen 127.0.0.1:PORT --hook-secret S]\n"
        "         [--hook-port-file FILE] [--hook-delay-ms N]\n"
        "  [--concurrency N] [--seconds S] [--count N] [--rate N] [--bytes N] [--from A] [--to A]\n"
        "  [--ids FILE] [--flood] [--json]",
        problem);
}

static bool read_value(struct options *options, const char *name, struct slice value)
{
    const struct {
        const char *name;
        struct slice *text;
        uint64_t *number;
        uint64_t max;
    } rows[] = {
        {"--url", &options->url, NULL, 0},
        {"--smtp", &options->smtp, NULL, 0},
        {"--rcpt", &options->to, NULL, 0},
        {"--key", &options->key, NULL, 0},
        {"--from", &options->from, NULL, 0},
        {"--to", &options->to, NULL, 0},
        {"--ids", &options->ids, NULL, 0},
        {"--tls", &options->tls, NULL, 0},
        {"--hook-listen", &options->hook_listen, NULL, 0},
        {"--hook-port-file", &options->hook_port_file, NULL, 0},
        {"--hook-secret", &options->hook_secret, NULL, 0},
        {"--hook-delay-ms", NULL, &options->hook_delay_ms, 60000},
        {"--mails-per-conn", NULL, &options->mails_per_conn, 1000000},
        {"--concurrency", NULL, &options->concurrency, CLIENT_MAX / 2},
        {"--connections", NULL, &options->connections, CLIENT_MAX / 2},
        {"--seconds", NULL, &options->seconds, 3600},
        {"--count", NULL, &options->count, 100000000},
        {"--bytes", NULL, &options->bytes, 10 * MIB},
        {"--rcpts", NULL, &options->rcpts, 50},
        {"--rate", NULL, &options->rate, 1000000},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        if (strcmp(name, rows[i].name) != 0) {
            continue;
        }
        if (rows[i].number != NULL) {
            return slice_uint(value, rows[i].max, rows[i].number) == ERR_OK;
        }
        *rows[i].text = value;
        return true;
    }
    return false;
}

static void read_flags(struct options *options, int argc, char **argv)
{
    const struct {
        const char *name;
        bool *flag;
    } flags[] = {
        {"--idle", &options->is_idle},
        {"--flood", &options->is_flood},
        {"--json", &options->is_json},
    };
    for (int i = 1; i < argc; i++) {
        bool is_known = false;
        for (size_t n = 0; n < ARRAY_LEN(flags); n++) {
            if (strcmp(argv[i], flags[n].name) == 0) {
                *flags[n].flag = true;
                is_known = true;
            }
        }
        if (!is_known && i + 1 < argc && read_value(options, argv[i], slice_str(argv[i + 1]))) {
            is_known = true;
            i += 1;
        }
        if (!is_known) {
            usage(argv[i]);
        }
    }
}

static void check_options(const struct options *options)
{
    bool has_hooks = options->hook_listen.len > 0;
    if ((options->url.len == 0) == (options->smtp.len == 0)) {
        usage("one of --url and --smtp is needed");
    }
    if (options->smtp.len > 0 && options->is_idle) {
        usage("--idle is for --url");
    }
    if (options->url.len > 0 && (has_hooks || options->tls.len > 0)) {
        usage("--tls and --hook-listen are for --smtp");
    }
    if (has_hooks && options->hook_secret.len == 0) {
        usage("--hook-listen needs the --hook-secret that signs");
    }
}

static void read_options(struct options *options, int argc, char **argv)
{
    *options = (struct options){
        .from = SLICE("hello@sandbox.meerkat.test"),
        .to = SLICE("r{n}@example.com"),
        .concurrency = 16,
        .bytes = 5120,
        .rcpts = 1,
        .mails_per_conn = SMTP_IN_MAILS_MAX,
    };
    read_flags(options, argc, argv);
    check_options(options);
    if (options->smtp.len == 0 && options->key.len == 0) {
        options->concurrency = 0;
    }
    if (!options->is_idle) {
        options->connections = 0;
    }
    if (options->concurrency + options->connections == 0) {
        usage("nothing to do: give --key, or --connections N --idle");
    }
    if (options->seconds == 0 && (options->count == 0 || options->concurrency == 0)) {
        options->seconds = 10;
    }
}

/* Whose certificate it is does not matter on loopback. The key is the password (RFC 4616). */
static void read_submission(struct blast *blast)
{
    struct slice tls = blast->options.tls;
    struct slice key = blast->options.smtp.len > 0 ? blast->options.key : SLICE("");
    buf_init(&blast->auth, 4 * KIB);
    if (slice_equal(tls, SLICE("starttls"))) {
        blast->tls = BLAST_TLS_START;
    } else if (slice_equal(tls, SLICE("implicit"))) {
        blast->tls = BLAST_TLS_IMPLICIT;
    } else if (tls.len > 0 && !slice_equal(tls, SLICE("none"))) {
        usage("--tls is none, starttls or implicit");
    }
    if (blast->tls != BLAST_TLS_NONE &&
        tls_client_new(TLS_VERIFY_NONE, SLICE(""), &blast->tls_context) != ERR_OK) {
        fatal("TLS cannot be used; the line above says why");
    }
    if (key.len > 0) {
        struct buf plain;
        buf_init(&plain, 4 * KIB);
        buf_add(&plain, slice_of("\0blast\0", 7));
        buf_add(&plain, key);
        buf_add_str(&blast->auth, "AUTH PLAIN ");
        char *room = buf_room(&blast->auth, base64_len(plain.len));
        CHECK(room != NULL);
        buf_grew(&blast->auth, base64_encode(buf_slice(&plain), room));
        buf_add_str(&blast->auth, "\r\n");
        CHECK(!plain.is_over && !blast->auth.is_over);
        buf_fini(&plain);
    }
}

static void read_target(struct blast *blast)
{
    const struct options *options = &blast->options;
    struct slice target = options->smtp.len > 0 ? options->smtp : options->url;
    if (slice_starts(target, SLICE("http://"))) {
        target = slice_from(target, sizeof("http://") - 1);
    }
    target = slice_cut(&target, '/');
    if (conn_addr_parse(target, options->smtp.len > 0 ? 25 : 80, &blast->addr) != ERR_OK ||
        blast->addr.storage.ss_family != AF_INET || !conn_addr_is_loopback(&blast->addr)) {
        fatal("blast loads only 127.0.0.0/8, not %.*s; write http://127.0.0.1:PORT, or "
              "127.0.0.1:PORT for --smtp",
              SLICE_FMT(target));
    }
}

/* Lines of 72 bytes, as people write them. */
static void make_text(struct blast *blast)
{
    struct buf plain;
    bool is_smtp = blast->options.smtp.len > 0;
    buf_init(&plain, 2 * MAIL_BYTES_MAX);
    buf_init(&blast->text, 2 * MAIL_BYTES_MAX);
    for (uint64_t i = 0; i < blast->options.bytes; i++) {
        if (i % 72 == 71) {
            buf_add_str(&plain, is_smtp ? "\r\n" : "\n");
        } else {
            buf_add_byte(&plain, (char)('a' + i % 26));
        }
    }
    if (is_smtp) {
        buf_add(&blast->text, buf_slice(&plain)); /* no line begins with a dot */
    } else {
        json_escape(&blast->text, buf_slice(&plain));
    }
    buf_fini(&plain);
}

static void raise_file_limit(uint64_t wanted)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) == -1 || limit.rlim_max < wanted) {
        fatal("%" PRIu64 " open files are needed; raise the hard limit (ulimit -Hn)", wanted);
    }
    limit.rlim_cur = limit.rlim_max;
    if (setrlimit(RLIMIT_NOFILE, &limit) == -1) {
        fatal("cannot raise the limit of open files: %s", strerror(errno));
    }
}

static void open_all(struct blast *blast)
{
    static const int numbers[] = {SIGTERM, SIGINT};
    const struct options *options = &blast->options;
    for (size_t i = 0; i < ARRAY_LEN(numbers); i++) {
        if (uv_signal_init(&blast->loop.uv, &blast->signals[i]) != 0 ||
            uv_signal_start(&blast->signals[i], on_signal, numbers[i]) != 0) {
            fatal("cannot watch signals; the process is out of file descriptors");
        }
        blast->signals[i].data = blast;
    }
    blast->ids_fd = -1;
    if (options->ids.len > 0) {
        char path[4096];
        (void)snprintf(path, sizeof path, "%.*s", SLICE_FMT(options->ids)); /* open says so */
        blast->ids_fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
        if (blast->ids_fd == -1) {
            fatal("cannot open %s: %s", path, strerror(errno));
        }
    }
    blast->client_count = (size_t)(options->concurrency + options->connections);
    blast->clients = mem_zalloc(blast->client_count * sizeof *blast->clients);
    for (size_t i = 0; i < blast->client_count; i++) {
        struct client *client = &blast->clients[i];
        client->blast = blast;
        client->is_idle = i >= options->concurrency;
        buf_init(&client->in, ANSWER_MAX + HTTP_HEADER_MAX);
        smtp_reply_init(&client->reader);
        timer_init(&client->pause, &blast->loop, on_pause_over);
        connect_client(client);
    }
    timer_init(&blast->tick, &blast->loop, on_tick);
    timer_start(&blast->tick, TICK_MS);
}

static void free_all(struct blast *blast)
{
    for (size_t i = 0; i < blast->client_count; i++) {
        buf_fini(&blast->clients[i].in);
        smtp_reply_fini(&blast->clients[i].reader);
    }
    if (blast->ids_fd != -1) {
        (void)close(blast->ids_fd); /* every line was written whole */
    }
    if (blast->tls_context != NULL) {
        tls_context_drop(blast->tls_context);
    }
    blast_hook_free(blast);
    buf_fini(&blast->text);
    buf_fini(&blast->auth);
    free(blast->clients);
    free(blast);
}

int main(int argc, char **argv)
{
    crypto_init();
    struct blast *blast = mem_zalloc(sizeof *blast);
    read_options(&blast->options, argc, argv);
    read_target(blast);
    read_submission(blast);
    make_text(blast);
    raise_file_limit(blast->options.concurrency + blast->options.connections + 64);
    loop_init(&blast->loop, "blast", 0);
    blast->started_us = clock_mono_us();
    blast->started_unix_ms = clock_unix_ms();
    if (blast->options.hook_listen.len > 0) {
        blast_hook_open(blast);
    }
    open_all(blast);
    loop_run(&blast->loop);
    loop_fini(&blast->loop);
    bool is_good = blast->accepted.count > 0 || blast->options.concurrency == 0;
    is_good = is_good && blast_hook_is_done(blast);
    free_all(blast);
    return is_good ? 0 : 1;
}
