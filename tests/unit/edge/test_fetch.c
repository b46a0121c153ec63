/* Attachments by url: who may have something fetched, how much at once, and what becomes of it.
 *
 * Not covered here: where a call may go (tests/unit/net/test_http_client.c,
 * tests/flow/test_batch.c) and the fields of an attachment (test_api_send.c).
 */
#include "unit/edge/edge_rig.h"

#define FILES_MAX 16

/* A server of files whose answers the test gives itself. */
struct files {
    struct rig *rig;
    int fd;
    uint16_t tcp_port;
    int calls[FILES_MAX];
    uint32_t count;
};

static void files_open(struct rig *rig, struct files *files)
{
    struct sockaddr_in addr = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    socklen_t len = sizeof addr;
    *files = (struct files){.rig = rig};
    files->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    cr_assert_eq(bind(files->fd, (const struct sockaddr *)&addr, sizeof addr), 0);
    cr_assert_eq(listen(files->fd, FILES_MAX), 0);
    cr_assert_eq(getsockname(files->fd, (struct sockaddr *)&addr, &len), 0);
    files->tcp_port = ntohs(addr.sin_port);
}

static void files_close(struct files *files)
{
    for (uint32_t i = 0; i < files->count; i++) {
        if (files->calls[i] != -1) {
            (void)close(files->calls[i]);
        }
    }
    (void)close(files->fd);
}

/* Calls that came so far. */
static uint32_t files_called(struct files *files)
{
    int fd = accept4(files->fd, NULL, NULL, SOCK_CLOEXEC);
    if (fd != -1) {
        cr_assert_lt(files->count, FILES_MAX);
        files->calls[files->count++] = fd;
    }
    return files->count;
}

/* Answers the number-th call, from 1, and ends its connection. */
static void files_answer(struct files *files, uint32_t number, const char *answer)
{
    int *fd = &files->calls[number - 1];
    char question[4096];
    WAIT_FOR(files->rig, recv(*fd, question, sizeof question, MSG_DONTWAIT) > 0);
    cr_assert_eq(send(*fd, answer, strlen(answer), MSG_NOSIGNAL), (ssize_t)strlen(answer));
    (void)close(*fd);
    *fd = -1;
}

static void post(struct client *client, const struct files *files, const char *more)
{
    char body[512];
    (void)snprintf(body, sizeof body,
                   "{\"from\":\"a@send.test\",\"to\":\"b@dest.test\",\"text\":\"x\","
                   "\"attachments\":[{\"url\":\"http://127.0.0.1:%u/a%%20b.pdf?x=/y\"%s}]}",
                   (unsigned)files->tcp_port, more);
    client_say(client,
               "POST /v1/send HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\n"
               "Content-Length: %zu\r\n\r\n%s",
               client->rig->key.text, strlen(body), body);
}

static void open_all(struct rig *rig, struct client *client, struct files *files)
{
    rig_init(rig);
    set(rig, "allow_private_targets", "yes");
    rig_start(rig);
    files_open(rig, files);
    client_open(rig, client);
}

Test(fetch, takes_the_file_its_type_and_its_name)
{
    struct rig rig;
    struct client client;
    struct files files;
    open_all(&rig, &client, &files);
    post(&client, &files, "");
    WAIT_FOR(&rig, files_called(&files) == 1);
    cr_expect_eq(rig.check_count, 1, "its shard was asked first");
    cr_expect_eq(rig.got_count, 0);
    files_answer(&files, 1,
                 "HTTP/1.1 200 OK\r\nContent-Type: application/pdf; charset=x\r\n"
                 "Content-Length: 5\r\n\r\nhello");
    const struct shard_send *send = &rig_await(&rig, 1)->body.send;
    cr_assert_eq(send->attachment_count, 1);
    cr_expect(slice_equal(send->attachments[0].data, SLICE("hello")));
    cr_expect(slice_equal(send->attachments[0].content_type, SLICE("application/pdf")));
    cr_expect(slice_equal(send->attachments[0].filename, SLICE("a b.pdf")));
    cr_expect(send->caller.is_charged);
    rig_answer(&rig, 1, ERR_OK);
    client_expect(&client, 1, 202);
    post(&client, &files, ",\"filename\":\"c\",\"contentType\":\"text/x\"");
    WAIT_FOR(&rig, files_called(&files) == 2);
    files_answer(&files, 2, "HTTP/1.1 200 OK\r\nContent-Type: ???\r\nContent-Length: 0\r\n\r\n");
    send = &rig_await(&rig, 2)->body.send;
    cr_expect_eq(send->attachments[0].data.len, 0);
    cr_expect(slice_equal(send->attachments[0].content_type, SLICE("text/x")));
    cr_expect(slice_equal(send->attachments[0].filename, SLICE("c")));
    rig_answer(&rig, 2, ERR_OK);
    client_expect(&client, 2, 202);
    client_close(&client);
    files_close(&files);
    rig_end(&rig);
}

Test(fetch, goes_nowhere_for_a_stranger)
{
    struct rig rig;
    struct client client;
    struct files files;
    open_all(&rig, &client, &files);
    rig.check_err = ERR_UNAUTHORIZED;
    post(&client, &files, "");
    client_expect(&client, 1, 401);
    cr_expect_eq(files_called(&files), 0);
    client_close(&client);
    files_close(&files);
    rig_end(&rig);
}

static const char *const refusals[] = {
    "HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1/\r\nContent-Length: 0\r\n\r\n",
    "HTTP/1.1 404 Not Found\r\nContent-Length: 2\r\n\r\nno",
    "HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\ncut short",
    "what is this\r\n\r\n",
};

Test(fetch, names_the_url_that_brought_nothing)
{
    struct rig rig;
    struct client client;
    struct files files;
    open_all(&rig, &client, &files);
    for (uint32_t i = 0; i < ARRAY_LEN(refusals); i++) {
        post(&client, &files, "");
        WAIT_FOR(&rig, files_called(&files) == i + 1);
        files_answer(&files, i + 1, refusals[i]);
        client_expect(&client, i + 1, 400);
        cr_expect(client_says(&client, i + 1, "\"param\":\"attachments[0].url\""), "%u", i);
    }
    post(&client, &files, "");
    WAIT_FOR(&rig, files_called(&files) == ARRAY_LEN(refusals) + 1);
    pass(&rig, FETCH_MS);
    client_expect(&client, ARRAY_LEN(refusals) + 1, 400);
    cr_expect_eq(rig.got_count, 0);
    client_close(&client);
    files_close(&files);
    rig_end(&rig);
}

Test(fetch, does_a_few_at_a_time_for_one_account)
{
    struct rig rig;
    struct client client;
    struct files files;
    open_all(&rig, &client, &files);
    for (uint32_t i = 0; i < FETCHES_PER_ACCOUNT + 2; i++) {
        post(&client, &files, "");
    }
    WAIT_FOR(&rig, files_called(&files) == FETCHES_PER_ACCOUNT);
    WAIT_FOR(&rig, rig.check_count == FETCHES_PER_ACCOUNT + 2);
    settle(&rig);
    cr_expect_eq(files_called(&files), FETCHES_PER_ACCOUNT);
    for (uint32_t i = 1; i <= FETCHES_PER_ACCOUNT + 2; i++) {
        WAIT_FOR(&rig, files_called(&files) >= i);
        files_answer(&files, i, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
        (void)rig_await(&rig, i);
        rig_answer(&rig, i, ERR_OK);
    }
    client_expect(&client, FETCHES_PER_ACCOUNT + 2, 202);
    client_close(&client);
    files_close(&files);
    rig_end(&rig);
}

/* So that there is room for those of others. */
Test(fetch, lets_no_account_take_all_places_in_the_line)
{
    struct rig rig;
    struct client clients[FETCHES_WAITING / HTTP_PIPELINE_MAX + 1];
    struct client *last = &clients[ARRAY_LEN(clients) - 1];
    struct files files;
    open_all(&rig, last, &files);
    for (size_t i = 0; i < ARRAY_LEN(clients) - 1; i++) {
        client_open(&rig, &clients[i]);
        for (uint32_t n = 0; n < HTTP_PIPELINE_MAX; n++) {
            post(&clients[i], &files, "");
        }
        WAIT_FOR(&rig, rig.check_count == (i + 1) * HTTP_PIPELINE_MAX);
    }
    settle(&rig);
    cr_assert_eq(rig.check_count, FETCHES_WAITING);
    post(last, &files, "");
    client_expect(last, 1, 503);
    client_close(&clients[0]);
    WAIT_FOR(&rig, rig.edge->session_count == ARRAY_LEN(clients) - 1);
    post(last, &files, "");
    WAIT_FOR(&rig, rig.check_count == FETCHES_WAITING + 2);
    settle(&rig);
    cr_expect_eq(client_answers(last), 1, "it waits in line");
    for (size_t i = 1; i < ARRAY_LEN(clients); i++) {
        client_close(&clients[i]);
    }
    files_close(&files);
    rig_end(&rig);
}

Test(fetch, is_given_up_with_its_client)
{
    struct rig rig;
    struct client client;
    struct files files;
    open_all(&rig, &client, &files);
    for (uint32_t i = 0; i < FETCHES_PER_ACCOUNT + 2; i++) {
        post(&client, &files, "");
    }
    WAIT_FOR(&rig, files_called(&files) == FETCHES_PER_ACCOUNT);
    client_close(&client);
    WAIT_FOR(&rig, rig.edge->session_count == 0);
    cr_expect_eq(rig.got_count, 0);
    files_close(&files);
    rig_end(&rig);
}
