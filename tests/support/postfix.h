/* postfix.h - a real Postfix for flows, run from a folder of its own.
 *
 * It delivers into a maildir and touches nothing of the system's. It changes its user, so it needs
 * root and Debian's postfix user; without them the test says so and is skipped. Header-only;
 * include it in one file of a test.
 */
#ifndef SUPPORT_POSTFIX_H
#define SUPPORT_POSTFIX_H

#include <criterion/criterion.h>

#include <errno.h>
#include <pwd.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "support/certs.h"
#include "support/world.h"

#define POSTFIX_NOBODY 65534

struct postfix_options {
    const char *domains;   /* whose mail it takes */
    const char *tls_level; /* smtpd_tls_security_level */
    uint16_t tcp_port;     /* on 127.0.0.1; 0: a free one */
    const char *more;      /* further lines of main.cf, which count more; NULL: none */
};

struct postfix {
    struct peer *peer;
    const char *dir;
    uint16_t tcp_port;
};

static const char postfix_main_cf[] =
    "compatibility_level = 3.6\n"
    "queue_directory = $config_directory/queue\n"
    "data_directory = $config_directory/data\n"
    "command_directory = /usr/sbin\n"
    "daemon_directory = /usr/lib/postfix/sbin\n"
    "maillog_file = $config_directory/maillog\n"
    "maillog_file_prefixes = $config_directory\n"
    "myhostname = mx.peer.test\n"
    "mydestination =\n"
    "alias_maps =\n"
    "inet_interfaces = 127.0.0.1\n"
    "inet_protocols = ipv4\n"
    "smtputf8_enable = yes\n"
    "smtpd_peername_lookup = no\n"
    "smtpd_relay_restrictions = reject_unauth_destination\n"
    "smtpd_recipient_restrictions =\n"
    "  check_recipient_access inline:{{bounce@peer.test=550 5.1.1 No such user here}}\n"
    "virtual_mailbox_domains = %s\n"
    "virtual_mailbox_base = $config_directory/mail\n"
    "virtual_mailbox_maps = static:box/\n"
    "virtual_mailbox_limit = 0\n"
    "virtual_uid_maps = static:%d\n"
    "virtual_gid_maps = static:%d\n"
    "smtpd_tls_security_level = %s\n"
    "smtpd_tls_cert_file = %s\n"
    "smtpd_tls_key_file = %s\n"
    "smtpd_tls_received_header = yes\n"
    "%s";

static const char postfix_master_cf[] = "127.0.0.1:%u inet n - n - - smtpd\n"
                                        "cleanup   unix       n - n - 0 cleanup\n"
                                        "qmgr      unix       n - n 300 1 qmgr\n"
                                        "tlsmgr    unix       - - n 1000? 1 tlsmgr\n"
                                        "rewrite   unix       - - n - - trivial-rewrite\n"
                                        "bounce    unix       - - n - 0 bounce\n"
                                        "defer     unix       - - n - 0 bounce\n"
                                        "trace     unix       - - n - 0 bounce\n"
                                        "proxymap  unix       - - n - - proxymap\n"
                                        "error     unix       - - n - - error\n"
                                        "retry     unix       - - n - - error\n"
                                        "virtual   unix       - n n - - virtual\n"
                                        "smtp      unix       - - n - - smtp\n"
                                        "anvil     unix       - - n - 1 anvil\n"
                                        "postlog   unix-dgram n - n - 1 postlogd\n";

static inline const char *postfix_folder(struct world *world, const char *path, uid_t owner)
{
    if (mkdir(path, 0755) == -1 || chown(path, owner, (gid_t)-1) == -1) {
        world_fail(world, "cannot make %s: %s", path, strerror(errno));
    }
    return path;
}

static inline struct postfix start_postfix(struct world *world, const struct certs *certs,
                                           const struct postfix_options *options)
{
    const struct passwd *user = getpwnam("postfix");
    if (geteuid() != 0 || user == NULL) {
        cr_skip_test("Postfix needs root and its user");
    }
    uid_t uid = user->pw_uid;
    struct postfix postfix = {.dir = world_text(world, "%s/postfix", world->dir)};
    (void)chmod(world->dir, 0711); /* Postfix's processes say what they cannot reach */
    (void)postfix_folder(world, postfix.dir, 0);
    (void)postfix_folder(world, world_text(world, "%s/queue", postfix.dir), 0);
    (void)postfix_folder(world, world_text(world, "%s/data", postfix.dir), uid);
    (void)postfix_folder(world, world_text(world, "%s/mail", postfix.dir), POSTFIX_NOBODY);
    postfix.tcp_port = options->tcp_port != 0 ? options->tcp_port : world_free_port();
    world_write_file(
        world, world_text(world, "%s/main.cf", postfix.dir),
        slice_str(world_text(world, postfix_main_cf, options->domains, POSTFIX_NOBODY,
                             POSTFIX_NOBODY, options->tls_level, certs->cert_path, certs->key_path,
                             options->more != NULL ? options->more : "")));
    world_write_file(world, world_text(world, "%s/master.cf", postfix.dir),
                     slice_str(world_text(world, postfix_master_cf, (unsigned)postfix.tcp_port)));
    const char *check[] = {"/usr/sbin/postfix", "-c", postfix.dir, "check", NULL};
    const char *run[] = {"/usr/lib/postfix/sbin/master", "-c", postfix.dir, "-s", NULL};
    if (world_tool(world, check, SLICE(""), NULL) != 0) { /* it also makes the queue's folders */
        world_fail(world, "Postfix does not like its folder");
    }
    postfix.peer = world_spawn(world, "postfix", run);
    struct wait wait = wait_start(WORLD_WAIT_MS);
    while (!world_is_listening(postfix.tcp_port)) {
        if (!wait_more(&wait)) {
            struct slice said = world_read_file(world, postfix.peer->output);
            struct slice log = world_read_file(world, world_text(world, "%s/maillog", postfix.dir));
            world_fail(world, "Postfix does not start: %.*s%.*s", SLICE_FMT(said), SLICE_FMT(log));
        }
    }
    return postfix;
}

#endif
