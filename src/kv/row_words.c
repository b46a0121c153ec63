/* row_words.c - tables of words, by row family and member. */
#include "kv/row_words.h"

#define WORDS_MAX 13

struct member_words {
    enum row_family family;
    const char *member;
    const char *words[WORDS_MAX];
};

#define MODES                                                                                      \
    {                                                                                              \
        "live", "test"                                                                             \
    }
#define PRIORITIES                                                                                 \
    {                                                                                              \
        "transactional", "bulk"                                                                    \
    }
#define ENCODINGS                                                                                  \
    {                                                                                              \
        "7bit", "quoted-printable", "base64"                                                       \
    }
#define ACK_MODES                                                                                  \
    {                                                                                              \
        "lenient", "ack", "control"                                                                \
    }

static const struct member_words table[] = {
    {ROW_USER, "role", {"owner", "admin", "member"}},
    {ROW_API_KEY, "mode", MODES},
    {ROW_API_KEY, "permission", {"full", "send"}},
    {ROW_AUDIT, "actor_kind", {"user", "key", "operator", "system"}},
    {ROW_DOMAIN, "status", {"pending", "verified", "failed"}},
    {ROW_DOMAIN, "hook_ack_mode", ACK_MODES},
    {ROW_MAIL, "mode", MODES},
    {ROW_MAIL, "direction", {"outbound", "inbound"}},
    {ROW_MAIL,
     "status",
     {"queued", "deferred", "delivered", "bounced", "cancelled", "scheduled", "failed",
      "suppressed"}},
    {ROW_MAIL, "priority", PRIORITIES},
    {ROW_MAIL, "text_encoding", ENCODINGS},
    {ROW_MAIL, "html_encoding", ENCODINGS},
    {ROW_DELIVERY,
     "status",
     {"pending", "scheduled", "delivered", "deferred", "bounced", "failed", "suppressed"}},
    {ROW_DELIVERY, "kind", {"smtp", "webhook"}},
    {ROW_ATTEMPT, "outcome", {"delivered", "deferred", "bounced", "uncertain"}},
    {ROW_ATTEMPT,
     "step",
     {"resolve", "connect", "tls", "greeting", "ehlo", "starttls", "auth", "mail", "rcpt", "data",
      "body", "rset", "quit"}},
    {ROW_OUTBOX, "mode", {"real", "rehearsal", "scripted"}},
    {ROW_OUTBOX, "priority", PRIORITIES},
    {ROW_SUPPRESSION, "reason", {"hard_bounce", "complaint", "manual", "unsubscribe"}},
    {ROW_ROUTE, "action", {"webhook", "forward", "store", "drop"}},
    {ROW_ROUTE, "ack_mode", ACK_MODES},
};

const char *row_word(enum row_family family, struct slice member, uint32_t value)
{
    for (size_t i = 0; value < WORDS_MAX && i < ARRAY_LEN(table); i++) {
        if (table[i].family == family && slice_equal(member, slice_str(table[i].member))) {
            return table[i].words[value];
        }
    }
    return NULL;
}

static bool own_id_kind(enum row_family family, enum id_kind *kind)
{
    static const struct {
        enum row_family family;
        enum id_kind kind;
    } kinds[] = {
        {ROW_USER, ID_USER},          {ROW_API_KEY, ID_KEY},   {ROW_AUDIT, ID_EVENT},
        {ROW_DOMAIN, ID_DOMAIN},      {ROW_MAIL, ID_MESSAGE},  {ROW_ATTACHMENT, ID_ATTACHMENT},
        {ROW_DELIVERY, ID_DELIVERY},  {ROW_EVENT, ID_EVENT},   {ROW_ROUTE, ID_ROUTE},
        {ROW_MAILBOX, ID_MAILBOX},    {ROW_THREAD, ID_THREAD}, {ROW_TEMPLATE, ID_TEMPLATE},
        {ROW_DOMAIN_NAME, ID_DOMAIN},
    };
    for (size_t i = 0; i < ARRAY_LEN(kinds); i++) {
        if (kinds[i].family == family) {
            *kind = kinds[i].kind;
            return true;
        }
    }
    return false;
}

bool row_id_kind(enum row_family family, struct slice member, enum id_kind *kind)
{
    static const struct {
        const char *member;
        enum id_kind kind;
    } kinds[] = {
        {"mail", ID_MESSAGE},     {"domain", ID_DOMAIN},   {"key", ID_KEY},
        {"replaced_by", ID_KEY},  {"replaces", ID_KEY},    {"route", ID_ROUTE},
        {"hook_route", ID_ROUTE}, {"event", ID_EVENT},     {"thread", ID_THREAD},
        {"mailbox", ID_MAILBOX},  {"invited_by", ID_USER}, {"template", ID_TEMPLATE},
    };
    if (slice_equal(member, SLICE("id"))) {
        return own_id_kind(family, kind);
    }
    for (size_t i = 0; i < ARRAY_LEN(kinds); i++) {
        if (slice_equal(member, slice_str(kinds[i].member))) {
            *kind = kinds[i].kind;
            return true;
        }
    }
    return false;
}

bool row_is_secret(struct slice member)
{
    return slice_ends(member, SLICE("_private")) || slice_ends(member, SLICE("_hash")) ||
           slice_equal(member, SLICE("sessions"));
}
