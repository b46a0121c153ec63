/* meerkatctl_verify.c - verify: is the store what it should be? And repair, of a closed one. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/check.h"
#include "base/clock.h"
#include "base/limits.h"
#include "base/log.h"
#include "kv/key_text.h"
#include "kv/kv_stat.h"
#include "kv/repair.h"
#include "kv/salvage.h"
#include "kv/verify.h"
#include "meerkatctl_job.h"
#include "meerkatctl_store.h"
#include "meerkatctl_verify.h"

#define STEP_US      200000
#define REPORT_MAX   (4 * MIB)
#define DEEDS_MAX    10000 /* listed */
#define ROW_TEXT_MAX 4096
#define SHOWN_MAX    50 /* findings of the report for people */

/* ---- for people ------------------------------------------------------------------------------ */

static void print_size(char out[32], double bytes)
{
    static const char *const units[] = {"bytes", "KiB", "MiB", "GiB", "TiB"};
    size_t unit = 0;
    while (bytes >= 1024 && unit + 1 < ARRAY_LEN(units)) {
        bytes /= 1024;
        unit++;
    }
    (void)snprintf(out, 32, unit == 0 ? "%.0f %s" : "%.1f %s", bytes, units[unit]); /* fits */
}

static void print_finding(json_t *finding)
{
    const char *after = ctl_member_text(finding, "after");
    const char *detail = ctl_member_text(finding, "detail");
    printf("  %-8s %-16s ", ctl_member_text(finding, "family"), ctl_member_text(finding, "kind"));
    if (after[0] != '\0') {
        const char *before = ctl_member_text(finding, "before");
        printf("behind %s, up to %s", after, before[0] != '\0' ? before : "the end");
    } else {
        printf("%s", ctl_member_text(finding, "row"));
    }
    printf("%s", detail[0] != '\0' ? ": " : "");
    ctl_print_safely(detail);
    printf("\n");
}

static void print_kinds(json_t *report, bool is_damage)
{
    json_t *kinds = ctl_member(report, "kinds");
    for (size_t i = 0; i < json_array_size(kinds); i++) {
        json_t *kind = json_array_get(kinds, i);
        if (json_is_true(ctl_member(kind, "damage")) == is_damage) {
            printf("%8" JSON_INTEGER_FORMAT "  %-16s %s\n",
                   json_integer_value(ctl_member(kind, "count")), ctl_member_text(kind, "kind"),
                   ctl_member_text(kind, "text"));
        }
    }
}

static void print_findings(json_t *report)
{
    json_t *findings = ctl_member(report, "findings");
    size_t shown = 0;
    size_t damage = 0;
    for (size_t i = 0; i < json_array_size(findings); i++) {
        json_t *finding = json_array_get(findings, i);
        if (json_is_true(ctl_member(finding, "damage")) && damage++ < SHOWN_MAX) {
            print_finding(finding);
            shown++;
        }
    }
    if (damage > shown) {
        printf("  and %zu more; --json has them\n", damage - shown);
    }
}

void ctl_print_verified(struct ctl *ctl UNUSED, json_t *report)
{
    char size[32];
    json_int_t damage = json_integer_value(ctl_member(report, "damage"));
    json_int_t notes = json_integer_value(ctl_member(report, "notes"));
    print_size(size, (double)json_integer_value(ctl_member(report, "bytes")));
    printf("%" JSON_INTEGER_FORMAT " rows, %s read in %.1f s: %s\n",
           json_integer_value(ctl_member(report, "rows")), size,
           (double)json_integer_value(ctl_member(report, "ms")) / 1000,
           damage == 0 ? "nothing is wrong" : "something is wrong");
    if (damage > 0) {
        print_kinds(report, true);
        printf("\n");
        print_findings(report);
        printf(
            "\n\"meerkatctl repair\" shows what would be done about it, and does nothing yet.\n");
    }
    if (notes > 0) {
        printf("%sWhat the daemon takes care of by itself:\n", damage > 0 ? "\n" : "");
        print_kinds(report, false);
    }
}

/* ---- offline --------------------------------------------------------------------------------- */

void ctl_show_verify(const struct verify *verify, bool is_over)
{
    struct verify_progress progress;
    if (isatty(STDERR_FILENO) != 1) {
        return;
    }
    if (is_over) {
        (void)fputs("\r\033[K", stderr); /* it is only for the eye, here and below */
        return;
    }
    char family[16];
    verify_progress(verify, &progress);
    uint64_t of = max_u64(progress.rows_estimated, 1);
    (void)fprintf(stderr,
                  "\r\033[Kverify: %" PRIu64 " of about %" PRIu64 " rows (%" PRIu64
                  " %%), %s, %" PRIu64 " wrong, about %" PRIu64 " s left",
                  progress.rows, of, progress.rows * 100 / of,
                  kv_family_name(progress.family, family), progress.damage,
                  (progress.left_ms + 999) / 1000);
}

static json_t *report_of(const struct verify *verify)
{
    struct buf text;
    buf_init(&text, REPORT_MAX);
    verify_report(verify, &text);
    json_t *report = json_loadb(text.data, text.len, 0, NULL);
    CHECK(report != NULL);
    buf_fini(&text);
    return report;
}

static void print_document(const json_t *document)
{
    char *text = json_dumps(document, JSON_INDENT(2));
    printf("%s\n", text != NULL ? text : "");
    free(text);
}

static int verify_offline(struct ctl *ctl)
{
    struct kv *kv = NULL;
    struct verify_progress progress;
    int status = ctl_store_open(ctl, false, &kv, NULL);
    if (status != EXIT_GOOD) {
        return status;
    }
    const struct verify_options options = {.now_unix_ms = clock_unix_ms()};
    struct verify *verify = verify_new(kv, &options);
    while (verify_step(verify, STEP_US)) {
        ctl_show_verify(verify, false);
    }
    ctl_show_verify(verify, true);
    verify_progress(verify, &progress);
    json_t *report = report_of(verify);
    verify_free(verify);
    kv_close(kv);
    if (ctl->is_json) {
        print_document(report);
    } else {
        ctl_print_verified(ctl, report);
    }
    json_decref(report);
    return progress.damage > 0 ? EXIT_WRONG : EXIT_GOOD;
}

static void print_verify_job(struct ctl *ctl, json_t *job)
{
    if (ctl_job_is_done(job)) {
        ctl_print_verified(ctl, ctl_member(job, "report"));
        return;
    }
    printf("only a part of the store was read, so nothing can be said of it\n");
}

int run_verify(struct ctl *ctl)
{
    if (ctl_is_offline(ctl)) {
        return verify_offline(ctl);
    }
    return ctl_job_run(ctl, "verify", NULL, print_verify_job);
}

/* ---- repair ---------------------------------------------------------------------------------- */

struct mending {
    struct ctl *ctl;
    json_t *done;
    json_t *left;
};

static void take_deed(void *context, const struct repair_deed *deed)
{
    struct mending *mending = context;
    char family[16];
    bool is_done = deed->result == REPAIR_DONE;
    json_t *list = is_done ? mending->done : mending->left;
    if (json_array_size(list) >= DEEDS_MAX) {
        return; /* all of them are counted */
    }
    struct buf row;
    buf_init(&row, ROW_TEXT_MAX);
    key_print(key_slice(&deed->key), &row);
    (void)json_array_append_new(/* this only fails without memory */
                                list,
                                json_pack("{s:s, s:s, s:s%, s:s}", "kind", verify_word(deed->kind),
                                          "family", kv_family_name(deed->family, family), "row",
                                          row.data, row.len, "text", deed->text));
    if (!mending->ctl->is_json) {
        printf("  %s %s%.*s%s%s\n", is_done ? "-" : "!",
               is_done ? "" : "left: ", is_done ? 0 : (int)row.len, row.data, is_done ? "" : ": ",
               deed->text);
    }
    buf_fini(&row);
}

static void print_mended(const struct mending *mending, bool is_dry, json_t *after)
{
    size_t done = json_array_size(mending->done);
    size_t left = json_array_size(mending->left);
    if (done == 0 && left == 0) {
        printf("nothing is to be done\n");
    } else if (is_dry) {
        printf("\nThis is what repair would do; nothing was changed. --yes does it, and what "
               "follows from it.\n");
    }
    if (!is_dry) {
        printf("\nThe store as it is now: ");
        ctl_print_verified(mending->ctl, after);
    }
}

/* What kv has, rounds of repair, and the report; the store is closed afterwards. */
static int repair_store(struct ctl *ctl, struct kv *kv, bool is_dry, json_t *salvaged)
{
    struct verify_progress progress;
    struct mending mending = {.ctl = ctl, .done = json_array(), .left = json_array()};
    const struct repair_options options = {.now_unix_ms = clock_unix_ms(),
                                           .is_dry = is_dry,
                                           .on_deed = take_deed,
                                           .context = &mending};
    struct repair *repair = repair_new(kv, &options);
    while (repair_step(repair, STEP_US)) {
        ctl_show_verify(repair_verify(repair), false);
    }
    ctl_show_verify(repair_verify(repair), true);
    verify_progress(repair_verify(repair), &progress);
    json_t *after = report_of(repair_verify(repair));
    enum err err = repair_err(repair);
    repair_free(repair);
    kv_close(kv);
    if (ctl->is_json) {
        json_t *document =
            json_pack("{s:b, s:O, s:O, s:O, s:O?}", "dry", is_dry, "done", mending.done, "left",
                      mending.left, "after", after, "salvaged", salvaged);
        print_document(document);
        json_decref(document);
    } else {
        print_mended(&mending, is_dry, after);
    }
    if (err != ERR_OK) {
        (void)fputs("meerkatctl: the store could not be written; the line above says why\n",
                    stderr);
    }
    json_decref(after);
    json_decref(mending.done);
    json_decref(mending.left);
    if (err != ERR_OK) {
        return EXIT_UNREACHABLE; /* and a salvaged copy is not put in place */
    }
    return progress.damage > 0 ? EXIT_WRONG : EXIT_GOOD;
}

static int repair_offline(struct ctl *ctl, bool is_dry)
{
    struct kv *kv = NULL;
    int status = ctl_store_open(ctl, !is_dry, &kv, NULL);
    return status == EXIT_GOOD ? repair_store(ctl, kv, is_dry, NULL) : status;
}

/* ---- salvage --------------------------------------------------------------------------------- */

struct salvaging {
    struct ctl *ctl;
    json_t *holes;
};

static void show_copy(void *context UNUSED, const struct salvage_counts *counts)
{
    char size[32];
    if (isatty(STDERR_FILENO) == 1) {
        print_size(size, (double)counts->bytes);
        (void)fprintf(stderr, "\r\033[Ksalvage: %" PRIu64 " rows, %s, %" PRIu64 " holes",
                      counts->rows, size, counts->holes); /* it is only for the eye */
    }
}

static void take_hole(void *context, const struct salvage_hole *hole)
{
    struct salvaging *salvaging = context;
    char family[16];
    struct buf after;
    struct buf before;
    buf_init(&after, ROW_TEXT_MAX);
    buf_init(&before, ROW_TEXT_MAX);
    key_print(key_slice(&hole->damage.from), &after);
    key_print(key_slice(&hole->damage.to), &before);
    (void)json_array_append_new(/* this only fails without memory */
                                salvaging->holes,
                                json_pack("{s:s, s:s%, s:s%, s:s, s:I}", "family",
                                          kv_family_name(hole->family, family), "after",
                                          after.len > 0 ? after.data : "", after.len, "before",
                                          before.len > 0 ? before.data : "", before.len, "files",
                                          hole->damage.files, "filled", (json_int_t)hole->filled));
    if (!salvaging->ctl->is_json) {
        printf("  %s: cannot be read behind %.*s, up to %.*s: %s; %" PRIu64
               " rows came from the older copy\n",
               kv_family_name(hole->family, family), after.len > 0 ? (int)after.len : 9,
               after.len > 0 ? after.data : "the start", before.len > 0 ? (int)before.len : 7,
               before.len > 0 ? before.data : "the end", hole->damage.files, hole->filled);
    }
    buf_fini(&after);
    buf_fini(&before);
}

static int say_failed(const char *why)
{
    (void)fprintf(stderr, "meerkatctl: %s\n", why);
    return EXIT_UNREACHABLE;
}

/* The copy is repaired before it takes the store's place. */
static int mend_copy(struct ctl *ctl, const struct salvage *salvage, json_t *holes)
{
    struct kv *kv = NULL;
    const struct kv_options options = {.path = slice_str(salvage_path(salvage)),
                                       .cache_bytes = 48 * MIB,
                                       .memtable_bytes = 64 * MIB,
                                       .must_exist = true};
    if (kv_open(&options, &kv) != ERR_OK) {
        return say_failed("the copy cannot be opened; the line above says why");
    }
    return repair_store(ctl, kv, false, holes);
}

static int run_salvage(struct ctl *ctl)
{
    char why[SALVAGE_WHY_MAX];
    char kept[SALVAGE_PATH_MAX];
    struct salvage *salvage = NULL;
    struct salvage_counts counts;
    struct salvaging salvaging = {.ctl = ctl, .holes = json_array()};
    const struct salvage_options options = {.path = ctl_store_path(ctl),
                                            .from = ctl_option(ctl, "from"),
                                            .now_unix_ms = clock_unix_ms(),
                                            .on_hole = take_hole,
                                            .on_progress = show_copy,
                                            .context = &salvaging};
    log_set_level(LOG_LEVEL_ERROR); /* its words go to standard error */
    if (salvage_copy(&options, &salvage, why) != ERR_OK) {
        json_decref(salvaging.holes);
        return say_failed(why);
    }
    salvage_counts(salvage, &counts);
    if (!ctl->is_json) {
        printf("%" PRIu64 " rows were copied, %" PRIu64 " of them from the older copy; %" PRIu64
               " holes\n",
               counts.rows, counts.filled, counts.holes);
    }
    int status = mend_copy(ctl, salvage, salvaging.holes);
    if (status == EXIT_GOOD || status == EXIT_WRONG) {
        if (salvage_swap(salvage, kept, why) != ERR_OK) {
            status = say_failed(why);
        } else if (!ctl->is_json) {
            printf("\nThe new store is in place; the damaged one is kept as %s.\n", kept);
            printf("%s", counts.filled > 0
                             ? "Rows of the older copy are as they were then: mail that was sent "
                               "since may be sent again.\n"
                             : "");
        }
    }
    salvage_free(salvage);
    json_decref(salvaging.holes);
    return status;
}

static void print_deeds(json_t *deeds, bool is_done)
{
    for (size_t i = 0; i < json_array_size(deeds); i++) {
        json_t *deed = json_array_get(deeds, i);
        if (is_done) {
            printf("  - %s\n", ctl_member_text(deed, "text"));
        } else {
            printf("  ! left: %s: %s\n", ctl_member_text(deed, "row"),
                   ctl_member_text(deed, "text"));
        }
    }
}

/* Of a running daemon; its lists are cut when they are long. */
static void print_repair_job(struct ctl *ctl, json_t *job)
{
    json_t *report = ctl_member(job, "report");
    struct mending mending = {
        .ctl = ctl, .done = ctl_member(report, "done"), .left = ctl_member(report, "left")};
    print_deeds(mending.done, true);
    print_deeds(mending.left, false);
    if (ctl_job_is_done(job)) {
        print_mended(&mending, json_is_true(ctl_member(report, "dry")),
                     ctl_member(report, "after"));
    }
}

int run_repair(struct ctl *ctl)
{
    bool is_dry = ctl_option(ctl, "yes") == NULL;
    bool is_salvage = ctl_option(ctl, "salvage") != NULL;
    if (!is_salvage && ctl_option(ctl, "from") != NULL) {
        return ctl_usage(ctl, "--from is for --salvage");
    }
    if (is_salvage && !is_dry) {
        return run_salvage(ctl);
    }
    if (ctl_is_offline(ctl)) {
        return repair_offline(ctl, is_dry);
    }
    json_t *body = is_dry ? NULL : json_pack("{s:b}", "yes", 1);
    return ctl_job_run(ctl, "repair", body, print_repair_job);
}
