/* tls_report_json.c - see tls_report_json.h. */
#include "mail/tls_report_json.h"

#include <string.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/crypto.h"
#include "base/json.h"
#include "mail/addr.h"

#define BOUNDARY  "report-on-tls-0b7ba5d1"
#define LINE_LEN  76
#define LINE_FEED "\r\n"

/* ---- JSON ----------------------------------------------------------------------------------- */

static void write_text(struct json_writer *w, const char *name, struct slice text)
{
    if (text.len > 0) {
        json_key(w, name);
        json_text(w, text);
    }
}

static void write_u64(struct json_writer *w, const char *name, uint64_t value)
{
    json_key(w, name);
    json_u64(w, value);
}

/* Whole seconds, as the RFC's example has them. */
static void write_time(struct json_writer *w, const char *name, uint64_t unix_ms)
{
    char text[CLOCK_TEXT_MAX];
    (void)clock_rfc3339(unix_ms, text); /* "2026-11-21T06:38:51.123Z" */
    memcpy(text + 19, "Z", 2);
    json_key(w, name);
    json_text(w, slice_str(text));
}

static void write_lines(struct json_writer *w, const char *name, struct slice text,
                        struct slice prefix)
{
    json_key(w, name);
    json_open_array(w);
    while (text.data != NULL) {
        struct slice line = slice_trim(slice_cut(&text, '\n'));
        if (line.len > 0 && slice_starts(line, prefix)) {
            json_text(w, slice_trim(slice_from(line, prefix.len)));
        }
    }
    json_close_array(w);
}

static void write_policy(struct json_writer *w, const struct tls_report_doc *doc,
                         const struct tls_report_part *part)
{
    json_key(w, "policy");
    json_open_object(w);
    write_text(w, "policy-type", part->type);
    if (part->text.len > 0) {
        write_lines(w, "policy-string", part->text, SLICE(""));
    }
    write_text(w, "policy-domain", doc->domain);
    if (slice_equal(part->type, SLICE("sts")) && part->text.len > 0) {
        write_lines(w, "mx-host", part->text, SLICE("mx:"));
    }
    json_close_object(w);
}

static void write_details(struct json_writer *w, const struct tls_report_part *part)
{
    json_key(w, "failure-details");
    json_open_array(w);
    for (uint32_t i = 0; i < part->detail_count; i++) {
        const struct tls_report_detail *detail = &part->details[i];
        json_open_object(w);
        write_text(w, "result-type", detail->result);
        write_text(w, "sending-mta-ip", detail->sending_ip);
        write_text(w, "receiving-mx-hostname", detail->mx_host);
        write_text(w, "receiving-ip", detail->mx_ip);
        write_u64(w, "failed-session-count", detail->sessions);
        json_close_object(w);
    }
    json_close_array(w);
}

static void write_part(struct json_writer *w, const struct tls_report_doc *doc,
                       const struct tls_report_part *part)
{
    json_open_object(w);
    write_policy(w, doc, part);
    json_key(w, "summary");
    json_open_object(w);
    write_u64(w, "total-successful-session-count", part->successes);
    write_u64(w, "total-failure-session-count", part->failures);
    json_close_object(w);
    if (part->detail_count > 0) {
        write_details(w, part);
    }
    json_close_object(w);
}

void tls_report_write_json(const struct tls_report_doc *doc, struct buf *out)
{
    struct json_writer w;
    json_start(&w, out);
    json_open_object(&w);
    write_text(&w, "organization-name", doc->organization);
    json_key(&w, "date-range");
    json_open_object(&w);
    write_time(&w, "start-datetime", doc->start_unix_ms);
    write_time(&w, "end-datetime", doc->end_unix_ms);
    json_close_object(&w);
    write_text(&w, "contact-info", doc->contact);
    write_text(&w, "report-id", doc->id);
    json_key(&w, "policies");
    json_open_array(&w);
    for (uint32_t i = 0; i < doc->part_count; i++) {
        write_part(&w, doc, &doc->parts[i]);
    }
    json_close_array(&w);
    json_close_object(&w);
}

/* ---- mail ----------------------------------------------------------------------------------- */

static void add_base64(struct buf *out, struct slice bytes)
{
    char line[LINE_LEN];
    while (bytes.len > 0) {
        struct slice part = slice_head(bytes, LINE_LEN / 4 * 3);
        buf_add(out, slice_of(line, base64_encode(part, line)));
        buf_add_str(out, LINE_FEED);
        bytes = slice_from(bytes, part.len);
    }
}

static void add_fields(const struct tls_report_mail *mail, struct buf *out)
{
    const struct tls_report_doc *doc = mail->doc;
    char date[CLOCK_TEXT_MAX];
    (void)clock_rfc5322(mail->date_unix_ms, date); /* terminated; no length needed */
    buf_add_format(out, "From: <%.*s>" LINE_FEED "To: <%.*s>" LINE_FEED "Date: %s" LINE_FEED,
                   SLICE_FMT(mail->from), SLICE_FMT(mail->to), date);
    buf_add_format(out, "Subject: Report Domain: %.*s" LINE_FEED " Submitter: %.*s" LINE_FEED,
                   SLICE_FMT(doc->domain), SLICE_FMT(mail->submitter));
    buf_add_format(out, " Report-ID: <%.*s>" LINE_FEED, SLICE_FMT(doc->id));
    buf_add_format(out, "TLS-Report-Domain: %.*s" LINE_FEED "TLS-Report-Submitter: %.*s" LINE_FEED,
                   SLICE_FMT(doc->domain), SLICE_FMT(mail->submitter));
    /* A report on broken TLS has to arrive in spite of it: RFC 8460 3, RFC 8689 5. */
    buf_add_str(out, "TLS-Required: No" LINE_FEED "MIME-Version: 1.0" LINE_FEED
                     "Content-Type: multipart/report; report-type=\"tlsrpt\";" LINE_FEED
                     " boundary=\"" BOUNDARY "\"" LINE_FEED LINE_FEED);
}

/* RFC 8460 5.1: who reports, on whom, from when to when. */
static void add_name(const struct tls_report_mail *mail, struct buf *out)
{
    buf_add_format(out, "%.*s!%.*s!%llu!%llu.json.gz", SLICE_FMT(mail->submitter),
                   SLICE_FMT(mail->doc->domain),
                   (unsigned long long)(mail->doc->start_unix_ms / 1000),
                   (unsigned long long)(mail->doc->end_unix_ms / 1000));
}

void tls_report_write_mail(const struct tls_report_mail *mail, struct buf *out)
{
    add_fields(mail, out);
    buf_add_str(out, "--" BOUNDARY LINE_FEED
                     "Content-Type: text/plain; charset=us-ascii" LINE_FEED LINE_FEED);
    buf_add_format(out,
                   "This is a report on TLS towards the mail hosts of %.*s" LINE_FEED
                   "by %.*s (RFC 8460)." LINE_FEED LINE_FEED,
                   SLICE_FMT(mail->doc->domain), SLICE_FMT(mail->submitter));
    buf_add_str(out, "--" BOUNDARY LINE_FEED "Content-Type: application/tlsrpt+gzip" LINE_FEED
                     "Content-Transfer-Encoding: base64" LINE_FEED
                     "Content-Disposition: attachment;" LINE_FEED " filename=\"");
    add_name(mail, out);
    buf_add_str(out, "\"" LINE_FEED LINE_FEED);
    add_base64(out, mail->packed);
    buf_add_str(out, "--" BOUNDARY "--" LINE_FEED);
}

/* ---- where reports are wanted --------------------------------------------------------------- */

/* Percent-decoding, RFC 3986 2.1. False when a '%' has no two digits. */
static bool decode(struct slice text, struct arena *arena, struct slice *out)
{
    char *bytes = arena_alloc(arena, text.len + 1);
    size_t len = 0;
    for (size_t i = 0; i < text.len; i++) {
        bytes[len] = text.data[i];
        if (text.data[i] == '%') {
            int high = i + 2 < text.len ? ascii_hex_value(text.data[i + 1]) : -1;
            int low = i + 2 < text.len ? ascii_hex_value(text.data[i + 2]) : -1;
            if (high < 0 || low < 0) {
                return false;
            }
            bytes[len] = (char)(high << 4 | low);
            i += 2;
        }
        len += 1;
    }
    *out = slice_of(bytes, len);
    return true;
}

static bool take_mailto(struct slice text, struct arena *arena, struct slice *address)
{
    struct slice plain;
    struct addr addr;
    text = slice_cut(&text, '?'); /* header fields that the domain would like; RFC 8460 has none */
    if (text.len > ADDR_MAX * 3 || !decode(text, arena, &plain) ||
        addr_parse(plain, arena, &addr) != ERR_OK || addr.needs_utf8) {
        return false;
    }
    *address = addr.text;
    return true;
}

uint32_t tls_report_targets(const struct text_records *records, struct arena *arena,
                            struct tls_report_target targets[TLS_REPORT_TARGETS])
{
    struct slice list;
    uint32_t count = 0;
    if (!text_record_field(records, SLICE("v=TLSRPTv1"), SLICE("rua"), &list)) {
        return 0;
    }
    while (list.data != NULL && count < TLS_REPORT_TARGETS) {
        struct slice uri = slice_trim(slice_cut(&list, ','));
        struct tls_report_target *target = &targets[count];
        if (slice_starts_nocase(uri, SLICE("https://")) && uri.len <= HTTP_CALL_URL_MAX) {
            *target = (struct tls_report_target){TLS_REPORT_HTTPS, uri};
            count += 1;
        } else if (slice_starts_nocase(uri, SLICE("mailto:")) &&
                   take_mailto(slice_from(uri, 7), arena, &target->address)) {
            target->way = TLS_REPORT_MAILTO;
            count += 1;
        }
    }
    return count;
}
