/* meerkatctl_keys.c - the commands about API keys.
 *
 * They use the same routes as customers do. A key's id carries its account, so it alone says whose
 * key is meant. */
#include "meerkatctl.h"

#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/id.h"

#define KEYS "/v1/keys/"

static const struct column key_columns[] = {
    {"KEY", "id"},
    {"NAME", "name"},
    {"STARTS", "prefix"},
    {"MODE", "mode"},
    {"STATUS", "status"},
    {"CREATED", "createdAt"},
    {"EXPIRES", "expiresAt"},
    {"LAST USED", "lastUsedAt"},
};

static const struct column key_facts[] = {
    {"key", "id"},
    {"name", "name"},
    {"starts", "prefix"},
    {"ends", "last4"},
    {"mode", "mode"},
    {"status", "status"},
    {"scopes", "scopes"},
    {"domains", "domains"},
    {"addresses", "addresses"},
    {"networks", "allowedIps"},
    {"created", "createdAt"},
    {"expires", "expiresAt"},
    {"last used", "lastUsedAt"},
    {"from", "lastUsedIp"},
    {"replaced by", "replacedBy"},
};

static const struct column new_key_facts[] = {
    {"key", "key"}, {"id", "id"}, {"name", "name"}, {"mode", "mode"}, {"expires", "expiresAt"}};

int run_keys_list(struct ctl *ctl)
{
    json_t *list;
    int status = ctl_pages(ctl, "/v1/keys", ctl->words[0], &list);
    if (status == EXIT_GOOD) {
        ctl_print_list(ctl, list, key_columns, ARRAY_LEN(key_columns));
        json_decref(list);
    }
    return status;
}

/* ---- making ---------------------------------------------------------------------------------- */

bool ctl_duration(const char *text, uint64_t *seconds)
{
    static const struct {
        char letter;
        uint64_t seconds;
    } units[] = {{'s', 1}, {'m', 60}, {'h', 3600}, {'d', 86400}};
    struct slice all = slice_str(text);
    uint64_t count = 0;
    if (all.len < 2 || slice_uint(slice_head(all, all.len - 1), 1000000, &count) != ERR_OK) {
        return false;
    }
    for (size_t i = 0; i < ARRAY_LEN(units); i++) {
        if (all.data[all.len - 1] == units[i].letter) {
            *seconds = count * units[i].seconds;
            return true;
        }
    }
    return false;
}

/* "a,b" as a list. */
static json_t *split(struct ctl *ctl, const char *text)
{
    struct slice rest = slice_str(text);
    json_t *list = json_array();
    while (rest.len > 0) {
        struct slice item = slice_trim(slice_cut(&rest, ','));
        if (item.len > 0) {
            (void)json_array_append_new(list, json_string(arena_cstr(&ctl->arena, item)));
        }
    }
    return list;
}

/* Names of domains as ids, in place; ids stay. */
static int name_domains(struct ctl *ctl, const char *account, json_t *list)
{
    json_t *domains = NULL;
    size_t index;
    json_t *item;
    int status = ctl_pages(ctl, "/api/domains", account, &domains);
    json_array_foreach(list, index, item)
    {
        const char *wanted = json_string_value(item);
        const char *id = strncmp(wanted, "dom_", 4) == 0 ? wanted : NULL;
        size_t n;
        json_t *domain;
        json_array_foreach(domains, n, domain)
        {
            if (strcmp(ctl_member_text(domain, "domain"), wanted) == 0) {
                id = ctl_member_text(domain, "id");
            }
        }
        if (status == EXIT_GOOD && id == NULL) {
            (void)fprintf(stderr, "meerkatctl: the account has no domain %s\n", wanted);
            status = EXIT_REFUSED;
        }
        if (status == EXIT_GOOD) {
            (void)json_array_set_new(list, index, json_string(id)); /* it is that long */
        }
    }
    json_decref(domains);
    return status;
}

static void add_list(struct ctl *ctl, json_t *body, const char *name, const char *member)
{
    const char *text = ctl_option(ctl, name);
    if (text != NULL) {
        (void)json_object_set_new(body, member, split(ctl, text)); /* only fails without memory */
    }
}

static void add_text(struct ctl *ctl, json_t *body, const char *name)
{
    const char *text = ctl_option(ctl, name);
    if (text != NULL) {
        (void)json_object_set_new(body, name, json_string(text)); /* refused when it is absent */
    }
}

static int fill(struct ctl *ctl, json_t *body)
{
    const char *expires = ctl_option(ctl, "expires");
    uint64_t seconds = 0;
    if (ctl_option(ctl, "name") == NULL) {
        return ctl_usage(ctl, "--name is missing");
    }
    if (expires != NULL && (!ctl_duration(expires, &seconds) || seconds == 0)) {
        return ctl_usage(ctl, "--expires is a time like 30d or 12h, not \"%s\"", expires);
    }
    add_text(ctl, body, "name");
    add_text(ctl, body, "permission");
    add_list(ctl, body, "scopes", "scopes");
    add_list(ctl, body, "ips", "allowedIps");
    add_list(ctl, body, "domains", "domains");
    add_list(ctl, body, "addresses", "addresses");
    if (ctl_option(ctl, "test") != NULL) {
        (void)json_object_set_new(body, "mode", json_string("test")); /* likewise */
    }
    if (expires != NULL) {
        uint64_t at = clock_unix_ms() + seconds * 1000;
        (void)json_object_set_new(body, "expiresAt", json_integer((json_int_t)at)); /* likewise */
    }
    json_t *domains = json_object_get(body, "domains");
    return domains == NULL ? EXIT_GOOD : name_domains(ctl, ctl->words[0], domains);
}

int run_keys_create(struct ctl *ctl)
{
    json_t *answer;
    json_t *body = json_object();
    int status = fill(ctl, body);
    if (status != EXIT_GOOD) {
        json_decref(body);
        return status;
    }
    const struct call call = {
        .method = "POST", .path = "/v1/keys", .account = ctl->words[0], .body = body};
    status = ctl_call(ctl, &call, &answer);
    if (status == EXIT_GOOD) {
        ctl_print_one(ctl, answer, new_key_facts, ARRAY_LEN(new_key_facts));
        json_decref(answer);
    }
    return status;
}

/* ---- one key --------------------------------------------------------------------------------- */

/* The call about the key that is the command's first word. EXIT_USAGE when that is no id. */
static int about_key(struct ctl *ctl, const char *method, const char *suffix, json_t *body,
                     json_t **answer)
{
    struct id id;
    char account[ID_TEXT_MAX];
    if (id_parse(ID_KEY, slice_str(ctl->words[0]), &id) != ERR_OK) {
        json_decref(body);
        return ctl_usage(ctl, "\"%s\" is not the id of a key; keys list shows them", ctl->words[0]);
    }
    (void)account_text(id_account(id), account); /* it is terminated */
    const struct call call = {
        .method = method,
        .path = ctl_path(ctl, KEYS, ctl->words[0], suffix),
        .account = account,
        .body = body,
    };
    return ctl_call(ctl, &call, answer);
}

int run_keys_show(struct ctl *ctl)
{
    json_t *answer;
    int status = about_key(ctl, "GET", "", NULL, &answer);
    if (status == EXIT_GOOD) {
        ctl_print_one(ctl, answer, key_facts, ARRAY_LEN(key_facts));
        json_decref(answer);
    }
    return status;
}

static int change_key(struct ctl *ctl, const char *method, json_t *body, const char *what)
{
    json_t *answer;
    int status = about_key(ctl, method, "", body, &answer);
    if (status == EXIT_GOOD) {
        ctl_print_done(ctl, answer, ctl_text(ctl, "%s %s", ctl->words[0], what));
        json_decref(answer);
    }
    return status;
}

int run_keys_revoke(struct ctl *ctl)
{
    return change_key(ctl, "DELETE", NULL, "is revoked");
}

int run_keys_disable(struct ctl *ctl)
{
    return change_key(ctl, "PATCH", json_pack("{s:b}", "enabled", 0), "is disabled");
}

int run_keys_enable(struct ctl *ctl)
{
    return change_key(ctl, "PATCH", json_pack("{s:b}", "enabled", 1), "is enabled");
}

int run_keys_rotate(struct ctl *ctl)
{
    json_t *answer;
    uint64_t seconds = 0;
    const char *overlap = ctl_option(ctl, "overlap");
    if (overlap != NULL && strcmp(overlap, "0") != 0 && !ctl_duration(overlap, &seconds)) {
        return ctl_usage(ctl, "--overlap is a time like 1h or 7d, not \"%s\"", overlap);
    }
    json_t *body = json_pack("{s:I}", "overlapSeconds", (json_int_t)seconds);
    int status = about_key(ctl, "POST", "/rotate", body, &answer);
    if (status == EXIT_GOOD) {
        ctl_print_one(ctl, answer, new_key_facts, ARRAY_LEN(new_key_facts));
        json_decref(answer);
    }
    return status;
}
