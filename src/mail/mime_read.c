/* mime_read.c - a stack of multiparts, GMime for the words in between.
 *
 *   entity -> fields -> type -> multipart: onto the stack, its parts are entities
 *                            -> report, body, or file
 *
 * GMime 3.2.13 trusts the length of what it is given: the name of a charset goes on the stack and
 * then into a table for good, each ':' of an address list may be one more recursion, an encoded
 * word that does not end is searched for again from each start. mime_tame makes a value harmless
 * before GMime sees it; nothing else in this file may hand it bytes of a mail, but for its decoders
 * of base64 and quoted-printable, which are plain loops.
 */
#include "mail/mime_read.h"

#include "base/buf.h"
#include "base/check.h"
#include "base/limits.h"
#include "mail/charset.h"
#include "mail/header.h"
#include "mail/mime_split.h"
#include "mail/mime_tame.h"
#include "mail/mime_write.h"

#include <gmime/gmime.h>
#include <stdlib.h>
#include <string.h>

#define LINE_BYTES_MAX (4 * MIME_TAMED_MAX)
#define DECODE_SLACK   16  /* bytes a decoder may write more than it reads */
#define TYPE_MAX       127 /* RFC 6838 4.2: each half of a media type */
#define YEAR_10000_S   INT64_C(253402300800)
#define GROUP_NEST_MAX 2

enum transfer { TRANSFER_NONE, TRANSFER_BASE64, TRANSFER_QUOTED };

struct level {
    struct mime_split split;
    struct slice content;
    uint32_t id; /* of the multipart, from 1 in order */
    bool is_alternative;
    bool is_related;
    bool is_digest;
};

struct part {
    struct slice content; /* still encoded */
    struct slice type;
    struct slice boundary;
    struct slice charset;
    struct slice filename;
    struct slice content_id;
    enum transfer transfer;
    bool is_multipart;
    bool is_attachment; /* says so */
    bool is_inline;     /* says so */
};

struct reader {
    struct mime_read *mail;
    struct arena *arena;
    GMimeParserOptions *options;
    struct buf tamed; /* one value for GMime, terminated */
    struct buf line;  /* one value of GMime, cleaned */
    size_t fields_left;
    size_t params_left;
    struct level levels[MIME_DEPTH_MAX];
    uint32_t depth;
    uint32_t multipart_count;
    uint32_t html_alternative; /* id of the alternative that holds the html, 0: none */
    bool is_full;              /* the arena */
};

/* Raw values of fields that occur once; the first counts. */
struct root_fields {
    struct slice from, sender, subject, message_id, in_reply_to, references, date;
    struct slice auto_submitted, list_id, precedence;
};

struct part_fields {
    struct slice type, disposition, transfer, id;
};

struct wanted {
    struct slice name;
    size_t offset; /* of a struct slice */
};

static void start(struct reader *reader, struct arena *arena, struct mime_read *mail);
static void stop(struct reader *reader);
static void read_root(struct reader *reader, struct slice headers);
static void read_identity(struct reader *reader, const struct root_fields *fields);
static bool pick(const struct header_field *field, const struct wanted *wanted, size_t count,
                 void *base);
static void keep_field(struct reader *reader, const struct header_field *field);
static void read_ids(struct reader *reader, const struct root_fields *fields);
static struct slice read_id(struct reader *reader, struct slice value);
static void read_date(struct reader *reader, struct slice value);
static void read_from(struct reader *reader, struct slice value);
static void read_addrs(struct reader *reader, struct slice value, size_t *left,
                       struct mime_addr_list *list);
static void add_addrs(struct reader *reader, InternetAddressList *found, uint32_t nest,
                      struct mime_addr_list *list);
static void walk(struct reader *reader);
static void visit(struct reader *reader, struct slice headers, struct slice content);
static void visit_leaf(struct reader *reader, struct part *part);
static const struct level *parent_of(const struct reader *reader);
static void read_part(struct reader *reader, struct slice headers, struct part *part);
static void read_type(struct reader *reader, struct slice value, struct part *part);
static void read_disposition(struct reader *reader, struct slice value, struct part *part);
static bool is_body(const struct reader *reader, const struct part *part, bool is_html);
static void take_text(struct reader *reader, const struct part *part, struct mime_text *out);
static bool take_report(struct reader *reader, const struct part *part);
static void take_file(struct reader *reader, struct part *part);
static struct slice decode(struct reader *reader, const struct part *part);
static size_t decode_to(const struct part *part, char *to);
static char *tame(struct reader *reader, struct slice value, size_t max, enum mime_tame as);
static struct slice clean_line(struct reader *reader, const char *text, size_t max);
static struct slice keep(struct reader *reader, struct slice text);
static void *grow(struct reader *reader, void *items, uint32_t count, size_t size);
static void damage(struct reader *reader, enum mime_damage what);

void mime_read_init(void)
{
    g_mime_init();
}

void mime_read_fini(void)
{
    g_mime_shutdown();
}

enum err mime_read(struct slice raw, struct arena *arena, struct mime_read *mail)
{
    struct mime_read read = {.damage = 0};
    if (raw.len > MAIL_BYTES_MAX) {
        return ERR_TOO_LARGE;
    }
    struct reader *reader = mem_zalloc(sizeof *reader);
    start(reader, arena, &read);
    struct slice headers;
    struct slice content;
    if (!mime_split_entity(raw, &headers, &content)) {
        damage(reader, MIME_BAD_HEADERS);
    }
    read_root(reader, headers);
    visit(reader, headers, content);
    walk(reader);
    read.is_damaged = read.damage != 0;
    bool is_full = reader->is_full;
    stop(reader);
    free(reader);
    if (is_full) {
        return ERR_TOO_LARGE;
    }
    *mail = read;
    return ERR_OK;
}

static void start(struct reader *reader, struct arena *arena, struct mime_read *mail)
{
    const char *guesses[] = {"utf-8", CHARSET_FALLBACK, NULL}; /* for bytes above 127 in a field */
    reader->mail = mail;
    reader->arena = arena;
    reader->fields_left = MIME_FIELD_BYTES_MAX;
    reader->params_left = MIME_PARAM_BYTES_MAX;
    buf_init(&reader->tamed, MIME_TAMED_MAX);
    buf_init(&reader->line, LINE_BYTES_MAX);
    reader->options = g_mime_parser_options_new();
    g_mime_parser_options_set_fallback_charsets(reader->options, guesses);
}

static void stop(struct reader *reader)
{
    g_mime_parser_options_free(reader->options);
    buf_fini(&reader->tamed);
    buf_fini(&reader->line);
}

struct slice mime_thread_root(const struct mime_read *mail)
{
    if (mail->reference_count > 0) {
        return mail->references[0];
    }
    return mail->in_reply_to.len > 0 ? mail->in_reply_to : mail->message_id;
}

struct slice mime_field_value(const struct mime_read *mail, struct slice name)
{
    for (uint32_t i = 0; i < mail->field_count; i++) {
        if (slice_equal_nocase(mail->fields[i].name, name)) {
            return mail->fields[i].value;
        }
    }
    return SLICE("");
}

/* ---- fields of the mail --------------------------------------------------------------------- */

static void read_root(struct reader *reader, struct slice headers)
{
    static const struct wanted wanted[] = {
        {SLICE_INIT("From"), offsetof(struct root_fields, from)},
        {SLICE_INIT("Sender"), offsetof(struct root_fields, sender)},
        {SLICE_INIT("Subject"), offsetof(struct root_fields, subject)},
        {SLICE_INIT("Message-ID"), offsetof(struct root_fields, message_id)},
        {SLICE_INIT("In-Reply-To"), offsetof(struct root_fields, in_reply_to)},
        {SLICE_INIT("References"), offsetof(struct root_fields, references)},
        {SLICE_INIT("Date"), offsetof(struct root_fields, date)},
        {SLICE_INIT("Auto-Submitted"), offsetof(struct root_fields, auto_submitted)},
        {SLICE_INIT("List-Id"), offsetof(struct root_fields, list_id)},
        {SLICE_INIT("Precedence"), offsetof(struct root_fields, precedence)},
    };
    struct mime_read *mail = reader->mail;
    struct {
        struct slice name;
        struct mime_addr_list *list;
        size_t left;
    } lists[] = {
        {SLICE("To"), &mail->to, MIME_ADDRS_FIELD_MAX},
        {SLICE("Cc"), &mail->cc, MIME_ADDRS_FIELD_MAX},
        {SLICE("Reply-To"), &mail->reply_to, MIME_ADDRS_FIELD_MAX},
    };
    struct root_fields found = {.from = SLICE("")};
    struct slice rest = headers;
    struct header_field field;
    while (header_next(&rest, &field)) {
        if (!header_name_is_valid(field.name)) {
            bool is_mbox_line =
                field.whole.data == headers.data && slice_starts(field.whole, SLICE("From "));
            if (!is_mbox_line) {
                damage(reader, MIME_BAD_HEADERS);
            }
            continue;
        }
        keep_field(reader, &field);
        if (pick(&field, wanted, ARRAY_LEN(wanted), &found)) {
            continue;
        }
        for (size_t i = 0; i < ARRAY_LEN(lists); i++) {
            if (slice_equal_nocase(field.name, lists[i].name)) {
                read_addrs(reader, field.value, &lists[i].left, lists[i].list);
            }
        }
    }
    read_identity(reader, &found);
}

static void read_identity(struct reader *reader, const struct root_fields *fields)
{
    struct mime_read *mail = reader->mail;
    struct {
        struct slice value;
        struct slice *out;
        size_t max;
    } texts[] = {
        {fields->subject, &mail->subject, SUBJECT_MAX},
        {fields->auto_submitted, &mail->auto_submitted, LINE_MAX_BYTES},
        {fields->list_id, &mail->list_id, LINE_MAX_BYTES},
        {fields->precedence, &mail->precedence, LINE_MAX_BYTES},
    };
    for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
        char *text = g_mime_utils_header_decode_text(
            reader->options, tame(reader, texts[i].value, MIME_FIELD_MAX, MIME_TAME_TEXT));
        *texts[i].out = clean_line(reader, text, texts[i].max);
        g_free(text);
    }
    read_from(reader, fields->from);
    if (mail->from.address.len == 0 && mail->from.name.len == 0) {
        read_from(reader, fields->sender);
    }
    read_ids(reader, fields);
    read_date(reader, fields->date);
}

/* Notes the value of a field that is wanted, unless there was one before. */
static bool pick(const struct header_field *field, const struct wanted *wanted, size_t count,
                 void *base)
{
    for (size_t i = 0; i < count; i++) {
        if (slice_equal_nocase(field->name, wanted[i].name)) {
            struct slice *value = (struct slice *)(void *)((char *)base + wanted[i].offset);
            if (value->data == NULL || value->len == 0) {
                *value = slice_trim(field->value);
            }
            return true;
        }
    }
    return false;
}

static void keep_field(struct reader *reader, const struct header_field *field)
{
    struct mime_read *mail = reader->mail;
    if (mail->field_count == MIME_FIELDS_MAX || reader->fields_left == 0) {
        damage(reader, MIME_MANY_FIELDS);
        return;
    }
    size_t max = min_size(MIME_FIELD_MAX, reader->fields_left);
    reader->fields_left -= min_size(field->value.len, max);
    char *text = g_mime_utils_header_decode_text(reader->options,
                                                 tame(reader, field->value, max, MIME_TAME_TEXT));
    struct mime_field kept = {.name = field->name,
                              .value = clean_line(reader, text, MIME_FIELD_MAX)};
    g_free(text);
    mail->fields = grow(reader, mail->fields, mail->field_count, sizeof kept);
    if (!reader->is_full) {
        mail->fields[mail->field_count++] = kept;
    }
}

static void read_ids(struct reader *reader, const struct root_fields *fields)
{
    struct mime_read *mail = reader->mail;
    mail->message_id = read_id(reader, fields->message_id);
    mail->in_reply_to = read_id(reader, fields->in_reply_to);
    GMimeReferences *refs = g_mime_references_parse(
        reader->options, tame(reader, fields->references, MIME_FIELD_MAX, MIME_TAME_TEXT));
    int total = refs == NULL ? 0 : g_mime_references_length(refs);
    for (int i = 0; i < total; i++) {
        if (i == 1 && total > MIME_REFS_MAX) { /* the root, and those closest to this mail */
            i = total - MIME_REFS_MAX + 1;
            damage(reader, MIME_MANY_FIELDS);
        }
        struct slice id =
            clean_line(reader, g_mime_references_get_message_id(refs, i), LINE_MAX_BYTES);
        if (id.len == 0) {
            continue;
        }
        mail->references = grow(reader, mail->references, mail->reference_count, sizeof id);
        if (!reader->is_full) {
            mail->references[mail->reference_count++] = id;
        }
    }
    if (refs != NULL) {
        g_mime_references_free(refs);
    }
}

/* The first id between angle brackets; a lone word stands for one too. */
static struct slice read_id(struct reader *reader, struct slice value)
{
    value = slice_trim(slice_head(value, MIME_FIELD_MAX));
    size_t open = slice_find_byte(value, '<');
    struct slice id = open == SIZE_MAX ? value : slice_from(value, open + 1);
    size_t end = slice_find_byte(id, '>');
    id = slice_trim(end == SIZE_MAX ? id : slice_head(id, end));
    bool is_word = id.len > 0;
    for (size_t i = 0; i < id.len; i++) {
        is_word = is_word && !ascii_is_space(id.data[i]);
    }
    return is_word ? clean_line(reader, tame(reader, id, LINE_MAX_BYTES, MIME_TAME_TEXT),
                                LINE_MAX_BYTES)
                   : SLICE("");
}

static void read_date(struct reader *reader, struct slice value)
{
    if (value.len == 0) {
        return;
    }
    GDateTime *date =
        g_mime_utils_header_decode_date(tame(reader, value, LINE_MAX_BYTES, MIME_TAME_TEXT));
    if (date == NULL) {
        return;
    }
    int64_t seconds = g_date_time_to_unix(date);
    g_date_time_unref(date);
    if (seconds >= 0 && seconds < YEAR_10000_S) {
        reader->mail->has_date = true;
        reader->mail->date_unix_ms = (uint64_t)seconds * 1000;
    }
}

static void read_from(struct reader *reader, struct slice value)
{
    struct mime_addr_list list = {.count = 0};
    size_t left = MIME_FIELD_MAX;
    read_addrs(reader, value, &left, &list);
    if (list.count > 0) {
        reader->mail->from = list.items[0];
        return;
    }
    /* No address in it: whatever it says is better than nobody. */
    char *text = g_mime_utils_header_decode_text(
        reader->options, tame(reader, value, MIME_FIELD_MAX, MIME_TAME_TEXT));
    reader->mail->from.name = clean_line(reader, text, DISPLAY_NAME_MAX);
    g_free(text);
}

/* left: bytes that may still be read of this list, over all its fields. */
static void read_addrs(struct reader *reader, struct slice value, size_t *left,
                       struct mime_addr_list *list)
{
    value = slice_trim(value);
    if (value.len == 0 || *left == 0) {
        return;
    }
    const char *text = tame(reader, value, *left, MIME_TAME_ADDRS);
    *left -= min_size(value.len, *left);
    InternetAddressList *found = internet_address_list_parse(reader->options, text);
    if (found != NULL) {
        add_addrs(reader, found, 0, list);
        g_object_unref(found);
    }
}

static void add_addrs(struct reader *reader, InternetAddressList *found, uint32_t nest,
                      struct mime_addr_list *list)
{
    int total = internet_address_list_length(found);
    for (int i = 0; i < total && !reader->is_full; i++) {
        InternetAddress *item = internet_address_list_get_address(found, i);
        if (INTERNET_ADDRESS_IS_GROUP(item)) {
            InternetAddressList *members =
                internet_address_group_get_members(INTERNET_ADDRESS_GROUP(item));
            if (members != NULL && nest < GROUP_NEST_MAX) {
                add_addrs(reader, members, nest + 1, list);
            }
            continue;
        }
        if (list->count == MIME_ADDRS_MAX) {
            damage(reader, MIME_MANY_FIELDS);
            return;
        }
        struct mime_addr addr = {
            .name = clean_line(reader, internet_address_get_name(item), DISPLAY_NAME_MAX),
            .address = clean_line(reader,
                                  internet_address_mailbox_get_addr(INTERNET_ADDRESS_MAILBOX(item)),
                                  ADDR_MAX),
        };
        if (addr.address.len == 0) {
            continue;
        }
        list->items = grow(reader, list->items, list->count, sizeof addr);
        if (!reader->is_full) {
            list->items[list->count++] = addr;
        }
    }
}

/* ---- structure ------------------------------------------------------------------------------ */

static void walk(struct reader *reader)
{
    while (reader->depth > 0 && !reader->is_full) {
        struct level *level = &reader->levels[reader->depth - 1];
        struct slice entity;
        struct slice headers;
        struct slice content;
        if (mime_split_next(&level->split, &entity)) {
            if (reader->mail->part_count == MIME_PARTS_MAX) {
                damage(reader, MIME_TOO_MANY_PARTS);
                return;
            }
            if (!mime_split_entity(entity, &headers, &content)) {
                damage(reader, MIME_BAD_HEADERS);
            }
            visit(reader, headers, content);
            continue;
        }
        reader->depth--;
        if (!level->split.has_begun) {
            damage(reader, MIME_NO_BOUNDARY);
            struct part part = {.content = level->content, .type = SLICE("text/plain")};
            visit_leaf(reader, &part);
        } else if (!level->split.is_closed) {
            damage(reader, MIME_NOT_CLOSED);
        }
    }
}

static void visit(struct reader *reader, struct slice headers, struct slice content)
{
    struct part part = {.content = content};
    reader->mail->part_count++;
    read_part(reader, headers, &part);
    if (!part.is_multipart) {
        visit_leaf(reader, &part);
    } else if (part.boundary.len == 0) {
        damage(reader, MIME_NO_BOUNDARY);
        part.type = SLICE("text/plain");
        visit_leaf(reader, &part);
    } else if (reader->depth == MIME_DEPTH_MAX) {
        damage(reader, MIME_TOO_DEEP);
        part.type = SLICE("application/octet-stream");
        visit_leaf(reader, &part);
    } else {
        struct level *level = &reader->levels[reader->depth++];
        *level = (struct level){
            .content = part.content,
            .id = ++reader->multipart_count,
            .is_alternative = slice_equal(part.type, SLICE("multipart/alternative")),
            .is_related = slice_equal(part.type, SLICE("multipart/related")),
            .is_digest = slice_equal(part.type, SLICE("multipart/digest")),
        };
        mime_split_start(&level->split, part.content, part.boundary);
    }
}

static void visit_leaf(struct reader *reader, struct part *part)
{
    if (take_report(reader, part)) {
        return;
    }
    if (is_body(reader, part, false)) {
        take_text(reader, part, &reader->mail->text);
    } else if (is_body(reader, part, true)) {
        take_text(reader, part, &reader->mail->html);
        for (uint32_t i = reader->depth; i > 0 && reader->html_alternative == 0; i--) {
            if (reader->levels[i - 1].is_alternative) {
                reader->html_alternative = reader->levels[i - 1].id;
            }
        }
    } else {
        take_file(reader, part);
    }
}

/* The multipart that the part in hand belongs to; NULL: it is the mail itself. */
static const struct level *parent_of(const struct reader *reader)
{
    return reader->depth > 0 ? &reader->levels[reader->depth - 1] : NULL;
}

/* ---- one part's fields ---------------------------------------------------------------------- */

static void read_part(struct reader *reader, struct slice headers, struct part *part)
{
    static const struct wanted wanted[] = {
        {SLICE_INIT("Content-Type"), offsetof(struct part_fields, type)},
        {SLICE_INIT("Content-Disposition"), offsetof(struct part_fields, disposition)},
        {SLICE_INIT("Content-Transfer-Encoding"), offsetof(struct part_fields, transfer)},
        {SLICE_INIT("Content-ID"), offsetof(struct part_fields, id)},
    };
    struct part_fields found = {.type = SLICE("")};
    struct slice rest = headers;
    struct header_field field;
    while (header_next(&rest, &field)) {
        pick(&field, wanted, ARRAY_LEN(wanted), &found);
    }
    read_type(reader, found.type, part);
    read_disposition(reader, found.disposition, part);
    if (slice_starts_nocase(found.transfer, SLICE("base64"))) {
        part->transfer = TRANSFER_BASE64;
    } else if (slice_starts_nocase(found.transfer, SLICE("quoted-printable"))) {
        part->transfer = TRANSFER_QUOTED;
    }
    found.id = slice_trim(found.id);
    if (slice_starts(found.id, SLICE("<"))) {
        found.id = slice_from(found.id, 1);
    }
    found.id = slice_head(found.id, min_size(found.id.len, slice_find_byte(found.id, '>')));
    if (mime_content_id_is_valid(found.id) && slice_is_utf8(found.id)) {
        part->content_id = keep(reader, found.id);
    }
    const struct level *level = parent_of(reader);
    bool is_placed = level != NULL && level->is_related && part->content_id.len > 0;
    part->is_inline = part->is_inline || (is_placed && !part->is_attachment);
}

static bool is_type_token(const char *text)
{
    size_t len = strlen(text);
    for (size_t i = 0; i < len; i++) {
        if (text[i] <= 0x20 || text[i] >= 0x7f || strchr("()<>@,;:\\\"/[]?=", text[i]) != NULL) {
            return false;
        }
    }
    return len > 0 && len <= TYPE_MAX;
}

static void read_type(struct reader *reader, struct slice value, struct part *part)
{
    const struct level *level = parent_of(reader);
    if (value.len == 0) {
        bool is_digest = level != NULL && level->is_digest; /* RFC 2046 5.1.5 */
        part->type = is_digest ? SLICE("message/rfc822") : SLICE("text/plain");
        return;
    }
    size_t max = min_size(MIME_PARAMS_MAX, reader->params_left);
    reader->params_left -= min_size(max, value.len);
    GMimeContentType *type =
        g_mime_content_type_parse(reader->options, tame(reader, value, max, MIME_TAME_PARAMS));
    struct slice word =
        slice_trim(slice_head(value, min_size(value.len, slice_find_byte(value, ';'))));
    bool is_whole = slice_has_byte(word, '/'); /* GMime would guess the other half */
    bool is_text = !is_whole && (level == NULL || slice_equal_nocase(word, SLICE("text")));
    part->type = is_text ? SLICE("text/plain") : SLICE("application/octet-stream");
    if (type == NULL) {
        return;
    }
    const char *major = g_mime_content_type_get_media_type(type);
    const char *minor = g_mime_content_type_get_media_subtype(type);
    if (is_whole && major != NULL && minor != NULL && is_type_token(major) &&
        is_type_token(minor)) {
        buf_clear(&reader->line);
        buf_add_format(&reader->line, "%s/%s", major, minor);
        part->type = keep(reader, buf_slice(&reader->line));
        for (size_t i = 0; i < part->type.len; i++) {
            ((char *)(uintptr_t)part->type.data)[i] = ascii_lower(part->type.data[i]);
        }
    }
    const char *boundary = g_mime_content_type_get_parameter(type, "boundary");
    part->is_multipart = slice_starts(part->type, SLICE("multipart/"));
    if (part->is_multipart && boundary != NULL && strlen(boundary) <= MIME_BOUNDARY_MAX) {
        part->boundary = keep(reader, slice_trim(slice_str(boundary)));
    }
    const char *charset = g_mime_content_type_get_parameter(type, "charset");
    part->charset = clean_line(reader, charset, ATTACHMENT_NAME_MAX);
    const char *name = g_mime_content_type_get_parameter(type, "name");
    part->filename = clean_line(reader, name, MIME_PARAMS_MAX);
    g_object_unref(type);
}

static void read_disposition(struct reader *reader, struct slice value, struct part *part)
{
    if (value.len > 0) {
        size_t max = min_size(MIME_PARAMS_MAX, reader->params_left);
        reader->params_left -= min_size(max, value.len);
        GMimeContentDisposition *disposition = g_mime_content_disposition_parse(
            reader->options, tame(reader, value, max, MIME_TAME_PARAMS));
        if (disposition != NULL) {
            const char *kind = g_mime_content_disposition_get_disposition(disposition);
            const char *name = g_mime_content_disposition_get_parameter(disposition, "filename");
            part->is_inline = kind != NULL && slice_equal_nocase(slice_str(kind), SLICE("inline"));
            part->is_attachment = !part->is_inline; /* RFC 2183 2.8: what is unknown is one */
            if (name != NULL && name[0] != '\0') {
                part->filename = clean_line(reader, name, MIME_PARAMS_MAX);
            }
            g_object_unref(disposition);
        }
    }
    part->filename = mime_clean_filename(part->filename);
}

/* ---- what becomes of a part ----------------------------------------------------------------- */

/* As mail clients choose: the first text and the first html that are not attachments. A text behind
 * an html that it is no alternative to goes on from there (the footer of a mailing list, say). */
static bool is_body(const struct reader *reader, const struct part *part, bool is_html)
{
    const struct level *level = parent_of(reader);
    const struct mime_read *mail = reader->mail;
    bool is_named = part->filename.len > 0 && level != NULL && !level->is_alternative;
    if (part->is_attachment || is_named) {
        return false;
    }
    if (is_html) {
        return !mail->html.is_present && slice_equal(part->type, SLICE("text/html"));
    }
    bool is_after_html = mail->html.is_present;
    for (uint32_t i = 0; i < reader->depth; i++) {
        is_after_html = is_after_html && reader->levels[i].id != reader->html_alternative;
    }
    return !mail->text.is_present && !is_after_html && slice_equal(part->type, SLICE("text/plain"));
}

static void take_text(struct reader *reader, const struct part *part, struct mime_text *out)
{
    const char *charset = charset_find(part->charset);
    if (charset == NULL) {
        damage(reader, MIME_BAD_CHARSET);
    }
    char *decoded = mem_alloc(part->content.len + DECODE_SLACK);
    struct slice bytes = slice_of(decoded, decode_to(part, decoded));
    struct buf text;
    buf_init(&text, TEXT_BYTES_MAX);
    out->is_present = true;
    out->is_truncated = !charset_to_utf8(charset, bytes, &text);
    free(decoded);
    if (out->is_truncated) {
        damage(reader, MIME_TEXT_CUT);
    }
    size_t len = 0;
    for (size_t i = 0; i < text.len; i++) {
        bool is_pair = text.data[i] == '\r' && i + 1 < text.len && text.data[i + 1] == '\n';
        if (!is_pair) {
            text.data[len++] = text.data[i] == '\r' ? '\n' : text.data[i];
        }
    }
    out->text = keep(reader, slice_of(text.data, len));
    buf_fini(&text);
}

static bool take_report(struct reader *reader, const struct part *part)
{
    static const struct {
        struct slice type;
        enum mime_report_kind kind;
    } kinds[] = {
        {SLICE_INIT("message/delivery-status"), MIME_REPORT_DELIVERY},
        {SLICE_INIT("message/global-delivery-status"), MIME_REPORT_DELIVERY},
        {SLICE_INIT("message/feedback-report"), MIME_REPORT_FEEDBACK},
        {SLICE_INIT("message/disposition-notification"), MIME_REPORT_DISPOSITION},
        {SLICE_INIT("message/global-disposition-notification"), MIME_REPORT_DISPOSITION},
        {SLICE_INIT("text/rfc822-headers"), MIME_REPORT_HEADERS},
        {SLICE_INIT("text/rfc822-header"), MIME_REPORT_HEADERS},
        {SLICE_INIT("message/global-headers"), MIME_REPORT_HEADERS},
    };
    struct mime_read *mail = reader->mail;
    for (size_t i = 0; i < ARRAY_LEN(kinds) && mail->report_count < MIME_REPORTS_MAX; i++) {
        if (slice_equal(part->type, kinds[i].type)) {
            struct mime_report report = {.kind = kinds[i].kind, .data = decode(reader, part)};
            mail->reports = grow(reader, mail->reports, mail->report_count, sizeof report);
            if (!reader->is_full) {
                mail->reports[mail->report_count++] = report;
            }
            return true;
        }
    }
    return false;
}

static void take_file(struct reader *reader, struct part *part)
{
    struct mime_read *mail = reader->mail;
    struct mime_file file = {
        .filename = part->filename,
        .content_type = part->type,
        .content_id = part->content_id,
        .data = decode(reader, part),
        .is_inline = part->is_inline,
    };
    if (file.filename.len == 0 && slice_equal(part->type, SLICE("message/rfc822"))) {
        file.filename = SLICE("message.eml");
    } else if (file.filename.len == 0 && slice_equal(part->type, SLICE("text/calendar"))) {
        file.filename = SLICE("invite.ics");
    }
    file.digest = crypto_sha256(file.data);
    mail->files = grow(reader, mail->files, mail->file_count, sizeof file);
    if (!reader->is_full) {
        mail->files[mail->file_count++] = file;
    }
}

/* ---- bytes ---------------------------------------------------------------------------------- */

static struct slice decode(struct reader *reader, const struct part *part)
{
    if (part->transfer == TRANSFER_NONE || part->content.len == 0) {
        return part->content;
    }
    char *to = arena_try(reader->arena, part->content.len + DECODE_SLACK);
    if (to == NULL) {
        reader->is_full = true;
        return SLICE("");
    }
    return slice_of(to, decode_to(part, to));
}

/* to has room for the content and DECODE_SLACK. Damage is skipped (RFC 2045 6.7, 6.8). */
static size_t decode_to(const struct part *part, char *to)
{
    struct slice content = part->content;
    if (content.len == 0) {
        return 0;
    }
    if (part->transfer == TRANSFER_NONE) {
        memcpy(to, content.data, content.len);
        return content.len;
    }
    GMimeEncoding decoder;
    g_mime_encoding_init_decode(&decoder, part->transfer == TRANSFER_BASE64
                                              ? GMIME_CONTENT_ENCODING_BASE64
                                              : GMIME_CONTENT_ENCODING_QUOTEDPRINTABLE);
    CHECK(g_mime_encoding_outlen(&decoder, content.len) + 3 <= content.len + DECODE_SLACK);
    size_t len = g_mime_encoding_step(&decoder, content.data, content.len, to);
    if (part->transfer == TRANSFER_BASE64) {
        return len + g_mime_encoding_step(&decoder, "==", 2, to + len); /* where padding is cut */
    }
    return len + g_mime_encoding_flush(&decoder, "", 0, to + len);
}

static char *tame(struct reader *reader, struct slice value, size_t max, enum mime_tame as)
{
    if (!mime_tame(value, max, as, &reader->tamed)) {
        damage(reader, MIME_MANY_FIELDS);
    }
    return reader->tamed.data;
}

/* What GMime gave, as one line of UTF-8 in the arena: controls become spaces, ends are trimmed. */
static struct slice clean_line(struct reader *reader, const char *text, size_t max)
{
    struct buf *line = &reader->line;
    if (text == NULL) {
        return SLICE("");
    }
    buf_clear(line);
    (void)charset_to_utf8("utf-8", slice_str(text), line); /* cut below anyway */
    for (size_t i = 0; i < line->len; i++) {
        if ((uint8_t)line->data[i] < 0x20 || line->data[i] == 0x7f) {
            line->data[i] = ' ';
        }
    }
    struct slice clean = slice_trim(buf_slice(line));
    return keep(reader, slice_trim(slice_head(clean, utf8_head_len(clean, max))));
}

static struct slice keep(struct reader *reader, struct slice text)
{
    if (text.len == 0 || reader->is_full) {
        return SLICE("");
    }
    char *to = arena_try(reader->arena, text.len);
    if (to == NULL) {
        reader->is_full = true;
        return SLICE("");
    }
    memcpy(to, text.data, text.len);
    return slice_of(to, text.len);
}

/* Room for one more item, which must follow: an array of 4, 8, 16, ... is full when count is such a
 * number. */
static void *grow(struct reader *reader, void *items, uint32_t count, size_t size)
{
    bool is_power = (count & (count - 1)) == 0;
    if (reader->is_full || (count != 0 && (count < 4 || !is_power))) {
        return items;
    }
    void *room = arena_try(reader->arena, (count == 0 ? 4 : 2 * (size_t)count) * size);
    if (room == NULL) {
        reader->is_full = true;
        return items;
    }
    if (count > 0) {
        memcpy(room, items, count * size);
    }
    return room;
}

static void damage(struct reader *reader, enum mime_damage what)
{
    reader->mail->damage |= (uint32_t)what;
}
