/* sink_mail.c - what becomes of a mail: a file, a line of the log, an entry of the list. */
#include "sink.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <unistd.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/crypto.h"
#include "base/json.h"

#define QUEUE_ID_LEN 10

/* The value of a header field, unfolded lines left out; empty when absent. */
static struct slice find_field(struct slice mail, struct slice name)
{
    while (mail.data != NULL) {
        struct slice line = slice_cut(&mail, '\n');
        if (slice_trim(line).len == 0) {
            break;
        }
        if (slice_starts_nocase(line, name) &&
            slice_starts(slice_from(line, name.len), SLICE(":"))) {
            return slice_trim(slice_from(line, name.len + 1));
        }
    }
    return SLICE("");
}

static void note_flaw(struct session *session, struct buf *head, const char *flaw)
{
    session->sink->counts.flaws += 1;
    buf_add_format(head, "X-Sink-Flaw: %s\r\n", flaw);
}

static void note_flaws(struct session *session, struct buf *head)
{
    struct slice rest = buf_slice(&session->mail);
    bool has_long = false;
    while (rest.data != NULL) {
        has_long = has_long || slice_cut(&rest, '\n').len > LINE_MAX_BYTES + 1;
    }
    if (has_long) {
        note_flaw(session, head, "a line longer than 998 bytes");
    }
    if (session->unstuffer.has_bare) {
        note_flaw(session, head, "a bare CR or LF");
    }
    if (!session->is_8bit && !slice_is_ascii(buf_slice(&session->mail))) {
        note_flaw(session, head, "8-bit bytes without BODY=8BITMIME");
    }
}

static void store_mail(struct session *session, const char *queue_id)
{
    struct sink *sink = session->sink;
    struct buf head;
    buf_init(&head, MIB);
    buf_add_format(&head, "X-Sink-MailFrom: <%.*s>\r\n", SLICE_FMT(buf_slice(&session->from)));
    struct slice rcpts = buf_slice(&session->rcpts);
    struct slice rcpt;
    while (get_slice(&rcpts, &rcpt)) {
        buf_add_format(&head, "X-Sink-RcptTo: <%.*s>\r\n", SLICE_FMT(rcpt));
    }
    buf_add_format(&head, "X-Sink-Helo: %.*s\r\n", SLICE_FMT(buf_slice(&session->helo)));
    buf_add_format(&head, "X-Sink-Tls: %s\r\n",
                   session->is_tls ? tls_version(session->conn.tls) : "none");
    if (session->requires_tls) {
        buf_add_str(&head, "X-Sink-RequireTls: yes\r\n");
    }
    note_flaws(session, &head);

    struct buf path;
    buf_init(&path, 4096);
    sink->stored += 1;
    buf_add_format(&path, "%.*s/%06" PRIu64 "-%s.eml", SLICE_FMT(sink->options.store), sink->stored,
                   queue_id);
    sink_write_file(buf_slice(&path), buf_slice(&head), buf_slice(&session->mail));
    buf_fini(&path);
    buf_fini(&head);
}

/* One line a mail: milliseconds, Message-ID, sender, recipients with commas, bytes. */
static void log_mail(struct session *session)
{
    struct buf line;
    buf_init(&line, MIB);
    struct slice id = find_field(buf_slice(&session->mail), SLICE("Message-ID"));
    buf_add_u64(&line, clock_unix_ms());
    buf_add_format(&line, "\t%.*s\t%.*s\t", SLICE_FMT(id), SLICE_FMT(buf_slice(&session->from)));
    struct slice rcpts = buf_slice(&session->rcpts);
    struct slice rcpt;
    const char *comma = "";
    while (get_slice(&rcpts, &rcpt)) {
        buf_add_format(&line, "%s%.*s", comma, SLICE_FMT(rcpt));
        comma = ",";
    }
    buf_add_format(&line, "\t%" PRIu64 "\n", session->mail_bytes);
    if (write(session->sink->log_fd, line.data, line.len) != (ssize_t)line.len) {
        fatal("cannot write the log: %s; free some space", strerror(errno));
    }
    buf_fini(&line);
}

static void list_mail(struct session *session)
{
    struct sink *sink = session->sink;
    struct buf entry;
    struct json_writer w;
    buf_init(&entry, MIB);
    json_start(&w, &entry);
    json_open_object(&w);
    json_key(&w, "n");
    json_u64(&w, sink->counts.mails);
    json_key(&w, "from");
    json_text(&w, buf_slice(&session->from));
    json_key(&w, "to");
    json_open_array(&w);
    struct slice rcpts = buf_slice(&session->rcpts);
    struct slice rcpt;
    while (get_slice(&rcpts, &rcpt)) {
        json_text(&w, rcpt);
    }
    json_close_array(&w);
    json_key(&w, "messageId");
    json_text(&w, find_field(buf_slice(&session->mail), SLICE("Message-ID")));
    json_key(&w, "subject");
    json_text(&w, find_field(buf_slice(&session->mail), SLICE("Subject")));
    json_key(&w, "bytes");
    json_u64(&w, session->mail_bytes);
    json_close_object(&w);
    if (sink->listing.len + entry.len + 1 < LISTING_MAX) {
        if (sink->listing.len > 0) {
            buf_add_byte(&sink->listing, ',');
        }
        buf_add(&sink->listing, buf_slice(&entry));
    }
    buf_fini(&entry);
}

void sink_take_mail(struct session *session)
{
    struct sink *sink = session->sink;
    struct counts *counts = &sink->counts;
    char queue_id[QUEUE_ID_LEN + 1] = {0};
    crypto_random_base62(queue_id, QUEUE_ID_LEN);
    counts->last_us = clock_mono_us();
    if (counts->mails == 0) {
        counts->first_us = counts->last_us;
    }
    counts->mails += 1;
    counts->rcpts += session->rcpt_count;
    counts->bytes += session->mail_bytes;
    session->mail_count += 1;
    if (sink->options.store.len > 0) {
        store_mail(session, queue_id);
    }
    if (sink->log_fd != -1) {
        log_mail(session);
    }
    if (sink->has_web && !sink->options.is_quiet) {
        list_mail(session);
    }
    buf_add_format(&session->out, "250 2.0.0 queued as %s\r\n", queue_id);
}
