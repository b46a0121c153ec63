/* meerkatctl_move.c - an account leaves one server in a file and comes in at another. */
#include "meerkatctl_job.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/crypto.h"
#include "base/limits.h"

#define MADE_LEN 28 /* digits of a passphrase that is made: 160 bits and more */

static const char *whole_path(struct ctl *ctl, const char *path)
{
    char here[KEEPER_PATH_MAX];
    if (path[0] == '/' || getcwd(here, sizeof here) == NULL) {
        return path;
    }
    return ctl_text(ctl, "%s/%s", here, path);
}

/* A line of standard input; NULL when there is none, or it will not do. */
static const char *read_passphrase(struct ctl *ctl)
{
    char *line = arena_bytes(&ctl->arena, KEEPER_PASSPHRASE_MAX + 2);
    char *got = fgets(line, KEEPER_PASSPHRASE_MAX + 2, stdin);
    if (got == NULL) {
        return NULL;
    }
    size_t len = strcspn(line, "\r\n");
    line[len] = '\0';
    return len >= KEEPER_PASSPHRASE_MIN && len <= KEEPER_PASSPHRASE_MAX ? line : NULL;
}

static int say_passphrase(struct ctl *ctl)
{
    return ctl_usage(ctl, "standard input has no passphrase of %d to %d bytes in its first line",
                     KEEPER_PASSPHRASE_MIN, KEEPER_PASSPHRASE_MAX);
}

static long long number(json_t *job, const char *member)
{
    return (long long)json_integer_value(ctl_member(job, member));
}

static void print_exported(struct ctl *ctl UNUSED, json_t *job)
{
    if (!ctl_job_is_done(job)) {
        if (json_is_true(ctl_member(job, "report.suspended"))) {
            printf("the account is still suspended; meerkatctl accounts resume %s lets it go on\n",
                   ctl_member_text(job, "report.account"));
        }
        return;
    }
    printf("%s is in %s: %lld rows, %lld bytes\n", ctl_member_text(job, "report.account"),
           ctl_member_text(job, "report.file"), number(job, "report.rows"),
           number(job, "report.bytes"));
    if (number(job, "report.skipped") > 0) {
        printf("%lld rows cannot be read and were left out: meerkatctl verify says which\n",
               number(job, "report.skipped"));
    }
    if (number(job, "report.underWay") > 0) {
        printf("%lld deliveries were under way and may be made twice\n",
               number(job, "report.underWay"));
    }
    if (json_is_true(ctl_member(job, "report.moved"))) {
        printf("the account is suspended here now; to take the move back: meerkatctl accounts "
               "resume %s\n",
               ctl_member_text(job, "report.account"));
    }
    printf("next: bring the file to the other server, and there: meerkatctl import FILE\n");
}

int run_export(struct ctl *ctl)
{
    char made[MADE_LEN + 1] = "";
    const char *to = ctl_option(ctl, "to");
    const char *passphrase = made;
    if (to == NULL) {
        return ctl_usage(ctl, "--to FILE is missing");
    }
    if (ctl_option(ctl, "passphrase-stdin") != NULL) {
        passphrase = read_passphrase(ctl);
    } else {
        crypto_random_base62(made, MADE_LEN);
        /* On standard error, and before the work: a file without its passphrase is lost. */
        (void)fprintf(stderr, "passphrase of the file, shown this once: %s\n", made);
    }
    if (passphrase == NULL) {
        return say_passphrase(ctl);
    }
    json_t *body =
        json_pack("{s:s, s:s, s:s, s:b}", "account", ctl->words[0], "path", whole_path(ctl, to),
                  "passphrase", passphrase, "move", ctl_option(ctl, "move") != NULL);
    crypto_wipe(made, sizeof made);
    return ctl_job_run(ctl, "export", body, print_exported);
}

static void print_imported(struct ctl *ctl UNUSED, json_t *job)
{
    const char *account = ctl_member_text(job, "report.account");
    if (!ctl_job_is_done(job)) {
        return;
    }
    printf("%s is here: %lld rows, %lld emails and domains\n", account, number(job, "report.rows"),
           number(job, "report.names"));
    if (!json_is_true(ctl_member(job, "report.moved"))) {
        printf("it is a copy, and may still work elsewhere: what it had queued is paused; "
               "meerkatctl queue resume --account %s lets it go\n",
               account);
    }
    printf("next: its people log in again; links and return paths of mails that were sent before "
           "lead to the old server\n");
}

int run_import(struct ctl *ctl)
{
    const char *passphrase = NULL;
    if (isatty(STDIN_FILENO) == 1) {
        (void)fputs("passphrase of the file: ", stderr);
    }
    passphrase = read_passphrase(ctl);
    if (passphrase == NULL) {
        return say_passphrase(ctl);
    }
    json_t *body =
        json_pack("{s:s, s:s}", "path", whole_path(ctl, ctl->words[0]), "passphrase", passphrase);
    return ctl_job_run(ctl, "import", body, print_imported);
}
