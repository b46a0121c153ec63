/* sink.c - an SMTP server that keeps or counts what it gets, and misbehaves when told to.
 *
 * Tests, benchmarks and the sandbox of tools/run send to it instead of to the world. It is strict
 * where a receiver may be strict (order of commands, line ends, sizes) and writes what it found
 * wrong into the stored mail as X-Sink-Flaw lines. Its HTTP side answers GET /count and /mails,
 * changes the profile (POST /profile) and takes any other POST as a webhook.
 *
 * Profiles, from --profile (repeat it, or separate with commas):
 *
 *     greylist        451 4.7.1 to the first try of a sender and recipient, then 250
 *     tempfail:N      451 4.3.0 to the first N MAIL commands
 *     reject          550 5.1.1 to every RCPT
 *     reject-data     554 5.7.1 behind the final dot
 *     refuse busy421  554 or 421 as the greeting, then the connection is closed
 *     slow:MS[:STEP]  every reply, or that step's, comes MS milliseconds late (a tarpit)
 *     stall:STEP      no answer at that step, and none after it
 *     drop:STEP       the connection is cut instead of the answer
 *     garbage[:STEP]  bytes that are no reply
 *     badtls          STARTTLS is agreed to, then answered with garbage
 *     maxconn:N maxmails:N maxrcpt:N   ceilings: 421 or 452 beyond
 *     rate421:N       beyond N mails a second 421 4.7.28, and the connection is closed
 *     rate451:N       beyond N mails a second 451 4.7.1
 *     block           554 5.7.1 to every MAIL, with the page where to ask for grace
 *     http:STATUS     what webhooks are answered; 3xx leads to /elsewhere
 *     http-hang       webhooks are counted and not answered
 *     http-endless    webhooks are answered with a body that does not end
 *
 * STEP is greeting, ehlo, starttls, auth, mail, rcpt, data, dot or quit. With --by-name, recipients
 * whose local part begins with "bounce" get 550 5.1.1 and those with "defer" 451 4.2.1. With
 * --requiretls it offers REQUIRETLS (RFC 8689) once TLS is on.
 */
#include "sink.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/check.h"
#include "base/crypto.h"

#define SECOND_US 1000000.0

/* ---- files ------------------------------------------------------------------------------------
 */

/* Complete or absent: readers poll for these files. */
void sink_write_file(struct slice path, struct slice first, struct slice second)
{
    char name[4096];
    char temporary[4096 + 8];
    (void)snprintf(name, sizeof name, "%.*s", SLICE_FMT(path)); /* too long: open says so */
    (void)snprintf(temporary, sizeof temporary, "%s.new", name);
    FILE *file = fopen(temporary, "we");
    if (file == NULL || fwrite(first.data, 1, first.len, file) != first.len ||
        (second.len > 0 && fwrite(second.data, 1, second.len, file) != second.len) ||
        fclose(file) != 0 || rename(temporary, name) == -1) {
        fatal("cannot write %s: %s; give sink a folder that it may write", name, strerror(errno));
    }
}

static void write_port_file(struct slice path, uint16_t tcp_port)
{
    if (path.len == 0) {
        return;
    }
    char text[8];
    int len = snprintf(text, sizeof text, "%u\n", (unsigned)tcp_port);
    sink_write_file(path, slice_of(text, (size_t)len), SLICE(""));
}

/* ---- the program ------------------------------------------------------------------------------
 */

static void print_report(const struct sink *sink)
{
    const struct counts *counts = &sink->counts;
    double seconds = (double)(counts->last_us - counts->first_us) / SECOND_US;
    printf("sink_connections %" PRIu64 " connections\n", counts->connections);
    printf("sink_mails %" PRIu64 " mails\n", counts->mails);
    printf("sink_rcpts %" PRIu64 " recipients\n", counts->rcpts);
    printf("sink_bytes %" PRIu64 " bytes\n", counts->bytes);
    printf("sink_flaws %" PRIu64 " flaws\n", counts->flaws);
    printf("sink_rate %.1f mails/s\n", seconds > 0 ? (double)counts->mails / seconds : 0.0);
    (void)fflush(stdout); /* a closed pipe loses the report and nothing else */
}

static void on_listener_closed(struct listener *listener)
{
    (void)listener; /* part of struct sink */
}

static void stop(struct sink *sink)
{
    listener_close(&sink->smtp, on_listener_closed);
    if (sink->has_web) {
        listener_close(&sink->web, on_listener_closed);
    }
    LIST_EACH (&sink->sessions, link) {
        conn_abort(&CONTAINER_OF(link, struct session, link)->conn);
    }
    LIST_EACH (&sink->webs, link) {
        conn_abort(&CONTAINER_OF(link, struct web, link)->conn);
    }
    for (size_t i = 0; i < ARRAY_LEN(sink->signals); i++) {
        uv_close((uv_handle_t *)&sink->signals[i], NULL);
    }
    loop_stop(&sink->loop);
}

static void on_signal(uv_signal_t *handle, int number)
{
    struct sink *sink = handle->data;
    print_report(sink);
    if (number != SIGUSR1) {
        stop(sink);
    }
}

static void watch_signals(struct sink *sink)
{
    static const int numbers[] = {SIGTERM, SIGINT, SIGUSR1};
    for (size_t i = 0; i < ARRAY_LEN(numbers); i++) {
        if (uv_signal_init(&sink->loop.uv, &sink->signals[i]) != 0 ||
            uv_signal_start(&sink->signals[i], on_signal, numbers[i]) != 0) {
            fatal("cannot watch signals; the process is out of file descriptors");
        }
        sink->signals[i].data = sink;
    }
}

static void open_listener(struct sink *sink, struct listener *listener, struct slice text,
                          listener_fn *on_accept)
{
    struct conn_addr addr;
    if (conn_addr_parse(text, 0, &addr) != ERR_OK) {
        fatal("%.*s is not an address; write ip:port", SLICE_FMT(text));
    }
    if (listener_open(listener, &sink->loop, &addr, on_accept) != ERR_OK) {
        fatal("cannot listen on %.*s; choose another port, or 0 for a free one", SLICE_FMT(text));
    }
}

static void usage(const char *problem)
{
    fatal("%s\nusage: sink [--listen ip:port] [--port-file F] [--http-listen ip:port]\n"
          "  [--http-port-file F] [--store DIR] [--log F] [--quiet] [--by-name]\n"
          "  [--profile WORDS] [--without EXTENSION] [--size BYTES] [--hostname NAME]\n"
          "  [--tls-cert F --tls-key F] [--tls-implicit] [--auth user:password]",
          problem);
}

static bool read_flag(struct sink *sink, const char *name)
{
    const struct {
        const char *name;
        bool *flag;
    } flags[] = {
        {"--quiet", &sink->options.is_quiet},
        {"--by-name", &sink->options.is_by_name},
        {"--tls-implicit", &sink->options.is_tls_implicit},
        {"--requiretls", &sink->options.has_requiretls},
    };
    for (size_t i = 0; i < ARRAY_LEN(flags); i++) {
        if (strcmp(name, flags[i].name) == 0) {
            *flags[i].flag = true;
            return true;
        }
    }
    return false;
}

static bool read_value(struct sink *sink, const char *name, struct slice value)
{
    struct options *options = &sink->options;
    const struct {
        const char *name;
        struct slice *value;
    } values[] = {
        {"--listen", &options->listen},
        {"--port-file", &options->port_file},
        {"--http-listen", &options->http_listen},
        {"--http-port-file", &options->http_port_file},
        {"--store", &options->store},
        {"--log", &options->log},
        {"--hostname", &options->hostname},
        {"--tls-cert", &options->tls_cert},
        {"--tls-key", &options->tls_key},
        {"--auth", &options->auth},
        {"--size", &options->size},
    };
    for (size_t i = 0; i < ARRAY_LEN(values); i++) {
        if (strcmp(name, values[i].name) == 0) {
            *values[i].value = value;
            return true;
        }
    }
    if (strcmp(name, "--profile") == 0) {
        return sink_read_profile(&sink->profile, value);
    }
    if (strcmp(name, "--without") == 0) {
        buf_add_format(&sink->without, " %.*s ", SLICE_FMT(value));
        return true;
    }
    return false;
}

static void read_options(struct sink *sink, int argc, char **argv)
{
    sink->options.listen = SLICE("127.0.0.1:0");
    sink->options.hostname = SLICE("sink.test");
    sink->size_max = 35 * MIB;
    sink->profile.http_status = 200;
    for (int i = 1; i < argc; i++) {
        if (read_flag(sink, argv[i])) {
            continue;
        }
        if (i + 1 == argc || !read_value(sink, argv[i], slice_str(argv[i + 1]))) {
            usage(argv[i]);
        }
        i += 1;
    }
    const struct options *options = &sink->options;
    if (options->size.len > 0 && slice_uint(options->size, MAIL_MAX, &sink->size_max) != ERR_OK) {
        usage("--size is a number of bytes");
    }
    if (options->is_tls_implicit && options->tls_cert.len == 0) {
        usage("--tls-implicit needs --tls-cert and --tls-key");
    }
}

/* RFC 4616: NUL user NUL password, in base64. */
static void set_auth(struct sink *sink)
{
    struct slice password = sink->options.auth;
    if (password.len == 0) {
        return;
    }
    struct slice user = slice_cut(&password, ':');
    struct buf plain;
    buf_init(&plain, 4 * KIB);
    buf_add_byte(&plain, '\0');
    buf_add(&plain, user);
    buf_add_byte(&plain, '\0');
    buf_add(&plain, password);
    char *room = buf_room(&sink->auth, base64_len(plain.len));
    CHECK(room != NULL);
    buf_grew(&sink->auth, base64_encode(buf_slice(&plain), room));
    buf_fini(&plain);
}

/* Numbers go on where an earlier sink left off, so that the newest mail sorts last. */
static void find_last_number(struct sink *sink, const char *path)
{
    DIR *folder = opendir(path);
    if (folder == NULL) {
        fatal("cannot read the folder %s: %s", path, strerror(errno));
    }
    const struct dirent *entry;
    while ((entry = readdir(folder)) != NULL) {
        struct slice name = slice_str(entry->d_name);
        uint64_t number = 0;
        if (slice_ends(name, SLICE(".eml")) &&
            slice_u64(slice_head(name, slice_find_byte(name, '-')), &number) == ERR_OK) {
            sink->stored = max_u64(sink->stored, number);
        }
    }
    (void)closedir(folder); /* it was only read */
}

static void open_all(struct sink *sink)
{
    const struct options *options = &sink->options;
    if (options->tls_cert.len > 0 &&
        tls_server_new(options->tls_cert, options->tls_key, &sink->tls) != ERR_OK) {
        fatal("the certificate cannot be used; the line above says why");
    }
    char path[4096];
    if (options->store.len > 0) {
        (void)snprintf(path, sizeof path, "%.*s", SLICE_FMT(options->store)); /* mkdir says so */
        if (mkdir(path, 0700) == -1 && errno != EEXIST) {
            fatal("cannot make the folder %s: %s", path, strerror(errno));
        }
        find_last_number(sink, path);
    }
    if (options->log.len > 0) {
        (void)snprintf(path, sizeof path, "%.*s", SLICE_FMT(options->log)); /* open says so */
        sink->log_fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
        if (sink->log_fd == -1) {
            fatal("cannot open the log %s: %s", path, strerror(errno));
        }
    }
    open_listener(sink, &sink->smtp, options->listen, sink_accept_smtp);
    sink->has_web = options->http_listen.len > 0;
    if (sink->has_web) {
        open_listener(sink, &sink->web, options->http_listen, sink_accept_http);
        write_port_file(options->http_port_file, sink->web.tcp_port);
    }
    write_port_file(options->port_file, sink->smtp.tcp_port);
}

int main(int argc, char **argv)
{
    crypto_init();
    struct sink *sink = mem_zalloc(sizeof *sink);
    sink->log_fd = -1;
    list_init(&sink->sessions);
    list_init(&sink->webs);
    buf_init(&sink->without, 4 * KIB);
    buf_init(&sink->auth, 8 * KIB);
    buf_init(&sink->listing, LISTING_MAX);
    read_options(sink, argc, argv);
    set_auth(sink);
    loop_init(&sink->loop, "sink", 0);
    watch_signals(sink);
    open_all(sink);
    loop_run(&sink->loop);
    loop_fini(&sink->loop);
    if (sink->tls != NULL) {
        tls_context_drop(sink->tls);
    }
    if (sink->log_fd != -1) {
        (void)close(sink->log_fd); /* every line was written whole */
    }
    buf_fini(&sink->listing);
    buf_fini(&sink->auth);
    buf_fini(&sink->without);
    free(sink);
    return 0;
}
