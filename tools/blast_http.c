/* blast_http.c - mails sent over HTTP: one POST /v1/send after the other on each connection. */
#include "blast.h"

#include <inttypes.h>
#include <stdio.h>

#include "base/json.h"

#define ANSWER_MAX (4 * MIB)

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

static struct slice id_of(struct slice body)
{
    struct slice rest = slice_from(body, slice_find(body, SLICE("\"id\":\"")));
    struct slice id = slice_from(rest, sizeof("\"id\":\"") - 1);
    return slice_head(id, slice_find_byte(id, '"'));
}

void blast_http_data(struct client *client, struct slice data)
{
    buf_add(&client->in, data);
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
        conn_abort(&client->conn);
        return;
    }
    blast_take(client, answer.status, answer.status == 202 ? id_of(answer.body) : SLICE(""));
    buf_consume(&client->in, min_size(answer.len, client->in.len));
    if (answer.is_close) {
        conn_close(&client->conn);
    } else {
        blast_next(client, answer.status);
    }
}

/* A JSON list. */
static void add_recipients(const struct client *client, struct buf *out)
{
    const struct blast *blast = client->blast;
    uint64_t rcpts = blast->options.rcpts;
    struct buf to;
    buf_init(&to, KIB);
    for (uint64_t i = 0; i < rcpts; i++) {
        buf_clear(&to);
        blast_add_to(blast, client->number * rcpts + i, &to);
        buf_add_byte(out, i == 0 ? '[' : ',');
        json_escape(out, buf_slice(&to));
    }
    buf_add_byte(out, ']');
    buf_fini(&to);
}

void blast_http_ask(struct client *client)
{
    const struct blast *blast = client->blast;
    struct buf body;
    struct buf out;
    buf_init(&body, 2 * MAIL_BYTES_MAX);
    buf_init(&out, 2 * MAIL_BYTES_MAX);
    buf_add_str(&body, "{\"from\":");
    json_escape(&body, blast->options.from);
    buf_add_str(&body, ",\"to\":");
    add_recipients(client, &body);
    buf_add_format(&body, ",\"subject\":\"blast %" PRIu64 "\",\"text\":", client->number);
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
