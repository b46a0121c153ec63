/* blast.c - load for a Meerkat on this machine: sends mails over HTTP, or over SMTP as a stranger,
 * counts and times the answers.
 *
 *     blast --url http://127.0.0.1:8080 --key mk_live_... [--concurrency 16] [--seconds 10]
 *           [--count N] [--bytes 5120] [--from a@b] [--to c@d] [--ids FILE] [--flood]
 *           [--connections N --idle] [--rate N] [--rcpts N]
 *     blast --smtp 127.0.0.1:2525 --rcpt c@d [--from a@b] and those that time and count
 *
 * --concurrency connections each carry one POST /v1/send after the other, for --seconds or until
 * --count are accepted; --bytes is the length of the text. Every "{n}" in --to becomes a running
 * number; with --rcpts a mail has so many recipients, each with its own. --ids appends the id of
 * each 202, one a line, before the connection asks again. An answer of 503 is followed by a pause,
 * except with --flood. --idle opens --connections more that say nothing; without --key it opens
 * only those. Over SMTP a 250 behind the mail is what a 202 is over HTTP, and a 4yz what a 503 is;
 * the envelope is pipelined, and no two mails are alike.
 *
 * --rate offers so many mails a second in all, evenly, whether the server keeps up or not; an
 * answer is timed from the moment at which its mail was due, so that a server that stalls is
 * charged for every mail that it held up.
 *
 * Prints `name value unit`. It goes to 127.0.0.0/8 and nowhere else, and ends in bounded time.
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
#include "base/json.h"

#define CLIENT_MAX    60000
#define ANSWER_MAX    (4 * MIB)
#define ANSWER_MS     60000
#define RECONNECT_MS  50
#define BUSY_PAUSE_MS 100
#define SILENCE_MS    30000 /* no answer at all for so long: give up */
#define TICK_MS       100
#define MS_US         1000.0
#define SECOND_US     1000000.0

static void ask(struct client *client);
static void stop(struct blast *blast);

/* ---- times -------------------------------------------------------------------------------------
 */

static size_t bucket_of(uint64_t us)
{
    uint32_t shift = 0;
    while (us >> shift >= 2 * SUB_COUNT) {
        shift += 1;
    }
    return min_size((size_t)(shift * SUB_COUNT + (us >> shift)), BUCKET_COUNT - 1);
}

static uint64_t top_of(size_t bucket)
{
    uint64_t shift = bucket < 2 * SUB_COUNT ? 0 : bucket / SUB_COUNT - 1;
    return (bucket - shift * SUB_COUNT + 1) << shift;
}

static void spread_add(struct spread *spread, uint64_t us)
{
    spread->buckets[bucket_of(us)] += 1;
    spread->count += 1;
    spread->max_us = max_u64(spread->max_us, us);
}

static double spread_ms(const struct spread *spread, double share)
{
    uint64_t wanted = (uint64_t)(share * (double)spread->count);
    uint64_t seen = 0;
    for (size_t i = 0; i < BUCKET_COUNT; i++) {
        seen += spread->buckets[i];
        if (seen > wanted) {
            return (double)min_u64(top_of(i), spread->max_us) / MS_US;
        }
    }
    return (double)spread->max_us / MS_US;
}

/* ---- answers -----------------------------------------------------------------------------------
 */

struct answer {
    uint16_t status;
    bool is_close;
    struct slice body;
    size_t len; /* of all of it */
};

/* ERR_BUSY while it is incomplete, ERR_INVALID when it is no answer that a Meerkat gives. */
static enum err read_answer(struct slice in, struct answer *answer)
{
    size_t head_len = slice_find(in, SLICE("\r\n\r\n"));
    if (head_len == SIZE_MAX) {
        return ERR_BUSY;
    }
    struct slice head = slice_head(in, head_len);
    uint64_t status = 0;
    uint64_t body_len = 0;
    if (!slice_starts(head, SLICE("HTTP/1.1 ")) ||
        slice_uint(slice_sub(head, 9, 3), 599, &status) != ERR_OK) {
        return ERR_INVALID;
    }
    while (head.data != NULL) {
        struct slice value = slice_trim(slice_cut(&head, '\n'));
        struct slice name = slice_cut(&value, ':');
        value = slice_trim(value);
        if (slice_equal_nocase(name, SLICE("content-length")) &&
            slice_uint(value, ANSWER_MAX, &body_len) != ERR_OK) {
            return ERR_INVALID;
        }
        if (slice_equal_nocase(name, SLICE("connection"))) {
            answer->is_close = slice_equal_nocase(value, SLICE("close"));
        }
    }
    answer->status = (uint16_t)status;
    answer->body = slice_sub(in, head_len + 4, body_len);
    answer->len = head_len + 4 + body_len;
    return answer->body.len < body_len ? ERR_BUSY : ERR_OK;
}

/* One write a line: what stands in the file was acknowledged, whoever dies next. */
static void note_id(const struct blast *blast, struct slice id)
{
    char line[128];
    int len = snprintf(line, sizeof line, "%.*s\n", SLICE_FMT(id));
    if (id.len == 0 || id.len > sizeof line - 2 || write(blast->ids_fd, line, (size_t)len) != len) {
        fatal("cannot note an id: %s; free some space", strerror(errno));
    }
}

static struct slice id_of(struct slice body)
{
    struct slice rest = slice_from(body, slice_find(body, SLICE("\"id\":\"")));
    struct slice id = slice_from(rest, sizeof("\"id\":\"") - 1);
    return slice_head(id, slice_find_byte(id, '"'));
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
    client->is_waiting = false;
    if (is_put_off(blast, status)) {
        spread_add(&blast->shed, took_us);
    } else if (is_taken(blast, status)) {
        spread_add(&blast->accepted, took_us);
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
    buf_add(&client->in, data);
    if (client->blast->options.smtp.len > 0) {
        blast_smtp_data(client);
        return;
    }
    if (!client->is_waiting) {
        return; /* a 408 to an idle connection, most likely; the end follows */
    }
    struct answer answer = {.status = 0};
    enum err err = read_answer(buf_slice(&client->in), &answer);
    if (err == ERR_BUSY && !client->in.is_over) {
        return;
    }
    if (err != ERR_OK) {
        fprintf(stderr, "blast: not an answer: %.*s\n", SLICE_FMT(slice_head(data, 200)));
        conn_abort(conn);
        return;
    }
    blast_take(client, answer.status, answer.status == 202 ? id_of(answer.body) : SLICE(""));
    buf_consume(&client->in, min_size(answer.len, client->in.len));
    if (answer.is_close) {
        conn_close(conn);
    } else {
        blast_next(client, answer.status);
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
    client->is_used = false;
    client->is_open = false;
    client->is_waiting = false;
    buf_clear(&client->in);
    timer_stop(&client->pause);
    if (!client->blast->is_stopping && !client->is_idle) {
        timer_start(&client->pause, RECONNECT_MS);
    }
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

static void add_numbered(struct slice to, uint64_t number, struct buf *out)
{
    size_t at;
    while ((at = slice_find(to, SLICE("{n}"))) != SIZE_MAX) {
        buf_add(out, slice_head(to, at));
        buf_add_u64(out, number);
        to = slice_from(to, at + 3);
    }
    buf_add(out, to);
}

void blast_add_to(const struct blast *blast, struct buf *out)
{
    add_numbered(blast->options.to, blast->asked, out);
}

/* A JSON list. */
static void add_recipients(const struct blast *blast, struct buf *out)
{
    struct buf to;
    uint64_t rcpts = blast->options.rcpts;
    buf_init(&to, KIB);
    for (uint64_t i = 0; i < rcpts; i++) {
        buf_clear(&to);
        add_numbered(blast->options.to, blast->asked * rcpts + i, &to);
        buf_add_byte(out, i == 0 ? '[' : ',');
        json_escape(out, buf_slice(&to));
    }
    buf_add_byte(out, ']');
    buf_fini(&to);
}

static void write_request(struct client *client)
{
    const struct blast *blast = client->blast;
    struct buf body;
    struct buf out;
    buf_init(&body, 2 * MAIL_BYTES_MAX);
    buf_init(&out, 2 * MAIL_BYTES_MAX);
    buf_add_str(&body, "{\"from\":");
    json_escape(&body, blast->options.from);
    buf_add_str(&body, ",\"to\":");
    add_recipients(blast, &body);
    buf_add_format(&body, ",\"subject\":\"blast %" PRIu64 "\",\"text\":", blast->asked);
    buf_add(&body, buf_slice(&blast->text));
    buf_add_byte(&body, '}');
    buf_add_format(&out,
                   "POST /v1/send HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer %.*s\r\n"
                   "Content-Type: application/json\r\nContent-Length: %zu\r\n\r\n",
                   SLICE_FMT(blast->options.key), body.len);
    buf_add(&out, buf_slice(&body));
    conn_write(&client->conn, buf_slice(&out));
    buf_fini(&out);
    buf_fini(&body);
}

/* Takes the next place in the schedule; false when it has not come yet: the pause ends then. */
static bool is_due(struct client *client, uint64_t now_us)
{
    struct blast *blast = client->blast;
    if (client->due_us == 0) {
        client->due_us =
            blast->started_us + blast->asked * (uint64_t)SECOND_US / blast->options.rate;
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
    if (blast->is_stopping) {
        return;
    }
    if (options->count > 0 && blast->accepted.count >= options->count) {
        stop(blast);
        return;
    }
    client->asked_us = clock_mono_us();
    if (options->rate == 0) {
        blast->asked += 1;
    } else if (!is_due(client, client->asked_us)) {
        return;
    } else {
        client->asked_us = min_u64(client->asked_us, client->due_us);
        client->due_us = 0;
    }
    client->is_waiting = true;
    conn_set_deadline(&client->conn, ANSWER_MS);
    if (options->smtp.len > 0) {
        blast_smtp_ask(client);
    } else {
        write_request(client);
    }
}

/* ---- the report --------------------------------------------------------------------------------
 */

static void print_spread(const char *name, const struct spread *spread)
{
    static const struct {
        const char *name;
        double share;
    } points[] = {{"p50", 0.5}, {"p90", 0.9}, {"p99", 0.99}, {"p99.9", 0.999}};
    if (spread->count == 0) {
        return;
    }
    for (size_t i = 0; i < ARRAY_LEN(points); i++) {
        printf("%s_%s %.2f ms\n", name, points[i].name, spread_ms(spread, points[i].share));
    }
    printf("%s_max %.2f ms\n", name, (double)spread->max_us / MS_US);
}

static void print_report(const struct blast *blast)
{
    double seconds = (double)(blast->ended_us - blast->started_us) / SECOND_US;
    uint64_t idle_count = 0;
    for (size_t i = 0; i < blast->client_count; i++) {
        idle_count += blast->clients[i].is_idle && blast->clients[i].is_open ? 1 : 0;
    }
    printf("machine %ld cores\n", sysconf(_SC_NPROCESSORS_ONLN));
    printf("seconds %.2f s\n", seconds);
    if (blast->options.is_idle) {
        printf("idle_open %" PRIu64 " connections\n", idle_count);
    }
    printf("rate %.1f mails/s\n", seconds > 0 ? (double)blast->accepted.count / seconds : 0.0);
    print_spread("latency", &blast->accepted);
    print_spread("shed_latency", &blast->shed);
    for (size_t i = 0; i < ARRAY_LEN(blast->statuses); i++) {
        if (blast->statuses[i] > 0) {
            printf("status_%zu %" PRIu64 " answers\n", i, blast->statuses[i]);
        }
    }
    printf("refused %" PRIu64 " connections\n", blast->refused);
    printf("broken %" PRIu64 " requests\n", blast->broken);
    (void)fflush(stdout); /* a closed pipe loses the report and nothing else */
}

/* ---- the program -------------------------------------------------------------------------------
 */

static void stop(struct blast *blast)
{
    if (blast->is_stopping) {
        return;
    }
    blast->is_stopping = true;
    blast->ended_us = clock_mono_us();
    print_report(blast);
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
    loop_stop(&blast->loop);
}

static void on_signal(uv_signal_t *handle, int number)
{
    (void)number; /* each of them ends the run */
    stop(handle->data);
}

static void on_tick(struct timer *timer)
{
    struct blast *blast = CONTAINER_OF(timer, struct blast, tick);
    uint64_t now_us = clock_mono_us();
    uint64_t silent_us = now_us - max_u64(blast->started_us, blast->answered_us);
    bool is_asking = blast->options.key.len > 0 || blast->options.smtp.len > 0;
    bool is_over = blast->options.seconds > 0 &&
                   now_us - blast->started_us >= blast->options.seconds * (uint64_t)SECOND_US;
    if (is_over || (is_asking && silent_us > SILENCE_MS * 1000)) {
        stop(blast);
        return;
    }
    timer_start(&blast->tick, TICK_MS);
}

static void usage(const char *problem)
{
    fatal("%s\nusage: blast --url http://127.0.0.1:PORT --key KEY [--concurrency N] [--seconds S]\n"
          "  [--count N] [--bytes N] [--from A] [--to A] [--ids FILE] [--flood]\n"
          "  [--connections N --idle] [--rate N] [--rcpts N]\n"
          "   or: blast --smtp 127.0.0.1:PORT --rcpt A [--from A] and those above that time and "
          "count",
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

static void read_options(struct options *options, int argc, char **argv)
{
    *options = (struct options){
        .from = SLICE("hello@sandbox.meerkat.test"),
        .to = SLICE("r{n}@example.com"),
        .concurrency = 16,
        .bytes = 5120,
        .rcpts = 1,
    };
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--idle") == 0) {
            options->is_idle = true;
        } else if (strcmp(argv[i], "--flood") == 0) {
            options->is_flood = true;
        } else if (i + 1 < argc && read_value(options, argv[i], slice_str(argv[i + 1]))) {
            i += 1;
        } else {
            usage(argv[i]);
        }
    }
    if ((options->url.len == 0) == (options->smtp.len == 0)) {
        usage("one of --url and --smtp is needed");
    }
    if (options->smtp.len > 0 && (options->is_idle || options->key.len > 0)) {
        usage("--key and --idle are for --url");
    }
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
        timer_init(&client->pause, &blast->loop, on_pause_over);
        connect_client(client);
    }
    timer_init(&blast->tick, &blast->loop, on_tick);
    timer_start(&blast->tick, TICK_MS);
}

int main(int argc, char **argv)
{
    struct blast *blast = mem_zalloc(sizeof *blast);
    read_options(&blast->options, argc, argv);
    read_target(blast);
    make_text(blast);
    raise_file_limit(blast->options.concurrency + blast->options.connections + 64);
    loop_init(&blast->loop, "blast", 0);
    blast->started_us = clock_mono_us();
    blast->started_unix_ms = clock_unix_ms();
    open_all(blast);
    loop_run(&blast->loop);
    loop_fini(&blast->loop);
    for (size_t i = 0; i < blast->client_count; i++) {
        buf_fini(&blast->clients[i].in);
    }
    if (blast->ids_fd != -1) {
        (void)close(blast->ids_fd); /* every line was written whole */
    }
    bool is_good = blast->accepted.count > 0 || blast->options.concurrency == 0;
    buf_fini(&blast->text);
    free(blast->clients);
    free(blast);
    return is_good ? 0 : 1;
}
