/* meerkatctl_admin.c - the commands about accounts, users, sessions and the server. */
#include "meerkatctl.h"

#include <stdio.h>
#include <string.h>
#include <termios.h>
#include <unistd.h>

#include "base/crypto.h"
#include "base/limits.h"

#define ACCOUNTS "/api/admin/accounts/"
#define USERS    "/api/admin/users/"

/* ---- accounts -------------------------------------------------------------------------------- */

static const struct column account_columns[] = {
    {"ACCOUNT", "id"},        {"NAME", "name"},           {"OWNER", "ownerEmail"},
    {"CREATED", "createdAt"}, {"SUSPENDED", "suspended"},
};

static const struct column account_facts[] = {
    {"account", "account.id"},
    {"name", "account.name"},
    {"owner", "account.ownerEmail"},
    {"created", "account.createdAt"},
    {"suspended", "account.suspended"},
    {"requests a minute", "account.limits.ratePerMin"},
    {"of a key", "account.limits.keyRatePerMin"},
    {"mails a day", "account.limits.dailyMax"},
    {"days kept", "account.limits.retentionDays"},
    {"mails today", "today.mails"},
    {"recipients today", "today.recipients"},
    {"keys", "keyCount"},
    {"domains", "domainCount"},
};

static const struct column limit_facts[] = {
    {"account", "id"},
    {"requests a minute", "limits.ratePerMin"},
    {"of a key", "limits.keyRatePerMin"},
    {"mails a day", "limits.dailyMax"},
    {"days kept", "limits.retentionDays"},
};

static const struct column user_columns[] = {
    {"USER", "id"},   {"EMAIL", "email"},       {"ACCOUNT", "accountId"},
    {"ROLE", "role"}, {"CREATED", "createdAt"}, {"ADMIN", "isAdmin"},
};

int run_accounts_list(struct ctl *ctl)
{
    json_t *list;
    int status = ctl_all(ctl, "/api/admin/accounts", &list);
    if (status == EXIT_GOOD) {
        ctl_print_list(ctl, list, account_columns, ARRAY_LEN(account_columns));
        json_decref(list);
    }
    return status;
}

static int get_account(struct ctl *ctl, const char *account, json_t **answer)
{
    const struct call call = {.method = "GET", .path = ctl_path(ctl, ACCOUNTS, account, "")};
    return ctl_call(ctl, &call, answer);
}

int run_accounts_show(struct ctl *ctl)
{
    json_t *answer;
    int status = get_account(ctl, ctl->words[0], &answer);
    if (status == EXIT_GOOD) {
        ctl_print_one(ctl, answer, account_facts, ARRAY_LEN(account_facts));
        if (!ctl->is_json) {
            printf("\n");
            ctl_print_list(ctl, json_object_get(answer, "users"), user_columns,
                           ARRAY_LEN(user_columns));
        }
        json_decref(answer);
    }
    return status;
}

static int change_account(struct ctl *ctl, json_t *change, json_t **answer)
{
    const struct call call = {
        .method = "PATCH", .path = ctl_path(ctl, ACCOUNTS, ctl->words[0], ""), .body = change};
    return ctl_call(ctl, &call, answer);
}

/* Adds option `name` to change as a number called `member`. */
static bool add_number(struct ctl *ctl, json_t *change, const char *name, const char *member)
{
    const char *text = ctl_option(ctl, name);
    uint64_t value = 0;
    if (text == NULL) {
        return true;
    }
    if (slice_uint(slice_str(text), INT64_MAX, &value) != ERR_OK) {
        (void)ctl_usage(ctl, "--%s is a number, not \"%s\"", name, text); /* said below, too */
        return false;
    }
    return json_object_set_new(change, member, json_integer((json_int_t)value)) == 0;
}

int run_accounts_limits(struct ctl *ctl)
{
    json_t *answer = NULL;
    json_t *change = json_object();
    if (!add_number(ctl, change, "rate", "ratePerMin") ||
        !add_number(ctl, change, "key-rate", "keyRatePerMin") ||
        !add_number(ctl, change, "daily", "dailyMax") ||
        !add_number(ctl, change, "retention", "retentionDays")) {
        json_decref(change);
        return EXIT_USAGE;
    }
    int status = change_account(ctl, change, &answer); /* without options it changes nothing */
    if (status == EXIT_GOOD) {
        ctl_print_one(ctl, answer, limit_facts, ARRAY_LEN(limit_facts));
        json_decref(answer);
    }
    return status;
}

static int suspend(struct ctl *ctl, bool is_on)
{
    json_t *answer;
    int status = change_account(ctl, json_pack("{s:b}", "suspended", (int)is_on), &answer);
    if (status == EXIT_GOOD) {
        ctl_print_done(
            ctl, answer,
            ctl_text(ctl, "%s %s", ctl->words[0], is_on ? "is suspended" : "is resumed"));
        json_decref(answer);
    }
    return status;
}

int run_accounts_suspend(struct ctl *ctl)
{
    return suspend(ctl, true);
}

int run_accounts_resume(struct ctl *ctl)
{
    return suspend(ctl, false);
}

/* ---- users ----------------------------------------------------------------------------------- */

static const struct column user_facts[] = {
    {"user", "id"},       {"email", "email"},       {"account", "accountId"},
    {"role", "role"},     {"created", "createdAt"}, {"last log-in", "lastLoginAt"},
    {"admin", "isAdmin"},
};

int run_users_list(struct ctl *ctl)
{
    json_t *answer = NULL;
    bool is_one = ctl->word_count > 0;
    int status = is_one ? get_account(ctl, ctl->words[0], &answer)
                        : ctl_all(ctl, "/api/admin/users", &answer);
    if (status == EXIT_GOOD) {
        ctl_print_list(ctl, is_one ? json_object_get(answer, "users") : answer, user_columns,
                       ARRAY_LEN(user_columns));
        json_decref(answer);
    }
    return status;
}

int run_users_show(struct ctl *ctl)
{
    json_t *answer;
    const struct call call = {.method = "GET", .path = ctl_path(ctl, USERS, ctl->words[0], "")};
    int status = ctl_call(ctl, &call, &answer);
    if (status == EXIT_GOOD) {
        ctl_print_one(ctl, answer, user_facts, ARRAY_LEN(user_facts));
        json_decref(answer);
    }
    return status;
}

/* One line of standard input, without echo when it is a terminal; NULL after a complaint. */
static const char *read_password(struct ctl *ctl)
{
    struct termios before;
    bool is_terminal = tcgetattr(STDIN_FILENO, &before) == 0;
    char *line = arena_bytes(&ctl->arena, PASSWORD_MAX + 2);
    if (is_terminal) {
        struct termios silent = before;
        silent.c_lflag &= ~(tcflag_t)ECHO;
        (void)fputs("new password: ", stderr);
        (void)tcsetattr(STDIN_FILENO, TCSAFLUSH, &silent); /* then it is seen while typed */
    }
    char *got = fgets(line, PASSWORD_MAX + 2, stdin);
    if (is_terminal) {
        (void)tcsetattr(STDIN_FILENO, TCSAFLUSH, &before); /* as it was */
        (void)fputs("\n", stderr);
    }
    size_t len = got == NULL ? 0 : strcspn(line, "\r\n");
    if (len == 0 || len > PASSWORD_MAX) {
        (void)fputs("meerkatctl: a password is read from standard input, one line of at most 1024 "
                    "bytes\n",
                    stderr);
        return NULL;
    }
    line[len] = '\0';
    return line;
}

int run_users_create(struct ctl *ctl)
{
    static const struct column facts[] = {
        {"user", "user.id"},       {"email", "user.email"},  {"account", "account.id"},
        {"admin", "user.isAdmin"}, {"password", "password"}, {"key", "apiKey"},
    };
    json_t *body = json_pack("{s:s}", "email", ctl->words[0]);
    json_t *answer;
    if (ctl_option(ctl, "password-stdin") != NULL) {
        const char *password = read_password(ctl);
        if (password == NULL) {
            json_decref(body);
            return EXIT_USAGE;
        }
        (void)json_object_set_new(body, "password", json_string(password)); /* refused if absent */
    }
    if (ctl_option(ctl, "admin") != NULL) {
        (void)json_object_set_new(body, "isAdmin", json_true()); /* only fails without memory */
    }
    const struct call call = {.method = "POST", .path = "/api/admin/users", .body = body};
    int status = ctl_call(ctl, &call, &answer);
    if (status == EXIT_GOOD) {
        ctl_print_one(ctl, answer, facts, ARRAY_LEN(facts));
        json_decref(answer);
    }
    return status;
}

static int change_user(struct ctl *ctl, json_t *change, const char *what)
{
    json_t *answer;
    const struct call call = {
        .method = "PATCH", .path = ctl_path(ctl, USERS, ctl->words[0], ""), .body = change};
    int status = ctl_call(ctl, &call, &answer);
    if (status == EXIT_GOOD) {
        ctl_print_done(ctl, answer, ctl_text(ctl, "%s %s", ctl->words[0], what));
        json_decref(answer);
    }
    return status;
}

int run_users_admin(struct ctl *ctl)
{
    bool is_on = ctl_option(ctl, "off") == NULL;
    return change_user(ctl, json_pack("{s:b}", "isAdmin", (int)is_on),
                       is_on ? "may run this server" : "may no longer run this server");
}

int run_users_password(struct ctl *ctl)
{
    const char *password = read_password(ctl);
    if (password == NULL) {
        return EXIT_USAGE;
    }
    json_t *body = json_pack("{s:s}", "password", password);
    if (body == NULL) {
        (void)fputs("meerkatctl: the password is not UTF-8\n", stderr);
        return EXIT_USAGE;
    }
    return change_user(ctl, body, "has a new password; open sessions have ended");
}

int run_users_unlock(struct ctl *ctl)
{
    json_t *answer;
    const struct call call = {.method = "POST",
                              .path = ctl_path(ctl, USERS, ctl->words[0], "/unlock"),
                              .body = json_object()};
    int status = ctl_call(ctl, &call, &answer);
    if (status == EXIT_GOOD) {
        ctl_print_done(ctl, answer, ctl_text(ctl, "%s may try again", ctl->words[0]));
        json_decref(answer);
    }
    return status;
}

/* ---- the server ------------------------------------------------------------------------------ */

int run_sessions_rotate(struct ctl *ctl)
{
    json_t *answer;
    bool is_now = ctl_option(ctl, "now") != NULL;
    const struct call call = {.method = "POST",
                              .path = "/api/admin/sessions/rotate",
                              .body = json_pack("{s:b}", "now", (int)is_now)};
    int status = ctl_call(ctl, &call, &answer);
    if (status == EXIT_GOOD) {
        ctl_print_done(ctl, answer,
                       is_now ? "sessions are signed with a new key; all others have ended"
                              : "sessions are signed with a new key; open ones go on until they "
                                "expire");
        json_decref(answer);
    }
    return status;
}

int run_audit(struct ctl *ctl)
{
    static const struct column columns[] = {
        {"WHEN", "createdAt"}, {"WHAT", "type"}, {"BY", "actor.type"}, {"WHO", "actor.name"},
        {"FROM", "ip"},        {"ON", "target"}, {"DETAIL", "detail"},
    };
    json_t *list;
    int status = ctl_pages(ctl, "/api/audit", ctl->words[0], &list);
    if (status == EXIT_GOOD) {
        ctl_print_list(ctl, list, columns, ARRAY_LEN(columns));
        json_decref(list);
    }
    return status;
}

int run_server(struct ctl *ctl)
{
    static const struct column facts[] = {
        {"version", "version"},   {"up for seconds", "uptimeSeconds"},
        {"state", "state"},       {"starts", "boot"},
        {"loops", "loops"},       {"shards", "shards"},
        {"accounts", "accounts"}, {"store", "store"},
    };
    json_t *answer;
    const struct call call = {.method = "GET", .path = "/api/admin/server"};
    int status = ctl_call(ctl, &call, &answer);
    if (status == EXIT_GOOD) {
        ctl_print_one(ctl, answer, facts, ARRAY_LEN(facts));
        json_decref(answer);
    }
    return status;
}
