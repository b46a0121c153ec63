/* keeper_verify.c - the jobs that verify the store of a running server, and repair it.
 *
 *      verify: steps of kv/verify.h over one snapshot --> report
 *      repair: the same --> findings to the shards that own the rows, a few at a time
 *              --> when something was done, once more from the start, on a new snapshot
 *
 * The keeper writes nothing itself: a row has one writer.
 */
#include "base/check.h"
#include "base/clock.h"
#include "base/limits.h"
#include "kv/key_text.h"
#include "kv/kv_stat.h"
#include "kv/verify.h"
#include "shards/keeper.h"
#include "shards/keeper_int.h"

#include <string.h>

#define ROUNDS_MAX     5
#define LIST_BYTES_MAX (40 * KIB) /* of a list in the report: three of them fit it */
#define ROW_TEXT_MAX   4096

struct verify_job {
    struct verify *verify;
    struct verify_progress progress;
    bool is_repair;
    bool is_dry;
    bool is_mending; /* the verification is over, its findings are with the shards */
    uint32_t next;   /* of the findings */
    uint32_t round;
    uint64_t done_in_round;
    uint64_t done;
    uint64_t left;
    struct buf done_list; /* JSON objects, separated by commas */
    struct buf left_list;
};

static enum err begin(struct keep_job *job, bool is_repair, bool is_dry)
{
    struct verify_job *it = arena_alloc(&job->arena, sizeof *it);
    const struct verify_options options = {.now_unix_ms = clock_unix_ms()};
    it->is_repair = is_repair;
    it->is_dry = is_dry;
    it->round = 1;
    it->verify = verify_new(job->kv, &options);
    buf_init(&it->done_list, LIST_BYTES_MAX);
    buf_init(&it->left_list, LIST_BYTES_MAX);
    job->state = it;
    return ERR_OK;
}

static enum err verify_begin(struct keep_job *job, const struct keep_wish *wish UNUSED)
{
    return begin(job, false, true);
}

static enum err repair_begin(struct keep_job *job, const struct keep_wish *wish)
{
    return begin(job, true, wish->is_dry);
}

static void note_progress(struct keep_job *job, const struct verify_job *it)
{
    char family[16];
    job->done = it->progress.rows;
    job->total = it->progress.rows_estimated;
    job->problems = (uint32_t)min_u64(it->progress.damage, UINT32_MAX);
    keep_at(job, "%s%s", kv_family_name(it->progress.family, family),
            it->round > 1 ? ", once more" : "");
}

static enum keep_step verify_work(struct keep_job *job, uint64_t budget_us)
{
    struct verify_job *it = job->state;
    bool has_more = verify_step(it->verify, budget_us);
    verify_progress(it->verify, &it->progress);
    note_progress(job, it);
    return has_more ? KEEP_STEP_MORE : KEEP_STEP_OVER;
}

/* ---- repair --------------------------------------------------------------------------------- */

/* The next few findings, which are all of one family; NULL: it is nobody's who runs. */
static struct actor *owner_of(const struct keep_job *job, uint32_t family)
{
    if (family == KV_FAMILY_META) {
        return NULL;
    }
    return family == KV_FAMILY_DELIVER ? job->place->deliver_shard : job->place->shards[family];
}

static bool post_findings(struct keep_job *job, struct verify_job *it)
{
    uint32_t count = 0;
    const struct verify_finding *all = verify_findings(it->verify, &count);
    while (it->next < count && owner_of(job, all[it->next].family) == NULL) {
        it->next++;
        it->left++;
    }
    struct msg *msg = it->next < count ? keep_take(job, MSG_SHARD_REPAIR) : NULL;
    if (msg == NULL) {
        return false;
    }
    uint32_t n = 0;
    while (n < REPAIR_AT_ONCE && it->next + n < count &&
           all[it->next + n].family == all[it->next].family) {
        n++;
    }
    msg->body.repair = (struct shard_repair){.is_dry = it->is_dry, .count = n};
    msg->body.repair.findings = arena_array(&msg->arena, n, sizeof *all);
    memcpy(msg->body.repair.findings, &all[it->next], n * sizeof *all);
    struct actor *owner = owner_of(job, all[it->next].family);
    it->next += n;
    keep_post(job, owner, msg);
    return true;
}

static enum keep_step repair_work(struct keep_job *job, uint64_t budget_us)
{
    struct verify_job *it = job->state;
    if (!it->is_mending) {
        it->is_mending = verify_work(job, budget_us) == KEEP_STEP_OVER;
        return KEEP_STEP_MORE;
    }
    if (post_findings(job, it)) {
        return KEEP_STEP_WAIT;
    }
    if (it->is_dry || it->done_in_round == 0 || it->round == ROUNDS_MAX) {
        return KEEP_STEP_OVER;
    }
    const struct verify_options options = {.now_unix_ms = clock_unix_ms()};
    verify_free(it->verify);
    it->verify = verify_new(job->kv, &options);
    it->is_mending = false;
    it->next = 0;
    it->left = 0;
    it->done_in_round = 0;
    it->round++;
    return KEEP_STEP_MORE;
}

static void write_deed(struct buf *list, const struct repair_deed *deed)
{
    struct json_writer w;
    struct buf row;
    struct buf one;
    char family[16];
    buf_init(&row, ROW_TEXT_MAX);
    buf_init(&one, 2 * ROW_TEXT_MAX);
    key_print(key_slice(&deed->key), &row);
    json_start(&w, &one);
    json_open_object(&w);
    json_key(&w, "kind");
    json_text(&w, slice_str(verify_word(deed->kind)));
    json_key(&w, "family");
    json_text(&w, slice_str(kv_family_name(deed->family, family)));
    json_key(&w, "row");
    json_text(&w, buf_slice(&row));
    json_key(&w, "text");
    json_text(&w, slice_str(deed->text));
    json_close_object(&w);
    if (buf_err(&one) == ERR_OK && list->len + one.len + 1 < LIST_BYTES_MAX) {
        buf_add_str(list, list->len > 0 ? "," : "");
        buf_add(list, buf_slice(&one));
    }
    buf_fini(&row);
    buf_fini(&one);
}

static void repair_home(struct keep_job *job, struct msg *msg)
{
    struct verify_job *it = job->state;
    const struct shard_repair *body = &msg->body.repair;
    for (uint32_t i = 0; msg->err == ERR_OK && i < body->count; i++) {
        const struct repair_deed *deed = &body->deeds[i];
        if (deed->result == REPAIR_DONE) {
            it->done++;
            it->done_in_round++;
            write_deed(&it->done_list, deed);
        } else if (deed->result == REPAIR_LEFT) {
            it->left++;
            if (it->round == 1) {
                write_deed(&it->left_list, deed);
            }
        }
    }
    if (msg->err != ERR_OK) {
        job->err = keep_refuse(job, msg->err, "a shard could not repair its rows: %s",
                               err_info(msg->err)->text);
    }
    msg_put(keeper_actor(job->keeper), msg);
}

/* ---- reports -------------------------------------------------------------------------------- */

static void verify_tell(struct keep_job *job, struct json_writer *w)
{
    const struct verify_job *it = job->state;
    verify_write(it->verify, w, LIST_BYTES_MAX);
}

static void write_list(struct json_writer *w, const char *name, const struct buf *list)
{
    struct buf whole;
    buf_init(&whole, LIST_BYTES_MAX + 2);
    buf_add_byte(&whole, '[');
    buf_add(&whole, buf_slice(list));
    buf_add_byte(&whole, ']');
    json_key(w, name);
    json_raw(w, buf_slice(&whole));
    buf_fini(&whole);
}

static void repair_tell(struct keep_job *job, struct json_writer *w)
{
    const struct verify_job *it = job->state;
    json_key(w, "dry");
    json_bool(w, it->is_dry);
    json_key(w, "doneCount");
    json_u64(w, it->done);
    json_key(w, "leftCount");
    json_u64(w, it->left);
    write_list(w, "done", &it->done_list);
    write_list(w, "left", &it->left_list);
    json_key(w, "after");
    json_open_object(w);
    verify_write(it->verify, w, 3 * LIST_BYTES_MAX);
    json_close_object(w);
}

static void verify_end(struct keep_job *job)
{
    struct verify_job *it = job->state;
    verify_free(it->verify);
    buf_fini(&it->done_list);
    buf_fini(&it->left_list);
}

const struct keep_kind keep_verify = {
    .unit = "rows",
    .begin = verify_begin,
    .step = verify_work,
    .report = verify_tell,
    .end = verify_end,
};

const struct keep_kind keep_repair = {
    .unit = "rows",
    .begin = repair_begin,
    .step = repair_work,
    .on_msg = repair_home,
    .report = repair_tell,
    .end = verify_end,
};
