/* meerkatctl_message.c - the whole life of one mail, as it is stored. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "meerkatctl_look.h"

/* ---- lines ----------------------------------------------------------------------------------- */

static void print_field(const char *name, const char *text)
{
    if (text[0] != '\0') {
        printf("%-12s", name);
        ctl_print_safely(text);
        printf("\n");
    }
}

/* A text, or a list of them; a long text is an object that tells how it begins. */
static const char *text_of(struct ctl *ctl, json_t *value)
{
    size_t index;
    json_t *item;
    const char *text = "";
    if (json_is_object(value)) {
        return ctl_text(ctl, "%s...", ctl_member_text(value, "begins"));
    }
    if (json_is_string(value)) {
        return json_string_value(value);
    }
    json_array_foreach(value, index, item)
    {
        text = ctl_text(ctl, "%s%s%s", text, index > 0 ? ", " : "", text_of(ctl, item));
    }
    return text;
}

static const char *member(struct ctl *ctl, json_t *from, const char *path)
{
    return text_of(ctl, ctl_member(from, path));
}

/* "2026-01-31 12:00:00 (3 m ago)" */
static const char *date_of(struct ctl *ctl, json_t *from, const char *path)
{
    const char *date = ctl_member_text(from, path);
    return date[0] == '\0' ? ""
                           : ctl_text(ctl, "%.10s %.8s (%s)", date,
                                      strlen(date) > 19 ? date + 11 : "", look_ago(ctl, date));
}

static uint64_t unix_ms_of(json_t *from, const char *path)
{
    uint64_t unix_ms = 0;
    return clock_parse_rfc3339(slice_str(ctl_member_text(from, path)), &unix_ms) == ERR_OK ? unix_ms
                                                                                           : 0;
}

/* ---- the mail -------------------------------------------------------------------------------- */

static void print_inbound(struct ctl *ctl, json_t *mail)
{
    print_field("for", member(ctl, mail, "envelope_to"));
    print_field("sender", member(ctl, mail, "envelope_from"));
    print_field("came from", ctl_text(ctl, "%s %s", ctl_member_text(mail, "remote_addr"),
                                      ctl_member_text(mail, "helo")));
    print_field("verdicts",
                ctl_text(ctl, "spf %s, dkim %s, dmarc %s", ctl_member_text(mail, "spf"),
                         ctl_member_text(mail, "dkim"), ctl_member_text(mail, "dmarc")));
    print_field("spam", member(ctl, mail, "spam"));
    print_field("report", member(ctl, mail, "report"));
}

static void print_mail(struct ctl *ctl, json_t *stored)
{
    json_t *mail = json_object_get(stored, "mail");
    const char *name = member(ctl, mail, "from_name");
    bool is_inbound = strcmp(ctl_member_text(mail, "direction"), "inbound") == 0;
    print_field("message", ctl_member_text(stored, "id"));
    print_field("account", ctl_text(ctl, "%s, in shard %" PRIu64,
                                    ctl_member_text(stored, "account"), doc_u64(stored, "shard")));
    if (!json_is_object(mail)) {
        printf("its own row is gone or damaged; what is left of it is below\n");
        return;
    }
    print_field("from", ctl_text(ctl, "%s%s<%s>", name, name[0] != '\0' ? " " : "",
                                 member(ctl, mail, "from_addr")));
    print_field("to", member(ctl, mail, "to"));
    print_field("cc", member(ctl, mail, "cc"));
    print_field("bcc", member(ctl, mail, "bcc"));
    print_field("subject", member(ctl, mail, "subject"));
    print_field("message-id", member(ctl, mail, "message_id"));
    print_field("received", date_of(ctl, mail, "received_unix_ms"));
    print_field("scheduled", date_of(ctl, mail, "scheduled_unix_ms"));
    print_field("status", ctl_text(ctl, "%s, %s, %s%s",
                                   is_inbound ? "received" : ctl_member_text(mail, "status"),
                                   ctl_member_text(mail, "mode"), ctl_member_text(mail, "priority"),
                                   doc_is(mail, "is_sandbox") ? ", sandbox" : ""));
    print_field("key", ctl_member_text(mail, "key"));
    print_field("tags", member(ctl, mail, "tags"));
    if (is_inbound) {
        print_inbound(ctl, mail);
    }
    print_field("size", ctl_text(ctl, "%s in %" PRIu64 " of %" PRIu64 " pieces",
                                 look_bytes(ctl, doc_u64(stored, "chunkBytes")),
                                 doc_u64(stored, "chunks"), doc_u64(mail, "chunk_count")));
    print_field("folder", member(ctl, stored, "state.folder"));
}

/* ---- deliveries ------------------------------------------------------------------------------ */

static void print_attempt(struct ctl *ctl, json_t *attempt)
{
    json_t *row = json_object_get(attempt, "row");
    const uint64_t began = unix_ms_of(row, "started_unix_ms");
    const uint64_t ended = unix_ms_of(row, "ended_unix_ms");
    if (!json_is_object(row)) {
        printf("    try %" PRIu64 "  DAMAGED\n", doc_u64(attempt, "try"));
        return;
    }
    printf("    try %" PRIu64 "  ", doc_u64(attempt, "try"));
    ctl_print_safely(ctl_text(ctl, "%s, %.1f s: %s at %s", date_of(ctl, row, "started_unix_ms"),
                              ended > began ? (double)(ended - began) / 1000 : 0.0,
                              ctl_member_text(row, "outcome"), ctl_member_text(row, "step")));
    printf("\n");
    if (doc_u64(row, "code") > 0 || member(ctl, row, "response")[0] != '\0') {
        printf("           ");
        ctl_print_safely(ctl_text(ctl, "%" PRIu64 " %s %s", doc_u64(row, "code"),
                                  member(ctl, row, "enhanced"), member(ctl, row, "response")));
        printf("\n");
    }
    if (ctl_member_text(row, "remote_host")[0] != '\0') {
        printf("           ");
        ctl_print_safely(ctl_text(ctl, "%s [%s]%s%s%s%s", ctl_member_text(row, "remote_host"),
                                  ctl_member_text(row, "remote_addr"),
                                  ctl_member_text(row, "tls")[0] != '\0' ? ", " : "",
                                  ctl_member_text(row, "tls"),
                                  ctl_member_text(row, "bounce_class")[0] != '\0' ? ", class " : "",
                                  ctl_member_text(row, "bounce_class")));
        printf("\n");
    }
}

static const char *due_text(struct ctl *ctl, json_t *delivery)
{
    if (ctl_member_text(delivery, "dueAt")[0] == '\0') {
        return "";
    }
    return ctl_text(ctl, ", next try %s%s", date_of(ctl, delivery, "dueAt"),
                    json_is_object(json_object_get(delivery, "outbox"))
                        ? ""
                        : " (its outbox row is not under that time)");
}

static void print_delivery(struct ctl *ctl, json_t *delivery)
{
    size_t index;
    json_t *attempt;
    json_t *row = json_object_get(delivery, "row");
    bool is_hook = strcmp(ctl_member_text(row, "kind"), "webhook") == 0;
    printf("#%" PRIu64 "  ", doc_u64(delivery, "index"));
    if (!json_is_object(row)) {
        printf("DAMAGED\n");
        return;
    }
    ctl_print_safely(ctl_text(ctl, "%s%s", is_hook ? "webhook " : "",
                              is_hook ? member(ctl, row, "url") : member(ctl, row, "recipient")));
    printf("  (%s)\n    ", ctl_member_text(row, "id"));
    bool is_open = strcmp(ctl_member_text(row, "status"), "pending") == 0 ||
                   strcmp(ctl_member_text(row, "status"), "deferred") == 0 ||
                   strcmp(ctl_member_text(row, "status"), "scheduled") == 0;
    ctl_print_safely(ctl_text(
        ctl, "%s after %" PRIu64 " %s%s", ctl_member_text(row, "status"), doc_u64(row, "attempts"),
        doc_u64(row, "attempts") == 1 ? "try" : "tries", is_open ? due_text(ctl, delivery) : ""));
    printf("\n");
    json_array_foreach(json_object_get(delivery, "attempts"), index, attempt)
    {
        print_attempt(ctl, attempt);
    }
}

/* ---- the rest -------------------------------------------------------------------------------- */

static void print_events(struct ctl *ctl, json_t *list)
{
    size_t index;
    json_t *event;
    json_array_foreach(list, index, event)
    {
        json_t *row = json_object_get(event, "row");
        const char *date = ctl_member_text(row, "created_unix_ms");
        const char *detail = member(ctl, row, "detail");
        printf("%s", index == 0 ? "\nEVENTS\n" : "");
        ctl_print_safely(
            ctl_text(ctl, "%.10s %.12s  %-24s %s%s%s", date, strlen(date) > 11 ? date + 11 : "",
                     json_is_object(row) ? ctl_member_text(row, "type") : "DAMAGED",
                     member(ctl, row, "recipient"), detail[0] != '\0' ? "  " : "", detail));
        printf("\n");
    }
}

static void print_attachments(struct ctl *ctl, json_t *list)
{
    size_t index;
    json_t *attachment;
    json_array_foreach(list, index, attachment)
    {
        json_t *row = json_object_get(attachment, "row");
        printf("%s#%" PRIu64 "  ", index == 0 ? "\nATTACHMENTS\n" : "",
               doc_u64(attachment, "index"));
        ctl_print_safely(json_is_object(row) ? ctl_text(ctl, "%s  %s  %s, kept until %s",
                                                        member(ctl, row, "filename"),
                                                        member(ctl, row, "content_type"),
                                                        look_bytes(ctl, doc_u64(row, "size_bytes")),
                                                        date_of(ctl, row, "expires_unix_ms"))
                                             : "DAMAGED");
        printf("\n");
    }
}

/* Line by line, for a dialogue has many. */
static void print_transcripts(json_t *list)
{
    size_t index;
    json_t *transcript;
    json_array_foreach(list, index, transcript)
    {
        struct slice rest = slice_str(ctl_member_text(transcript, "text"));
        printf("%sgroup %" PRIu64 ", try %" PRIu64 "\n", index == 0 ? "\nTRANSCRIPTS\n" : "",
               doc_u64(transcript, "group"), doc_u64(transcript, "try"));
        while (rest.len > 0) {
            char line[2048];
            struct slice cut = slice_trim(slice_cut(&rest, '\n'));
            (void)snprintf(line, sizeof line, "%.*s", SLICE_FMT(cut)); /* a longer one is cut */
            printf("    ");
            ctl_print_safely(line);
            printf("\n");
        }
    }
}

static void print_all(struct ctl *ctl, json_t *stored)
{
    size_t index;
    json_t *delivery;
    print_mail(ctl, stored);
    json_array_foreach(json_object_get(stored, "deliveries"), index, delivery)
    {
        printf("%s", index == 0 ? "\nDELIVERIES\n" : "");
        print_delivery(ctl, delivery);
    }
    print_events(ctl, json_object_get(stored, "events"));
    print_attachments(ctl, json_object_get(stored, "attachments"));
    print_transcripts(json_object_get(stored, "transcripts"));
    if (doc_is(stored, "isCut")) {
        printf("\nthere is more; `shard %" PRIu64 " --prefix 'attempt %s' --all` shows all of it\n",
               doc_u64(stored, "shard"), ctl_member_text(stored, "id"));
    }
}

int run_message(struct ctl *ctl)
{
    struct look look;
    json_t *stored = NULL;
    uint64_t damaged = 0;
    int status = look_open(ctl, &look);
    if (status != EXIT_GOOD) {
        return status;
    }
    if (ctl_option(ctl, "raw") != NULL) {
        status = look_write_raw(&look, ctl->words[0]);
        look_close(&look);
        return status;
    }
    status = look_at_mail(&look, ctl->words[0], ctl_option(ctl, "transcripts") != NULL, &stored);
    if (status == EXIT_GOOD && ctl->is_json) {
        ctl_print_json(stored, false);
    } else if (status == EXIT_GOOD) {
        print_all(ctl, stored);
    }
    damaged = doc_u64(stored, "damaged");
    if (damaged > 0) {
        (void)fprintf(stderr,
                      "meerkatctl: %" PRIu64
                      " of its rows cannot be read; `meerkatctl verify` finds "
                      "all such rows\n",
                      damaged);
    }
    json_decref(stored);
    look_close(&look);
    return status == EXIT_GOOD && damaged > 0 ? EXIT_WRONG : status;
}
