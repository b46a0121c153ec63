/* meerkatctl_http.c - requests through the admin socket, and what can be said when there is none.
 *
 * libcurl speaks the HTTP: nothing here needs a loop, and it knows Unix sockets. */
#include "meerkatctl.h"

#include <curl/curl.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/limits.h"

#define CALL_SECONDS 120L /* more than REQUEST_WAIT_MS */
#define ANSWER_MAX   (64 * MIB)
#define PAGE         200

static size_t on_bytes(char *data, size_t size, size_t count, void *context)
{
    struct buf *buf = context;
    buf_add_bytes(buf, data, size * count);
    return buf->is_over ? 0 : size * count;
}

/* What is wrong with the socket, for somebody who wants to know what to do. */
static int say_unreachable(const struct ctl *ctl, const char *detail)
{
    struct stat info;
    const char *path = ctl->socket_path;
    if (path == NULL) {
        (void)fputs("meerkatctl: admin_socket is off, so this daemon cannot be asked\n", stderr);
    } else if (strlen(path) >= sizeof(((struct sockaddr_un *)0)->sun_path)) {
        (void)fprintf(stderr, "meerkatctl: %s is too long for a socket's path\n", path);
    } else if (stat(path, &info) == -1 && errno == ENOENT) {
        (void)fprintf(
            stderr,
            "meerkatctl: meerkatd is not running: there is no socket %s; start it, or say "
            "where it is with --socket, --data or --config\n",
            path);
    } else if (access(path, R_OK | W_OK) == -1) {
        (void)fprintf(stderr,
                      "meerkatctl: %s: %s; run meerkatctl as root or as meerkatd's own user\n",
                      path, strerror(errno));
    } else {
        (void)fprintf(stderr,
                      "meerkatctl: meerkatd does not answer at %s (%s); is it running, and are you "
                      "root or its own user?\n",
                      path, detail);
    }
    return EXIT_UNREACHABLE;
}

/* "refused: sentence (param)". */
static int say_refused(long status, json_t *answer)
{
    const char *param = ctl_member_text(answer, "param");
    const char *sentence = ctl_member_text(answer, "error");
    (void)fprintf(stderr, "meerkatctl: %s%s%s%s (%ld%s%s)\n",
                  sentence[0] != '\0' ? sentence : "the server refused",
                  param[0] != '\0' ? " [" : "", param, param[0] != '\0' ? "]" : "", status,
                  ctl_member_text(answer, "code")[0] != '\0' ? " " : "",
                  ctl_member_text(answer, "code"));
    return EXIT_REFUSED;
}

static struct curl_slist *make_headers(struct ctl *ctl, const struct call *call)
{
    struct curl_slist *list = curl_slist_append(NULL, "Content-Type: application/json");
    if (call->account != NULL) {
        list = curl_slist_append(list, ctl_text(ctl, "x-meerkat-account: %s", call->account));
    }
    return list;
}

static CURLcode perform(struct ctl *ctl, const struct call *call, const char *body,
                        struct buf *answer, long *status)
{
    char failure[CURL_ERROR_SIZE] = "";
    CURL *curl = curl_easy_init();
    if (curl == NULL) {
        return CURLE_FAILED_INIT;
    }
    struct curl_slist *headers = make_headers(ctl, call);
    struct buf url; /* not in the arena: who waits for days asks a million times */
    buf_init(&url, MIB);
    buf_add_format(&url, "http://meerkatd%s", call->path);
    buf_add_byte(&url, '\0');
    curl_easy_setopt(curl, CURLOPT_URL, url.data);
    curl_easy_setopt(curl, CURLOPT_UNIX_SOCKET_PATH, ctl->socket_path);
    curl_easy_setopt(curl, CURLOPT_CUSTOMREQUEST, call->method);
    curl_easy_setopt(curl, CURLOPT_HTTPHEADER, headers);
    if (body != NULL) {
        curl_easy_setopt(curl, CURLOPT_POSTFIELDS, body);
        curl_easy_setopt(curl, CURLOPT_CUSTOMREQUEST, call->method);
    }
    curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, on_bytes);
    curl_easy_setopt(curl, CURLOPT_WRITEDATA, answer);
    curl_easy_setopt(curl, CURLOPT_TIMEOUT, CALL_SECONDS);
    curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(curl, CURLOPT_PROXY, "");
    curl_easy_setopt(curl, CURLOPT_ERRORBUFFER, failure);
    CURLcode code = curl_easy_perform(curl);
    curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, status);
    curl_slist_free_all(headers);
    curl_easy_cleanup(curl);
    buf_fini(&url);
    return code;
}

int ctl_fetch(struct ctl *ctl, const struct call *call, struct buf *answer)
{
    long status = 0;
    char *body = call->body != NULL ? json_dumps(call->body, JSON_COMPACT) : NULL;
    json_decref(call->body);
    CURLcode code = CURLE_COULDNT_CONNECT;
    if (ctl->socket_path != NULL) {
        code = perform(ctl, call, body, answer, &status);
    }
    free(body);
    if (call->is_quiet && (code != CURLE_OK || status < 200 || status > 299)) {
        return code != CURLE_OK ? EXIT_UNREACHABLE : EXIT_REFUSED;
    }
    if (code != CURLE_OK) {
        return say_unreachable(ctl, curl_easy_strerror(code));
    }
    if (status < 200 || status > 299) {
        json_t *json = json_loadb(answer->data != NULL ? answer->data : "", answer->len, 0, NULL);
        int refused = say_refused(status, json);
        json_decref(json);
        return refused;
    }
    return EXIT_GOOD;
}

int ctl_call(struct ctl *ctl, const struct call *call, json_t **answer)
{
    struct buf bytes;
    buf_init(&bytes, ANSWER_MAX);
    int status = ctl_fetch(ctl, call, &bytes);
    if (status == EXIT_GOOD) {
        *answer = json_loadb(bytes.data != NULL ? bytes.data : "", bytes.len, 0, NULL);
        if (*answer == NULL) {
            (void)fputs("meerkatctl: the server's answer cannot be understood\n", stderr);
            status = EXIT_REFUSED;
        }
    }
    buf_fini(&bytes);
    return status;
}

int ctl_all(struct ctl *ctl, const char *path, json_t **list)
{
    json_t *all = json_array();
    json_int_t shard = 0;
    json_int_t shard_count = 1;
    const char *after = "";
    while (shard < shard_count) {
        json_t *page;
        const char *next = ctl_text(ctl, "%s?shard=%d&limit=%d%s%s", path, (int)shard, PAGE,
                                    after[0] != '\0' ? "&after=" : "", after);
        int status = ctl_call(ctl, &(struct call){.method = "GET", .path = next}, &page);
        if (status != EXIT_GOOD) {
            json_decref(all);
            return status;
        }
        (void)json_array_extend(all, json_object_get(page, "data")); /* only fails without memory */
        shard_count = json_integer_value(json_object_get(page, "shardCount"));
        after = ctl_text(ctl, "%s", ctl_member_text(page, "next"));
        shard += after[0] == '\0';
        json_decref(page);
    }
    *list = all;
    return EXIT_GOOD;
}

int ctl_pages(struct ctl *ctl, const char *path, const char *account, json_t **list)
{
    json_t *all = json_array();
    const char *before = "";
    size_t count = PAGE;
    while (count == PAGE) {
        json_t *page;
        const char *next = ctl_text(ctl, "%s?limit=%d%s%s", path, PAGE,
                                    before[0] != '\0' ? "&before=" : "", before);
        int status =
            ctl_call(ctl, &(struct call){.method = "GET", .path = next, .account = account}, &page);
        if (status != EXIT_GOOD) {
            json_decref(all);
            return status;
        }
        count = json_array_size(page);
        if (count > 0) {
            before = ctl_text(ctl, "%s", ctl_member_text(json_array_get(page, count - 1), "id"));
        }
        (void)json_array_extend(all, page); /* only fails without memory */
        json_decref(page);
    }
    *list = all;
    return EXIT_GOOD;
}

const char *ctl_path(struct ctl *ctl, const char *prefix, const char *text, const char *suffix)
{
    static const char digits[] = "0123456789ABCDEF";
    size_t len = strlen(text);
    char *escaped = arena_bytes(&ctl->arena, 3 * len + 1);
    size_t at = 0;
    for (size_t i = 0; i < len; i++) {
        unsigned char byte = (unsigned char)text[i];
        if (ascii_is_alpha(text[i]) || ascii_is_digit(text[i]) || strchr("-_.~@", text[i])) {
            escaped[at++] = text[i];
        } else {
            escaped[at++] = '%';
            escaped[at++] = digits[byte >> 4];
            escaped[at++] = digits[byte & 15];
        }
    }
    escaped[at] = '\0';
    return ctl_text(ctl, "%s%s%s", prefix, escaped, suffix);
}
