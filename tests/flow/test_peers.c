/* Flow: mail to a real Postfix, found through a real DNS server, over TLS; and signatures as two
 * other implementations of DKIM judge them.
 *
 * Postfix needs root and its user (support/postfix.h); without them this is skipped.
 *
 * Not covered here: peers that misbehave (test_delivery.c).
 */
#include <criterion/criterion.h>

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "support/postfix.h"
#include "support/verify.h"
#include "support/world.h"

static const struct postfix_options peer = {.domains = "peer.test", .tls_level = "may"};

/* The only mail in the maildir, with the line ends it had on the wire. */
static struct slice take_mail(struct world *world, const struct postfix *postfix)
{
    const char *folder = world_text(world, "%s/mail/box/new", postfix->dir);
    const char *path = NULL;
    struct wait wait = wait_start(WORLD_WAIT_MS);
    while (path == NULL && wait_more(&wait)) {
        DIR *dir = opendir(folder);
        struct dirent *entry;
        while (dir != NULL && (entry = readdir(dir)) != NULL) {
            path =
                entry->d_name[0] != '.' ? world_text(world, "%s/%s", folder, entry->d_name) : path;
        }
        if (dir != NULL) {
            (void)closedir(dir); /* it was only read */
        }
    }
    cr_assert_not_null(path, "no mail came");
    struct slice mail = world_read_file(world, path);
    cr_assert_eq(unlink(path), 0);
    char *wire = arena_bytes(&world->arena, 2 * mail.len);
    size_t len = 0;
    for (size_t i = 0; i < mail.len; i++) {
        if (mail.data[i] == '\n') {
            wire[len++] = '\r';
        }
        wire[len++] = mail.data[i];
    }
    return slice_of(wire, len);
}

/* A world whose only mail server is Postfix, for peer.test. Returns the sending domain's reply. */
static struct reply *begin(struct world *world, const struct postfix *postfix)
{
    world_set(world, "smtp_port", "%u", (unsigned)postfix->tcp_port);
    world_set(world, "retry_first_ms", "3600000");
    world_dns(world, "host-record=" WORLD_HOST ",127.0.0.1\nhost-record=mx.peer.test,127.0.0.1\n"
                     "mx-host=peer.test,mx.peer.test,10\n");
    world_start(world);
    (void)world_signup(world, "owner@customer.test"); /* its key is the world's */
    return world_get(world, "/api/domains/%s", world_domain(world, "send.test"));
}

/* ---- DKIM by others -------------------------------------------------------------------------- */

static const char *const key_names[] = {"mk1._domainkey.send.test", "mk2._domainkey.send.test"};

static void check_with_dkimpy(const char *name, struct slice mail, const struct reply *domain)
{
    FILE *pipe = verify_start("verify_dkim.py");
    cr_assert_not_null(pipe);
    verify_put(pipe, "name", slice_str(name));
    verify_put(pipe, "mail", mail);
    verify_put(pipe, "expect", SLICE("pass"));
    for (size_t i = 0; i < ARRAY_LEN(key_names); i++) {
        char entry[2048];
        int len = snprintf(entry, sizeof entry, "%s%c%s", key_names[i], '\0',
                           reply_record(domain, key_names[i]));
        cr_assert_lt((size_t)len, sizeof entry);
        verify_put(pipe, "record", slice_of(entry, (size_t)len));
    }
    verify_end_case(pipe);
    cr_assert_eq(verify_finish(pipe), 0, "%s: dkimpy rejects the mail", name);
}

/* opendkim has the keys from a file and judges the mail as it would in a milter. */
static struct slice ask_opendkim(struct world *world, struct slice mail, const struct reply *domain)
{
    const char *keys = world_text(world, "%s/opendkim.keys", world->dir);
    const char *conf = world_text(world, "%s/opendkim.conf", world->dir);
    const char *file = world_text(world, "%s/opendkim.eml", world->dir);
    const char *lines =
        world_text(world, "%s %s\n%s %s\n", key_names[0], reply_record(domain, key_names[0]),
                   key_names[1], reply_record(domain, key_names[1]));
    world_write_file(world, keys, slice_str(lines));
    world_write_file(world, conf,
                     slice_str(world_text(world, "Mode v\nTestPublicKeys %s\nSyslog no\n", keys)));
    world_write_file(world, file, mail);
    const char *argv[] = {"/usr/sbin/opendkim", "-x", conf, "-t", file, "-vvv", NULL};
    struct slice said;
    cr_assert_eq(world_tool(world, argv, SLICE(""), &said), 0);
    return said;
}

static bool has_pass(struct slice said, const char *algorithm)
{
    while (said.data != NULL) {
        struct slice line = slice_cut(&said, '\n');
        if (slice_find(line, SLICE("dkim=pass")) != SIZE_MAX &&
            slice_find(line, slice_str(algorithm)) != SIZE_MAX) {
            return true;
        }
    }
    return false;
}

static void check_with_opendkim(struct world *world, const char *name, struct slice mail,
                                const struct reply *domain)
{
    struct slice said = ask_opendkim(world, mail, domain);
    cr_expect(has_pass(said, "a=rsa-sha256"), "%s: %.*s", name, SLICE_FMT(said));
    cr_expect(has_pass(said, "a=ed25519-sha256"), "%s: %.*s", name, SLICE_FMT(said));
    /* And the question was a real one: one byte later there is no pass. */
    struct slice forged = arena_dup(&world->arena, mail);
    ((char *)(uintptr_t)forged.data)[slice_rfind_byte(forged, '\r') - 1] ^= 1;
    said = ask_opendkim(world, forged, domain);
    cr_expect_eq(slice_find(said, SLICE("dkim=pass")), SIZE_MAX, "%s: %.*s", name, SLICE_FMT(said));
}

/* ---- flows ----------------------------------------------------------------------------------- */

struct letter {
    const char *name;
    const char *body;
};

#define ENVELOPE "{'from':'Ann <ann@send.test>','to':'Bob <bob@peer.test>',"

static const struct letter letters[] = {
    {"plain", ENVELOPE "'subject':'Hello','text':'A line.\\n.dot\\n'}"},
    {"an empty line at the end", ENVELOPE "'subject':' two  spaces ','text':'x\\n\\n\\n'}"},
    {"both parts and a file",
     ENVELOPE "'subject':'Gr\xc3\xbc\xc3\x9f"
              "e','text':'\xc3\xa4','html':'<p>\xc3\xa4</p>','headers':{'X-A':'b','List-Id':"
              "'<l.send.test>'},'attachments':[{'filename':'\xc3\xa4.bin','content':'AAECAwQF'}]}"},
    {"an international recipient",
     "{'from':'Ann <ann@send.test>','to':'j\xc3\xbcrgen@peer.test','text':'x'}"},
};

Test(peers, postfix_takes_mail_over_tls_and_others_verify_its_signatures)
{
    struct certs certs;
    certs_make(&certs, "mx.peer.test", 86400);
    struct world *world = world_new();
    struct postfix postfix = start_postfix(world, &certs, &peer);
    struct reply *domain = begin(world, &postfix);
    for (size_t i = 0; i < ARRAY_LEN(letters); i++) {
        const struct letter *letter = &letters[i];
        const char *id = world_send(world, letter->body, NULL);
        struct reply *read = world_await(world, id, "deliveries.0.status", "delivered");
        cr_expect(slice_starts(slice_str(reply_text(read, "deliveries.0.tls")), SLICE("TLSv1.3 ")),
                  "%s: %s", letter->name, reply_text(read, "deliveries.0.tls"));
        cr_expect_str_eq(reply_text(read, "deliveries.0.remote_host"), "mx.peer.test");

        struct slice mail = take_mail(world, &postfix);
        size_t received = slice_find(mail, SLICE("\r\nReceived: "));
        cr_assert_neq(received, SIZE_MAX);
        struct slice line = slice_head(slice_from(mail, received + 2), 500);
        cr_expect_neq(slice_find(line, SLICE("using TLSv1.3")), SIZE_MAX, "%s: %.*s", letter->name,
                      SLICE_FMT(line));
        cr_expect_neq(slice_find(line, SLICE("from " WORLD_HOST)), SIZE_MAX, "%.*s",
                      SLICE_FMT(line));
        cr_expect(slice_starts(mail, SLICE("Return-Path: <b.")), "%.60s", mail.data);

        check_with_dkimpy(letter->name, mail, domain);
        check_with_opendkim(world, letter->name, mail, domain);
    }
    world_end(world);
    certs_remove(&certs);
}

Test(peers, postfix_says_which_recipient_it_does_not_know)
{
    struct certs certs;
    certs_make(&certs, "mx.peer.test", 86400);
    struct world *world = world_new();
    struct postfix postfix = start_postfix(world, &certs, &peer);
    (void)begin(world, &postfix); /* its keys are not looked at */
    const char *id = world_send(world, "{'from':'ann@send.test',"
                                       "'to':['bob@peer.test','bounce@peer.test'],'text':'x'}");
    struct reply *read = world_await(world, id, "deliveries.1.status", "bounced");
    cr_expect_str_eq(reply_text(read, "deliveries.0.status"), "delivered");
    cr_expect_eq(reply_int(read, "deliveries.1.last_status_code"), 550);
    cr_expect_str_eq(reply_text(read, "deliveries.1.enhanced_status"), "5.1.1");
    cr_expect_not_null(strstr(reply_text(read, "deliveries.1.last_response"), "No such user"));
    (void)take_mail(world, &postfix); /* waits for it */
    world_end(world);
    certs_remove(&certs);
}
