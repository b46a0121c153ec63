/* repair.h - what is done about what verify found.
 *
 * Every decision is made from rows alone, read again when it is made; nothing is guessed:
 *
 *   derived rows   an outbox row of an open delivery, names, ids, lists, counts: made again
 *   useless rows   undecodable, dangling, nobody's: into quarantine (a row family), whole
 *   anything else  left as it is, with what a person may do
 *
 * No accepted mail is lost by it: an open delivery without an outbox row gets one, due now. Whether
 * a try was under way is not known then, so it is said that the mail may arrive twice.
 *
 * The rules (repair_one) see rows through callbacks: over a closed store they are those of
 * repair_new here, in a running daemon those of the shard that owns the rows.
 */
#ifndef KV_REPAIR_H
#define KV_REPAIR_H

#include "base/arena.h"
#include "base/base.h"
#include "base/buf.h"
#include "base/err.h"
#include "kv/kv.h"
#include "kv/verify.h"

#define REPAIR_TEXT_MAX 300

enum repair_result {
    REPAIR_NOTHING, /* it is right by now, or is nothing to be done about */
    REPAIR_DONE,
    REPAIR_LEFT, /* a person has to decide */
};

struct repair_deed {
    enum repair_result result;
    enum verify_kind kind;
    uint32_t family;
    struct key key;
    char text[REPAIR_TEXT_MAX]; /* "put ... aside": what it does; LEFT: what a person may do */
};

typedef bool repair_row_fn(void *of, struct slice key, struct slice value);

/* How repair reads and writes. All writes of one deed are one batch. */
struct repair_rows {
    void *context;
    struct arena *arena; /* of one deed */
    uint32_t shard_count;
    uint64_t now_unix_ms;
    /* ERR_OK, ERR_NOT_FOUND, or why it cannot be known; then nothing is done. */
    enum err (*get)(void *context, uint32_t family, const struct key *key, struct arena *arena,
                    struct slice *value);
    void (*put)(void *context, uint32_t family, const struct key *key, struct slice value);
    void (*remove)(void *context, uint32_t family, const struct key *key);
    /* Rows of a prefix in order, until fn says no; NULL: only rules that need no scan. */
    enum err (*scan)(void *context, uint32_t family, const struct key *prefix, repair_row_fn *fn,
                     void *of);
};

/* One finding. Touches rows only through rows. */
void repair_one(struct repair_rows *rows, const struct verify_finding *finding,
                struct repair_deed *deed);

/* ---- a closed store ------------------------------------------------------------------------- */

typedef void repair_deed_fn(void *context, const struct repair_deed *deed);

struct repair_options {
    uint64_t now_unix_ms;
    bool is_dry; /* says what it would do */
    repair_deed_fn *on_deed;
    void *context;
};

struct repair;

/* Verifies, repairs what it finds, and begins again until nothing more can be done. Owns: caller;
 * repair_free. */
struct repair *repair_new(struct kv *kv, const struct repair_options *options);
void repair_free(struct repair *repair);
/* As verify_step. */
bool repair_step(struct repair *repair, uint64_t budget_us);
/* ERR_STORAGE: it could not write, and has stopped. */
MUST_USE enum err repair_err(const struct repair *repair);
uint64_t repair_count(const struct repair *repair, enum repair_result result);
/* The verification that runs, or ran last: after a repair, what is left. */
const struct verify *repair_verify(const struct repair *repair);
uint32_t repair_round(const struct repair *repair);

#endif
