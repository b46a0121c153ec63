/* meerkatctl.c - the operator's tool: accounts, users, keys and sessions of a running meerkatd.
 *
 *     meerkatctl [--socket PATH | --data DIR | --config FILE] [--json] COMMAND ...
 *
 * It speaks through the admin socket, so it runs on the daemon's machine, as root or as the
 * daemon's user. The socket is found as the daemon finds it: --socket, else the options
 * admin_socket and data from --config, the environment (MEERKAT_ADMIN_SOCKET, MEERKAT_DATA) and
 * --data. Commands that only look work on the store of a daemon that does not run, too.
 *
 * Exit status: 0 done; 1 the server refused, and said why; 2 the command line is wrong; 3 daemon or
 * store cannot be reached; 4 something is wrong with what was looked at.
 */
#include "meerkatctl.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/conf.h"
#include "base/crypto.h"
#include "base/limits.h"
#include "base/version.h"

#define GLOBALS     "socket= data= config= offline json help version"
#define OPTIONS_MAX 24

static const struct command commands[] = {
    {"accounts", "list", run_accounts_list, 0, 0, "", "", "list all accounts", NULL},
    {"accounts", "show", run_accounts_show, 1, 1, "ACCOUNT", "",
     "show an account, its users and what it has", NULL},
    {"accounts", "limits", run_accounts_limits, 1, 1, "ACCOUNT",
     "rate= key-rate= daily= retention=", "show or set the limits of an account",
     "  --rate N       requests a minute of the whole account; 0: the server's default\n"
     "  --key-rate N   requests a minute of each key; 0: the server's default\n"
     "  --daily N      mails a day; 0: the server's default\n"
     "  --retention D  days that mails are kept; 0: the server's default\n"},
    {"accounts", "suspend", run_accounts_suspend, 1, 1, "ACCOUNT", "",
     "refuse everything that its keys and people ask for", NULL},
    {"accounts", "resume", run_accounts_resume, 1, 1, "ACCOUNT", "", "take a suspension back",
     NULL},

    {"users", "list", run_users_list, 0, 1, "[ACCOUNT]", "", "list the users, of all or of one",
     NULL},
    {"users", "show", run_users_show, 1, 1, "EMAIL", "", "show a user", NULL},
    {"users", "create", run_users_create, 1, 1, "EMAIL", "admin password-stdin",
     "make a user with an account of its own",
     "  --admin            the user may run this server\n"
     "  --password-stdin   read the password from standard input; else one is made and shown\n"},
    {"users", "admin", run_users_admin, 1, 1, "EMAIL", "off", "let a user run this server",
     "  --off   no longer\n"},
    {"users", "password", run_users_password, 1, 1, "EMAIL", "",
     "set a password, read from standard input; ends the user's sessions", NULL},
    {"users", "unlock", run_users_unlock, 1, 1, "EMAIL", "",
     "forget failed log-ins, so that the next is let in", NULL},

    {"keys", "list", run_keys_list, 1, 1, "ACCOUNT", "", "list the API keys of an account", NULL},
    {"keys", "create", run_keys_create, 1, 1, "ACCOUNT",
     "name= test permission= scopes= expires= ips= domains= addresses=",
     "make an API key; it is shown this once",
     "  --name NAME         what people call it (required)\n"
     "  --test              mails are rehearsed, not sent\n"
     "  --permission P      full (the default) or send\n"
     "  --scopes A,B        instead: mail:send, mail:read, domains:read, ...\n"
     "  --expires 30d       how long it counts: a number with s, m, h or d\n"
     "  --ips A,B           networks it may be used from: 192.0.2.0/24\n"
     "  --domains A,B       domains it may send from, by name or id\n"
     "  --addresses A,B     local parts it may send as: hello, support-*\n"},
    {"keys", "show", run_keys_show, 1, 1, "KEY", "", "show an API key by its id", NULL},
    {"keys", "revoke", run_keys_revoke, 1, 1, "KEY", "", "end an API key for good", NULL},
    {"keys", "disable", run_keys_disable, 1, 1, "KEY", "", "refuse an API key for a while", NULL},
    {"keys", "enable", run_keys_enable, 1, 1, "KEY", "", "take that back", NULL},
    {"keys", "rotate", run_keys_rotate, 1, 1, "KEY",
     "overlap=", "replace an API key by a new one, shown this once",
     "  --overlap 1h   how long the old one still counts; without it, it ends now\n"},

    {"sessions", "rotate", run_sessions_rotate, 0, 0, "", "now", "sign sessions with a new key",
     "  --now   sessions that are open end; without it they last as long as they would have\n"},
    {"queue", "sites", run_queue_sites, 0, 0, "", "search=", "show what waits where, and why",
     "  --search TEXT   only sites whose name has this in it\n"},
    {"queue", "accounts", run_queue_accounts, 0, 0, "", "", "show whose mail waits", NULL},
    {"queue", "holds", run_queue_holds, 0, 0, "", "", "show what is paused or moved", NULL},
    {"queue", "ages", run_queue_ages, 0, 0, "",
     "site= account=", "show how long what is queued has waited, and how long it will",
     "  --site SITE     as `queue sites` names it\n"
     "  --account ACC   of this account only\n"},
    {"queue", "pause", run_queue_pause, 0, 0, "",
     "site= account= all reason= until=", "send nothing to a site, for an account, or at all",
     "  --site SITE     as `queue sites` names it\n"
     "  --account ACC   of this account only, or all of the account\n"
     "  --all           nothing is sent to anybody\n"
     "  --reason TEXT   for who looks later\n"
     "  --until WHEN    ends by itself: \"in 2 hours\", 2026-01-31T12:00:00Z\n"},
    {"queue", "resume", run_queue_resume, 0, 0, "",
     "site= account= all reason=", "take a pause back",
     "  --site SITE     as `queue sites` names it\n"
     "  --account ACC   of this account only, or all of the account\n"
     "  --all           the pause of everything; others stay\n"},
    {"queue", "retry", run_queue_retry, 0, 0, "",
     "site= account= reason=", "try what waits for its next try now",
     "  --site SITE     as `queue sites` names it\n"
     "  --account ACC   of this account only, or all of the account\n"},
    {"queue", "expire", run_queue_expire, 0, 0, "",
     "site= account= reason=", "give up everything queued: it bounces",
     "  --site SITE     as `queue sites` names it\n"
     "  --account ACC   of this account only, or all of the account\n"},
    {"queue", "move", run_queue_move, 0, 0, "",
     "site= pool= back reason=", "send a site's mail from another pool",
     "  --site SITE   as `queue sites` names it\n"
     "  --pool POOL   of the site policy\n"
     "  --back        from its own pool again\n"},
    {"jobs", NULL, run_jobs, 0, 0, "", "", "show the long work that runs, and the last that ended",
     NULL},
    {"job", NULL, run_job, 1, 1, "JOB", "cancel wait", "show a job and its report",
     "  --cancel   end it after the piece that it is at\n"
     "  --wait     until it has ended, and print its report\n"},
    {"backup", NULL, run_backup, 1, 2, "[list|verify] FOLDER",
     "keep= with-key backup= offline detach",
     "copy the store into a folder, list what lies there, or read one back",
     "  --keep N      older ones than the last N go, once the new one was read back\n"
     "  --with-key    the master key goes with it: whoever has the folder has every secret\n"
     "  --detach      do not wait for its end\n"
     "  --backup N    verify: this one, else the latest\n"},
    {"restore", NULL, run_restore, 1, 1, "FOLDER", "backup= key= hold",
     "make a data folder of a backup",
     "  --data DIR     the new data folder (required); it may not hold a store\n"
     "  --backup N     this one, else the latest\n"
     "  --key FILE     the master key, when it is not among the backups\n"
     "  --hold         nothing is sent from it until `queue resume --all`\n"},
    {"export", NULL, run_export, 1, 1, "ACCOUNT", "to= move passphrase-stdin detach",
     "write an account into a file, for another server",
     "  --to FILE            the file, on the daemon's machine (required)\n"
     "  --move               the account is suspended here first: it goes on there\n"
     "  --passphrase-stdin   read the file's passphrase from standard input; else one is made and\n"
     "                       shown this once\n"
     "  --detach             do not wait for its end\n"},
    {"import", NULL, run_import, 1, 1, "FILE", "detach",
     "bring an account in; its file's passphrase is read from standard input",
     "  --detach   do not wait for its end\n"},
    {"compact", NULL, run_compact, 0, 1, "[SHARD]", "detach",
     "give back what deletions left on the disk, in one shard or all",
     "  --detach   do not wait for its end\n"},
    {"explain", NULL, run_explain, 1, 1, "MESSAGE|DELIVERY", "",
     "say why a mail is not delivered yet, and what to do",
     "Exit status 0: it is delivered, or goes by itself; 4: somebody has to do something.\n"},
    {"trace", NULL, run_trace, 0, 0, "", "account= site= address= http smtp seconds=",
     "watch dialogues live: SMTP in both directions, HTTP, webhooks",
     "  --account ACC   of this account\n"
     "  --site SITE     with this destination, as `queue sites` names it\n"
     "  --address ADDR  with this IP address, or from or to this email address\n"
     "  --http          only requests and webhooks\n"
     "  --smtp          only SMTP\n"
     "  --seconds N     ends by itself; 60 without it, 3600 at most\n"
     "What is named must all fit. Credentials, bodies and tokens are never shown.\n"},
    {"retry", NULL, run_retry, 1, 1, "DELIVERY", "", "try one delivery of a mail now",
     "Also one that was given up. Deliveries have their ids from `explain`.\n"},
    {"verify", NULL, run_verify, 0, 0, "", "offline detach",
     "read every row of the store, and compare what they say",
     "  --offline   read the store of a daemon that does not run, or beside one that does\n"
     "  --detach    do not wait for its end\n"
     "Status 4 when something is wrong.\n"},
    {"loglevel", NULL, run_loglevel, 0, 2, "[LEVEL [EVENTS]]",
     "for=", "show or set what the log tells: debug, info, warn, error, default",
     "  EVENTS      only events that begin with this: deliver. or smtp.turned_away\n"
     "  --for 10m   goes back by itself; without it, a restart forgets it\n"},
    {"drain", NULL, run_drain, 0, 0, "", "cancel wait stop for= status",
     "take no more work and deliver what is queued",
     "  --status    only look\n"
     "  --cancel    take work again\n"
     "  --wait      until nothing is left to be tried\n"
     "  --stop      the daemon ends then\n"
     "  --for 10m   with --stop: at the latest then; what is left is delivered after the start\n"},
    {"rebalance", NULL, run_rebalance, 0, WORDS_MAX, "[SHARD=LOOP ...]", "dry-run window= status",
     "move shards between loops: those named, or as the load says",
     "  --status      show which loop has which shard, and the last rebalance\n"
     "  --dry-run     measure and plan only\n"
     "  --window 5s   how long the load is measured; 2s without it\n"},
    {"shards", NULL, run_shards, 0, 0, "", "offline", "show every shard: size, queue, commits",
     NULL},
    {"shard", NULL, run_shard, 1, 1, "N", "prefix= after= limit= all offline",
     "show a shard, its row families, or its rows",
     "N is a number, or \"deliver\" for what delivery remembers.\n"
     "Without an option: the shard and how many rows of each family it has.\n\n"
     "  --prefix KEY   rows whose keys begin so: a family, then parts of its keys:\n"
     "                 mail, 'mail acc_...', 'delivery msg_...', 'outbox 2026-01-31'\n"
     "  --after KEY    only those behind this one\n"
     "  --limit N      so many (20)\n"
     "  --all          page after page; with --json one row a line\n"},
    {"account", NULL, run_account, 1, 1, "ACCOUNT", "",
     "show an account, where it lives, what it has queued and sent", NULL},
    {"message", NULL, run_message, 1, 1, "MESSAGE", "raw transcripts offline",
     "show everything that is stored of a message",
     "  --raw           the mail itself, as it goes out or came in\n"
     "  --transcripts   with the dialogues of SMTP\n"},
    {"repair", NULL, run_repair, 0, 0, "", "offline yes detach salvage from=",
     "say what can be done about what verify finds, and do it with --yes",
     "  --yes       do it; without it nothing is changed\n"
     "  --offline   on the store of a daemon that does not run\n"
     "  --detach    do not wait for its end\n"
     "  --salvage   for a store with parts that cannot be read, with meerkatd stopped: copies the\n"
     "              rest into a new store; the damaged one is kept beside it\n"
     "  --from DIR  takes the rows that cannot be read from an older store\n"
     "Rows that are of no use are put aside, not thrown away. Status 4 when something stays "
     "wrong.\n"},
    {"audit", NULL, run_audit, 1, 1, "ACCOUNT", "", "show who did what in an account", NULL},
    {"top", NULL, run_top, 0, 0, "", "once interval= all",
     "show what the daemon does now: loops, shards, sites",
     "  --once         one screen, after one interval\n"
     "  --interval N   seconds between two looks; 1\n"
     "  --all          every shard, and 20 sites\n"
     "Rates are of the time between two looks; with --json each look is a line, with counters "
     "since\n"
     "the start. Shards stand in the order of the time in their handlers. ctrl-C ends it.\n"},
    {"server", NULL, run_server, 0, 0, "", "", "show the daemon that answers", NULL},
};

static const char usage[] =
    "usage: meerkatctl [--socket PATH | --data DIR | --config FILE] [--json] COMMAND ...\n";

static const char footer[] =
    "\nOptions before or behind the command:\n"
    "  --socket PATH   the daemon's admin socket; else it is found as the daemon finds it:\n"
    "  --data DIR      the daemon's data folder\n"
    "  --config FILE   the daemon's configuration\n"
    "  --offline       read the store itself, without the daemon (commands that only look)\n"
    "  --json          print what the server said, as JSON\n"
    "  --help          of a command, too\n"
    "  --version\n"
    "  --completion S  print what the shell S (bash, zsh) needs to complete commands\n"
    "\nA key's id names its account, so no account is asked for where a key is.\n"
    "Exit status: 0 done, 1 refused by the server, 2 wrong usage, 3 daemon or store not "
    "reachable,\n"
    "4 something is wrong with what was looked at.\n";

/* What came on the command line. */
struct line {
    struct ctl *ctl;
    const char *group;
    const char *verb;
    const char *socket_path;
    const char *data;
    const char *config;
    const char *options[2 * OPTIONS_MAX + 1];
    uint32_t option_count;
    bool wants_help;
    bool wants_version;
};

/* ---- small things ---------------------------------------------------------------------------- */

const char *ctl_option(const struct ctl *ctl, const char *name)
{
    for (const char *const *at = ctl->options; *at != NULL; at += 2) {
        if (strcmp(at[0], name) == 0) {
            return at[1];
        }
    }
    return NULL;
}

static void print_usage(FILE *to, const struct command *command)
{
    (void)fprintf(to, "usage: meerkatctl %s%s%s%s%s%s\n", command->group,
                  command->verb != NULL ? " " : "", command->verb != NULL ? command->verb : "",
                  command->words[0] != '\0' ? " " : "", command->words,
                  command->options[0] != '\0' ? " [options]" : "");
}

int ctl_usage(const struct ctl *ctl, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    (void)fputs("meerkatctl: ", stderr); /* nowhere else to complain, here and below */
    (void)vfprintf(stderr, fmt, args);
    (void)fputs("\n", stderr);
    va_end(args);
    if (ctl->command != NULL) {
        print_usage(stderr, ctl->command);
    } else {
        (void)fputs(usage, stderr);
        (void)fputs("meerkatctl --help lists the commands\n", stderr);
    }
    return EXIT_USAGE;
}

const char *ctl_text(struct ctl *ctl, const char *fmt, ...)
{
    va_list args;
    va_list again;
    va_start(args, fmt);
    va_copy(again, args);
    int len = vsnprintf(NULL, 0, fmt, again);
    va_end(again);
    CHECK(len >= 0);
    char *text = arena_bytes(&ctl->arena, (size_t)len + 1);
    (void)vsnprintf(text, (size_t)len + 1, fmt, args); /* as long as just measured */
    va_end(args);
    return text;
}

static void print_all(void)
{
    printf("%s\nCommands:\n", usage);
    for (size_t i = 0; i < ARRAY_LEN(commands); i++) {
        const struct command *command = &commands[i];
        char head[64];
        (void)snprintf(head, sizeof head, "%s%s%s %s", command->group,
                       command->verb != NULL ? " " : "", command->verb != NULL ? command->verb : "",
                       command->words); /* all are short */
        printf("  %-26s %s\n", head, command->summary);
    }
    (void)fputs(footer, stdout);
}

static void print_help(const struct command *command)
{
    print_usage(stdout, command);
    printf("\n%s\n", command->summary);
    if (command->more != NULL) {
        printf("\n%s", command->more);
    }
}

/* ---- the command line ------------------------------------------------------------------------ */

static const struct command *find_command(const char *group, const char *verb)
{
    for (size_t i = 0; i < ARRAY_LEN(commands); i++) {
        const struct command *command = &commands[i];
        bool is_verb = command->verb == NULL || (verb != NULL && strcmp(command->verb, verb) == 0);
        if (strcmp(command->group, group) == 0 && is_verb) {
            return command;
        }
    }
    return NULL;
}

static int take_word(struct line *line, const char *word)
{
    struct ctl *ctl = line->ctl;
    if (ctl->command != NULL) {
        if (ctl->word_count == ctl->command->words_max || ctl->word_count == WORDS_MAX) {
            return ctl_usage(ctl, "\"%s\" is one word too many", word);
        }
        ctl->words[ctl->word_count++] = word;
        return EXIT_GOOD;
    }
    if (line->group == NULL) {
        line->group = word;
        ctl->command = find_command(word, NULL);
        return EXIT_GOOD;
    }
    line->verb = word;
    ctl->command = find_command(line->group, word);
    if (ctl->command == NULL) {
        return ctl_usage(ctl, "there is no command \"%s %s\"", line->group, word);
    }
    return EXIT_GOOD;
}

/* Whether the list "rate= off" has this name; *has_value says whether a value follows. */
static bool knows_option(const char *list, struct slice name, bool *has_value)
{
    struct slice rest = slice_str(list);
    while (rest.len > 0) {
        struct slice item = slice_cut(&rest, ' ');
        *has_value = slice_ends(item, SLICE("="));
        if (slice_equal(slice_head(item, item.len - *has_value), name)) {
            return true;
        }
    }
    return false;
}

/* --name, --name=value or --name value; *at is that of the last word used. */
static int take_option(struct line *line, int argc, char **argv, int *at)
{
    struct ctl *ctl = line->ctl;
    struct slice rest = slice_from(slice_str(argv[*at]), 2);
    bool has_inline = slice_has_byte(rest, '=');
    struct slice name = slice_cut(&rest, '=');
    const char *value = has_inline ? rest.data : "";
    bool wants_value = false;
    const char *own = ctl->command != NULL ? ctl->command->options : "";
    bool is_global = knows_option(GLOBALS " man completion=", name, &wants_value);
    if (!is_global && !knows_option(own, name, &wants_value)) {
        return ctl_usage(ctl, "there is no option --%.*s%s", SLICE_FMT(name),
                         ctl->command == NULL ? " before a command" : " of this command");
    }
    if (has_inline && !wants_value) {
        return ctl_usage(ctl, "--%.*s takes no value", SLICE_FMT(name));
    }
    if (wants_value && !has_inline) {
        if (*at + 1 == argc) {
            return ctl_usage(ctl, "--%.*s needs a value", SLICE_FMT(name));
        }
        value = argv[++*at];
    }
    if (line->option_count == OPTIONS_MAX) {
        return ctl_usage(ctl, "too many options");
    }
    const char **slot = &line->options[2 * (size_t)line->option_count++];
    slot[0] = arena_cstr(&ctl->arena, name);
    slot[1] = value;
    return EXIT_GOOD;
}

static int read_line(struct line *line, int argc, char **argv)
{
    int status = EXIT_GOOD;
    bool are_words_only = false;
    for (int at = 1; at < argc && status == EXIT_GOOD; at++) {
        if (!are_words_only && strcmp(argv[at], "--") == 0) {
            are_words_only = true;
        } else if (!are_words_only && strcmp(argv[at], "-h") == 0) {
            line->wants_help = true;
        } else if (!are_words_only && strncmp(argv[at], "--", 2) == 0) {
            status = take_option(line, argc, argv, &at);
        } else {
            status = take_word(line, argv[at]);
        }
    }
    struct ctl *ctl = line->ctl;
    ctl->options = line->options;
    ctl->is_json = ctl_option(ctl, "json") != NULL;
    line->wants_help = line->wants_help || ctl_option(ctl, "help") != NULL;
    line->wants_version = ctl_option(ctl, "version") != NULL;
    line->socket_path = ctl_option(ctl, "socket");
    line->data = ctl_option(ctl, "data");
    line->config = ctl_option(ctl, "config");
    return status;
}

/* As the daemon would: the same options from the same places. */
static int find_daemon(struct line *line)
{
    struct ctl *ctl = line->ctl;
    struct conf conf;
    char name[] = "meerkatctl";
    char config[] = "--config";
    char data[] = "--data";
    char *argv[6] = {name};
    int argc = 1;
    if (line->config != NULL) {
        argv[argc++] = config;
        argv[argc++] = (char *)(uintptr_t)line->config; /* is only read */
    }
    if (line->data != NULL) {
        argv[argc++] = data;
        argv[argc++] = (char *)(uintptr_t)line->data; /* likewise */
    }
    if (!conf_load(&conf, argc, argv)) {
        return EXIT_USAGE; /* it has said why */
    }
    struct slice path = conf_admin_socket(&conf, &ctl->arena);
    ctl->socket_path = line->socket_path;
    if (ctl->socket_path == NULL && path.len > 0) {
        ctl->socket_path = arena_cstr(&ctl->arena, path);
    }
    ctl->data = arena_cstr(&ctl->arena, conf.data);
    conf_fini(&conf);
    return EXIT_GOOD;
}

static int run(struct line *line)
{
    struct ctl *ctl = line->ctl;
    if (line->wants_version) {
        printf("meerkatctl " MEERKAT_VERSION "\n");
        return EXIT_GOOD;
    }
    if (ctl_option(ctl, "man") != NULL) {
        return write_man(commands, ARRAY_LEN(commands), footer);
    }
    if (ctl_option(ctl, "completion") != NULL) {
        return write_completion(ctl, commands, ARRAY_LEN(commands), GLOBALS);
    }
    if (line->wants_help && ctl->command != NULL) {
        print_help(ctl->command);
        return EXIT_GOOD;
    }
    if (line->wants_help) {
        print_all();
        return EXIT_GOOD;
    }
    if (ctl->command == NULL) {
        return line->group == NULL ? ctl_usage(ctl, "a command is needed")
                                   : ctl_usage(ctl, "\"%s\" is no whole command", line->group);
    }
    if (ctl->word_count < ctl->command->words_min) {
        return ctl_usage(ctl, "%s is missing", ctl->command->words);
    }
    bool has_value;
    if (ctl_option(ctl, "offline") != NULL &&
        !knows_option(ctl->command->options, SLICE("offline"), &has_value)) {
        return ctl_usage(ctl, "this command needs the running daemon, so not --offline");
    }
    int status = find_daemon(line);
    return status == EXIT_GOOD ? ctl->command->run(ctl) : status;
}

int main(int argc, char **argv)
{
    struct ctl ctl = {.socket_path = NULL};
    struct line line = {.ctl = &ctl};
    check_name_thread("main");
    crypto_init();
    arena_init(&ctl.arena, 16 * KIB, 64 * MIB);
    arena_mark_secret(&ctl.arena); /* passwords pass through it */
    int status = read_line(&line, argc, argv);
    if (status == EXIT_GOOD) {
        status = run(&line);
    }
    if (fflush(stdout) != 0 && status == EXIT_GOOD) {
        (void)fputs("meerkatctl: cannot write the answer\n", stderr);
        status = EXIT_REFUSED;
    }
    arena_fini(&ctl.arena);
    return status;
}
