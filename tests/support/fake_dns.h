/* fake_dns.h - net/dns.h answered from a table, for tests of what asks questions.
 *
 * Defines dns_open, dns_trust, dns_ask, dns_cancel and dns_close in the test's own object, so that
 * the linker leaves the real ones in their library. What the table does not name does not exist
 * (NXDOMAIN). As in the real one, answers come later and never inside dns_ask: with a loop at its
 * next turn, without one when the test calls fake_dns_turn. Header-only; include it in one file of
 * a test.
 */
#ifndef SUPPORT_FAKE_DNS_H
#define SUPPORT_FAKE_DNS_H

#include "base/check.h"
#include "net/dns.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FAKE_DNS_ROWS  64
#define FAKE_DNS_ASKED 128

/* One record, or with another err one failure. A and AAAA in text form; MX with priority. */
struct fake_row {
    enum dns_type type;
    const char *name;
    const char *text;
    uint16_t priority;
    enum err err;         /* ERR_OK, ERR_DNS_NONE (the name exists), ERR_DNS_TEMP */
    bool is_name_missing; /* with ERR_DNS_NONE */
    bool is_secure;
    const char *owner;                 /* NULL: no alias */
    uint8_t usage, selector, matching; /* TLSA, whose text is the data */
};

struct dns {
    struct loop *loop;
    struct timer timer;
    struct fake_row rows[FAKE_DNS_ROWS];
    size_t row_count;
    struct fake_question {
        struct dns_query *query; /* NULL: answered or cancelled */
        enum dns_type type;
        char name[DNS_NAME_MAX + 1];
    } questions[FAKE_DNS_ASKED];
    bool holds_tlsa;       /* such questions get no answer */
    size_t question_count; /* since the test began; not only the open ones */
    dns_closed_fn *on_closed;
    void *context;
};

static inline void fake_dns_add(struct dns *dns, const struct fake_row *rows, size_t count)
{
    CHECK(dns->row_count + count <= FAKE_DNS_ROWS);
    for (size_t i = 0; i < count; i++) {
        dns->rows[dns->row_count++] = rows[i];
    }
}

static inline bool fake_dns_fits(const struct fake_row *row, const struct fake_question *question)
{
    return row->type == question->type &&
           slice_equal_nocase(slice_str(row->name), slice_str(question->name));
}

static inline void fake_dns_record(const struct fake_row *row, struct dns_record *record)
{
    *record = (struct dns_record){.text = slice_str(row->text),
                                  .priority = row->priority,
                                  .usage = row->usage,
                                  .selector = row->selector,
                                  .matching = row->matching};
    if (row->type == DNS_A || row->type == DNS_AAAA) {
        char text[ADDR_TEXT_MAX + 2];
        (void)snprintf(text, sizeof text, row->type == DNS_AAAA ? "[%s]" : "%s", row->text);
        enum err err = conn_addr_parse(slice_str(text), 0, &record->addr);
        CHECK(err == ERR_OK);
        record->text = slice_of(NULL, 0);
    }
}

static inline void fake_dns_answer(struct dns *dns, struct fake_question *question)
{
    struct dns_record records[DNS_ANSWERS_MAX];
    struct dns_answer answer = {.err = ERR_DNS_NONE, .is_name_missing = true, .records = records};
    for (size_t i = 0; i < dns->row_count; i++) {
        const struct fake_row *row = &dns->rows[i];
        if (!fake_dns_fits(row, question)) {
            /* Another record of the name: it exists. */
            answer.is_name_missing &=
                !slice_equal_nocase(slice_str(row->name), slice_str(question->name));
        } else if (row->err != ERR_OK) {
            answer.err = row->err;
            answer.is_secure = row->is_secure;
            answer.is_name_missing = row->is_name_missing;
        } else {
            answer.err = ERR_OK;
            answer.is_name_missing = false;
            answer.is_secure = row->is_secure;
            answer.owner = row->owner != NULL ? slice_str(row->owner) : slice_of(NULL, 0);
            fake_dns_record(row, &records[answer.count++]);
        }
    }
    struct dns_query *query = question->query;
    question->query = NULL;
    query->dns = NULL;
    query->on_answer(query, &answer);
    memset(records, 0xa5, sizeof records); /* the answer was valid during the callback only */
}

/* Answers what was asked before this call. Returns how many. */
static inline size_t fake_dns_turn(struct dns *dns)
{
    size_t count = dns->question_count;
    size_t answered = 0;
    for (size_t i = 0; i < count; i++) {
        bool is_held = dns->holds_tlsa && dns->questions[i].type == DNS_TLSA;
        if (dns->questions[i].query != NULL && !is_held) {
            fake_dns_answer(dns, &dns->questions[i]);
            answered += 1;
        }
    }
    return answered;
}

static inline void fake_dns_on_timer(struct timer *timer)
{
    struct dns *dns = CONTAINER_OF(timer, struct dns, timer);
    (void)fake_dns_turn(dns); /* how many is not asked for */
    if (dns->on_closed != NULL) {
        dns_closed_fn *on_closed = dns->on_closed;
        void *context = dns->context;
        free(dns);
        on_closed(context);
    }
}

enum err dns_open(struct loop *loop, struct slice servers UNUSED, struct dns **dns)
{
    *dns = mem_zalloc(sizeof **dns);
    (*dns)->loop = loop;
    if (loop != NULL) {
        timer_init(&(*dns)->timer, loop, fake_dns_on_timer);
    }
    return ERR_OK;
}

void dns_trust(struct dns *dns UNUSED)
{
}

void dns_close(struct dns *dns, dns_closed_fn *on_closed, void *context)
{
    for (size_t i = 0; i < dns->question_count; i++) {
        CHECK(dns->questions[i].query == NULL); /* no user of the fake leaves one open */
    }
    dns->on_closed = on_closed;
    dns->context = context;
    timer_start(&dns->timer, 0);
}

void dns_ask(struct dns *dns, struct dns_query *query, enum dns_type type, struct slice name,
             dns_fn *on_answer)
{
    CHECK(query->dns == NULL);
    CHECK(dns->question_count < FAKE_DNS_ASKED);
    struct fake_question *question = &dns->questions[dns->question_count++];
    question->query = query;
    question->type = type;
    CHECK(name.len <= DNS_NAME_MAX);
    memcpy(question->name, name.data, name.len);
    question->name[name.len] = '\0';
    query->dns = dns;
    query->on_answer = on_answer;
    if (dns->loop != NULL) {
        timer_start(&dns->timer, 0);
    }
}

void dns_cancel(struct dns_query *query)
{
    struct dns *dns = query->dns;
    for (size_t i = 0; dns != NULL && i < dns->question_count; i++) {
        if (dns->questions[i].query == query) {
            dns->questions[i].query = NULL;
        }
    }
    query->dns = NULL;
}

#endif
