/* metric.c - static rows of cells, one for each thread and one for each actor.
 *
 * A cell has one writing thread, so an addition is a relaxed load and a relaxed store and never a
 * locked instruction; who prints may read a value that is a moment old, and never half of one. Rows
 * begin on their own cache lines, so no two writers share one. An actor's row is written by the
 * thread that runs the actor; where it moves to another loop, its port orders the two.
 *
 * Where the cells of a metric begin in its row is counted by the compiler, from the tables.
 *
 * LOW and HIGH: a cell for the last value, and two for the mark, by turns of the epoch that each
 * print begins. A mark carries its epoch; one of another epoch is old and counts for nothing.
 *
 * The cells are one of the few mutable things at file scope: they are the process's own.
 */
#include "base/metric.h"

#include "base/check.h"
#include "base/limits.h"

#include <inttypes.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#define CACHE_LINE   64
#define EXACT_COUNT  4                                     /* bounds 1, 2, 3, 4 */
#define OCTAVE_LAST  30                                    /* that ends with 2^31 */
#define BOUND_COUNT  (EXACT_COUNT + 4 * (OCTAVE_LAST - 1)) /* finite ones */
#define BUCKET_COUNT (BOUND_COUNT + 1)                     /* and +Inf */
#define FINE_FROM    UINT64_C(64)
#define FINE_TO      (UINT64_C(1) << 22)
#define SIZES_TO     (UINT64_C(1) << 16)
#define NAME_MAX_    24
#define SITE_MAX_    (POOL_NAME_MAX + 1) /* providers are called as pools may be */
#define SHARED_SLOT  METRIC_SLOT_MAX
#define ALL_ROWS     UINT32_MAX

enum whose { WHOSE_SUM, WHOSE_LOOP, WHOSE_ACTOR, WHOSE_SHARD };

#define CELLS_COUNTER   1
#define CELLS_GAUGE     1
#define CELLS_SECONDS   1
#define CELLS_MILLIS    1
#define CELLS_LOW       3
#define CELLS_HIGH      3
#define CELLS_SUMMARY   2                  /* number, sum */
#define CELLS_HISTOGRAM (BUCKET_COUNT + 1) /* not cumulative; and the sum */
#define CELLS_FINE      CELLS_HISTOGRAM
#define CELLS_SIZES     CELLS_HISTOGRAM

#define CELLS_OF(type, label, more) (CELLS_##type * LABEL_##label##_COUNT * LABEL_##more##_COUNT)

/* clang-format off */
#define ROOM(name, count) AT_##name, AT_##name##_LAST = AT_##name + (int)(count) - 1,
#define THREAD_SUM(name, count)   ROOM(name, count)
#define THREAD_LOOP(name, count)  ROOM(name, count)
#define THREAD_ACTOR(name, count)
#define THREAD_SHARD(name, count)
#define ACTOR_SUM(name, count)
#define ACTOR_LOOP(name, count)
#define ACTOR_ACTOR(name, count)  ROOM(name, count)
#define ACTOR_SHARD(name, count)  ROOM(name, count)
enum thread_cells {
#define X(name, type, text, help) ROOM(name, CELLS_##type)
    METRIC_TABLE(X)
#undef X
#define X(name, type, whose, label, more, text, help)                                              \
    THREAD_##whose(name, CELLS_OF(type, label, more))
    METRIC_LABELLED(X)
#undef X
    THREAD_CELLS
};
enum actor_cells {
#define X(name, type, whose, label, more, text, help)                                              \
    ACTOR_##whose(name, CELLS_OF(type, label, more))
    METRIC_LABELLED(X)
#undef X
    ACTOR_CELLS
};
/* clang-format on */

struct thread_row {
    _Alignas(CACHE_LINE) _Atomic uint64_t cells[THREAD_CELLS];
};
struct actor_row {
    _Alignas(CACHE_LINE) _Atomic uint64_t cells[ACTOR_CELLS];
};
_Static_assert(sizeof(struct thread_row) % CACHE_LINE == 0, "rows do not share cache lines");
_Static_assert(sizeof(struct thread_row) <= 40 * KIB, "metrics of a thread stay small");
_Static_assert(sizeof(struct actor_row) <= KIB, "metrics of an actor stay small");

enum label {
    BY_NONE,
    BY_ERR,
    BY_SITE,
#define X(name, text) BY_##name,
    LABEL_TABLE(X)
#undef X
};

struct metric_info {
    const char *name;
    const char *help;
    uint32_t at;
    uint16_t cells;  /* of one value of the labels */
    uint16_t labels; /* values of both together */
    uint8_t type;
    uint8_t whose;
    uint8_t label;
    uint8_t more;
};

static const struct metric_info metric_infos[METRIC_COUNT] = {
#define INFO(name_, type_, whose_, label_, more_, text_, help_)                                    \
    [METRIC_##name_] = {                                                                           \
        .name = (text_),                                                                           \
        .help = (help_),                                                                           \
        .at = AT_##name_,                                                                          \
        .cells = CELLS_##type_,                                                                    \
        .labels = LABEL_##label_##_COUNT * LABEL_##more_##_COUNT,                                  \
        .type = METRIC_##type_,                                                                    \
        .whose = WHOSE_##whose_,                                                                   \
        .label = BY_##label_,                                                                      \
        .more = BY_##more_,                                                                        \
    },
#define X(name_, type_, text_, help_) INFO(name_, type_, SUM, NONE, NONE, text_, help_)
    METRIC_TABLE(X)
#undef X
        METRIC_LABELLED(INFO)
#undef INFO
};

#define WORD(name, text) [LABEL_##name] = (text),
#define X(name, text)                                                                              \
    static const char *const words_##name[] = {LABEL_LIST_##name(WORD)};                           \
    _Static_assert(ARRAY_LEN(words_##name) == LABEL_##name##_COUNT, "a word for each value");
LABEL_TABLE(X)
#undef X
#undef WORD

struct label_info {
    const char *key;
    const char *const *words; /* NULL: known at run time */
    uint32_t count;
};

static const struct label_info label_infos[] = {[BY_NONE] = {"", NULL, 1},
                                                [BY_ERR] = {"err", NULL, LABEL_ERR_COUNT},
                                                [BY_SITE] = {"site", NULL, LABEL_SITE_COUNT},
#define X(name, text) [BY_##name] = {text, words_##name, LABEL_##name##_COUNT},
                                                LABEL_TABLE(X)
#undef X
};

/* Those of which there is one come behind the shards and the edges. */
static const char *const lone_actors[] = {"ledger", "deliver", "commit", "main", "keeper", "other"};
_Static_assert(METRIC_ACTORS == SHARD_COUNT_MAX + LOOP_COUNT_MAX + ARRAY_LEN(lone_actors), "rows");

static struct thread_row threads[METRIC_SLOT_MAX + 1];
static struct actor_row actors[METRIC_ACTORS];
static _Atomic bool is_actor_known[METRIC_ACTORS];
static _Atomic uint32_t epoch = 1; /* marks of 0 are from before the first */
static char slot_names[METRIC_SLOT_MAX][NAME_MAX_];
static char site_names[LABEL_SITE_COUNT][SITE_MAX_] = {"other"};
static _Thread_local uint32_t thread_slot = SHARED_SLOT;

static const struct metric_info *info_of(enum metric metric);
static _Atomic uint64_t *cell_of(const struct metric_info *info, uint32_t row, uint32_t label);
static _Atomic uint64_t *own_cell(enum metric metric, uint32_t label);
static _Atomic uint64_t *actor_cell(enum metric metric, uint32_t actor, uint32_t label);
static void cell_add(_Atomic uint64_t *cell, uint64_t value);
static uint64_t cell_read(_Atomic uint64_t *cell);
static void cell_set(_Atomic uint64_t *cell, uint64_t value);
static void count_into(_Atomic uint64_t *cells, uint64_t value);
static uint32_t row_count(const struct metric_info *info);
static uint32_t label_count(const struct metric_info *info);
static bool is_histogram(const struct metric_info *info);

/* ---- writing -------------------------------------------------------------------------------- */

void metric_set_slot(uint32_t slot)
{
    CHECK(slot < METRIC_SLOT_MAX);
    thread_slot = slot;
}

static void name_into(char *to, size_t size, struct slice name)
{
    size_t len = min_size(name.len, size - 1);
    for (size_t i = 0; i < len; i++) { /* nothing that the text would have to escape */
        char byte = name.data[i];
        to[i] =
            ascii_is_alpha(byte) || ascii_is_digit(byte) || byte == '-' || byte == '.' ? byte : '_';
    }
    to[len] = '\0';
}

void metric_name_slot(uint32_t slot, const char *name)
{
    CHECK(slot < METRIC_SLOT_MAX);
    name_into(slot_names[slot], NAME_MAX_, slice_str(name));
}

void metric_name_site(uint32_t index, struct slice name)
{
    CHECK(index > 0 && index < LABEL_SITE_COUNT);
    name_into(site_names[index], SITE_MAX_, name);
}

uint32_t metric_site(struct slice name)
{
    for (uint32_t i = 1; i < LABEL_SITE_COUNT && site_names[i][0] != '\0'; i++) {
        if (slice_equal(name, slice_str(site_names[i]))) {
            return i;
        }
    }
    return 0;
}

void metric_add(enum metric metric, uint64_t value)
{
    metric_add_at(metric, 0, value);
}

void metric_add_at(enum metric metric, uint32_t label, uint64_t value)
{
    _Atomic uint64_t *cell = own_cell(metric, label);
    CHECK(info_of(metric)->cells == 1);
    cell_add(cell, value);
}

void metric_set(enum metric metric, uint64_t value)
{
    metric_set_at(metric, 0, value);
}

void metric_set_at(enum metric metric, uint32_t label, uint64_t value)
{
    _Atomic uint64_t *cell = own_cell(metric, label);
    CHECK(info_of(metric)->cells == 1 && info_of(metric)->type != METRIC_COUNTER);
    cell_set(cell, value);
}

void metric_set_of(enum metric metric, uint32_t slot, uint64_t value)
{
    const struct metric_info *info = info_of(metric);
    CHECK(info->whose == WHOSE_LOOP && info->cells == 1 && slot < METRIC_SLOT_MAX);
    cell_set(cell_of(info, slot, 0), value);
}

void metric_observe_us(enum metric metric, uint64_t us)
{
    metric_observe_at(metric, 0, us);
}

void metric_observe_at(enum metric metric, uint32_t label, uint64_t us)
{
    const struct metric_info *info = info_of(metric);
    _Atomic uint64_t *cells = own_cell(metric, label);
    if (info->type == METRIC_SUMMARY) {
        cell_add(&cells[0], 1);
        cell_add(&cells[1], us);
    } else {
        CHECK(info->type == METRIC_HISTOGRAM || info->type == METRIC_FINE);
        count_into(cells, us);
    }
}

void metric_observe_count(enum metric metric, uint64_t count)
{
    CHECK(info_of(metric)->type == METRIC_SIZES);
    count_into(own_cell(metric, 0), count);
}

uint32_t metric_pair(enum metric metric, uint32_t label, uint32_t more)
{
    const uint32_t count = label_infos[info_of(metric)->more].count;
    CHECK(more < count);
    return label * count + more;
}

uint32_t metric_actor(const char *name, uint32_t index)
{
    const uint32_t lone = SHARD_COUNT_MAX + LOOP_COUNT_MAX;
    uint32_t actor = METRIC_ACTORS - 1;
    if (strcmp(name, "shard") == 0 && index < SHARD_COUNT_MAX) {
        actor = index;
    } else if (strncmp(name, "edge", 4) == 0 && index < LOOP_COUNT_MAX) { /* "edge0" */
        actor = SHARD_COUNT_MAX + index;
    }
    for (uint32_t i = 0; i < ARRAY_LEN(lone_actors); i++) {
        if (strcmp(name, lone_actors[i]) == 0) {
            actor = lone + i;
        }
    }
    atomic_store_explicit(&is_actor_known[actor], true, memory_order_relaxed);
    return actor;
}

void metric_actor_add(enum metric metric, uint32_t actor, uint32_t label, uint64_t value)
{
    CHECK(info_of(metric)->cells == 1);
    cell_add(actor_cell(metric, actor, label), value);
}

void metric_actor_set(enum metric metric, uint32_t actor, uint32_t label, uint64_t value)
{
    CHECK(info_of(metric)->cells == 1);
    cell_set(actor_cell(metric, actor, label), value);
}

void metric_actor_observe(enum metric metric, uint32_t actor, uint64_t us)
{
    CHECK(info_of(metric)->type == METRIC_SUMMARY);
    _Atomic uint64_t *cells = actor_cell(metric, actor, 0);
    cell_add(&cells[0], 1);
    cell_add(&cells[1], us);
}

void metric_actor_mark(enum metric metric, uint32_t actor, uint32_t label, uint64_t value)
{
    const bool is_low = info_of(metric)->type == METRIC_LOW;
    CHECK(is_low || info_of(metric)->type == METRIC_HIGH);
    _Atomic uint64_t *cells = actor_cell(metric, actor, label);
    const uint32_t now = atomic_load_explicit(&epoch, memory_order_relaxed);
    _Atomic uint64_t *mark = &cells[1 + now % 2];
    const uint64_t old = cell_read(mark);
    const uint32_t marked = (uint32_t)old;
    const uint32_t seen = (uint32_t)min_u64(value, UINT32_MAX);
    cell_set(&cells[0], seen);
    if (old >> 32 != now || (is_low ? seen < marked : seen > marked)) {
        cell_set(mark, (uint64_t)now << 32 | seen);
    }
}

/* The smallest bucket whose bound is not below the value. */
static uint32_t bucket_of(uint64_t value)
{
    const uint64_t below = value > 0 ? value - 1 : 0;
    if (below < EXACT_COUNT) {
        return (uint32_t)below;
    }
    const uint32_t octave = 63 - (uint32_t)__builtin_clzll(below); /* 2 and more */
    if (octave > OCTAVE_LAST) {
        return BOUND_COUNT;
    }
    return EXACT_COUNT + 4 * (octave - 2) + (uint32_t)(below >> (octave - 2)) % 4;
}

static uint64_t bound_of(uint32_t bucket)
{
    if (bucket < EXACT_COUNT) {
        return bucket + 1;
    }
    const uint32_t octave = (bucket - EXACT_COUNT) / 4 + 2;
    return (5 + (uint64_t)(bucket - EXACT_COUNT) % 4) << (octave - 2);
}

static void count_into(_Atomic uint64_t *cells, uint64_t value)
{
    cell_add(&cells[bucket_of(value)], 1);
    cell_add(&cells[BUCKET_COUNT], value);
}

static const struct metric_info *info_of(enum metric metric)
{
    CHECK((unsigned int)metric < METRIC_COUNT);
    return &metric_infos[metric];
}

static _Atomic uint64_t *cell_of(const struct metric_info *info, uint32_t row, uint32_t label)
{
    _Atomic uint64_t *cells = info->whose <= WHOSE_LOOP ? threads[row].cells : actors[row].cells;
    return &cells[info->at + label * info->cells];
}

static _Atomic uint64_t *own_cell(enum metric metric, uint32_t label)
{
    const struct metric_info *info = info_of(metric);
    CHECK(info->whose <= WHOSE_LOOP);
    CHECK(label < label_count(info));
    return cell_of(info, thread_slot, label);
}

static _Atomic uint64_t *actor_cell(enum metric metric, uint32_t actor, uint32_t label)
{
    const struct metric_info *info = info_of(metric);
    CHECK(info->whose >= WHOSE_ACTOR);
    CHECK(actor < METRIC_ACTORS && label < label_count(info));
    return cell_of(info, actor, label);
}

static void cell_add(_Atomic uint64_t *cell, uint64_t value)
{
    if (thread_slot == SHARED_SLOT) {
        (void)atomic_fetch_add_explicit(cell, value, memory_order_relaxed); /* the sum counts */
        return;
    }
    uint64_t now = atomic_load_explicit(cell, memory_order_relaxed);
    atomic_store_explicit(cell, now + value, memory_order_relaxed);
}

static uint64_t cell_read(_Atomic uint64_t *cell)
{
    return atomic_load_explicit(cell, memory_order_relaxed);
}

static void cell_set(_Atomic uint64_t *cell, uint64_t value)
{
    atomic_store_explicit(cell, value, memory_order_relaxed);
}

/* ---- reading -------------------------------------------------------------------------------- */

static uint32_t row_count(const struct metric_info *info)
{
    return info->whose <= WHOSE_LOOP ? METRIC_SLOT_MAX + 1 : METRIC_ACTORS;
}

static uint32_t label_count(const struct metric_info *info)
{
    return info->labels;
}

static bool is_histogram(const struct metric_info *info)
{
    return info->cells == CELLS_HISTOGRAM;
}

/* The cell `offset` behind the first of a label's: one row's, or the sum. */
static uint64_t read_cell(const struct metric_info *info, uint32_t row, uint32_t label,
                          uint32_t offset)
{
    if (row != ALL_ROWS) {
        return cell_read(cell_of(info, row, label) + offset);
    }
    uint64_t sum = 0;
    for (uint32_t i = 0; i < row_count(info); i++) {
        sum += cell_read(cell_of(info, i, label) + offset);
    }
    return sum;
}

/* A number, the last value of a mark, or how often something was observed. */
static uint64_t read_value(const struct metric_info *info, uint32_t row, uint32_t label)
{
    uint64_t value = 0;
    for (uint32_t i = 0; i < (is_histogram(info) ? BUCKET_COUNT : 1); i++) {
        value += read_cell(info, row, label, i);
    }
    return value;
}

uint64_t metric_read(enum metric metric)
{
    uint64_t sum = 0;
    for (uint32_t i = 0; i < label_count(info_of(metric)); i++) {
        sum += read_value(info_of(metric), ALL_ROWS, i);
    }
    return sum;
}

uint64_t metric_read_at(enum metric metric, uint32_t label)
{
    CHECK(label < label_count(info_of(metric)));
    return read_value(info_of(metric), ALL_ROWS, label);
}

uint64_t metric_read_of(enum metric metric, uint32_t row, uint32_t label)
{
    const struct metric_info *info = info_of(metric);
    CHECK(row < row_count(info) && label < label_count(info));
    return read_value(info, row, label);
}

uint64_t metric_sum_us(enum metric metric, uint32_t row)
{
    const struct metric_info *info = info_of(metric);
    uint64_t sum = 0;
    CHECK(info->cells > 1);
    CHECK(row == ALL_ROWS || row < row_count(info));
    for (uint32_t i = 0; i < label_count(info); i++) {
        sum += read_cell(info, row, i, info->cells - 1u);
    }
    return sum;
}

/* Of the epoch that ended just now; what came since counts as well. */
static uint64_t read_mark(const struct metric_info *info, uint32_t row, uint32_t label,
                          uint32_t ended)
{
    uint64_t marks[2];
    uint32_t count = 0;
    for (uint32_t now = ended; now != ended + 2; now++) {
        const uint64_t mark = read_cell(info, row, label, 1 + now % 2);
        if (mark >> 32 == now) {
            marks[count++] = (uint32_t)mark;
        }
    }
    if (count == 0) {
        return read_cell(info, row, label, 0);
    }
    if (count == 1) {
        return marks[0];
    }
    return (marks[0] < marks[1]) == (info->type == METRIC_LOW) ? marks[0] : marks[1];
}

/* ---- printing ------------------------------------------------------------------------------- */

/* What one line, or one histogram, is about. */
struct sample {
    const struct metric_info *info;
    uint32_t row; /* ALL_ROWS: their sum */
    uint32_t label;
    uint32_t ended; /* epoch */
};

/* Exact, where a double would round a long-running sum. */
static void print_seconds(uint64_t us, struct buf *out)
{
    buf_add_format(out, "%" PRIu64 ".%06" PRIu64, us / 1000000, us % 1000000);
}

static const char *word_of(uint8_t label, uint32_t value)
{
    if (label == BY_ERR) {
        return err_info((enum err)value)->name;
    }
    return label == BY_SITE ? site_names[value] : label_infos[label].words[value];
}

static void print_label(struct buf *out, bool *has_some, const char *key, const char *word)
{
    buf_add_format(out, "%s%s=\"%s\"", *has_some ? "," : "{", key, word);
    *has_some = true;
}

static const char *actor_name(uint32_t row)
{
    const uint32_t lone = SHARD_COUNT_MAX + LOOP_COUNT_MAX;
    CHECK(row < METRIC_ACTORS);
    if (row < lone) {
        return row < SHARD_COUNT_MAX ? "shard" : "edge";
    }
    return lone_actors[row - lone];
}

static void print_row_labels(const struct sample *sample, bool *has_some, struct buf *out)
{
    const uint32_t lone = SHARD_COUNT_MAX + LOOP_COUNT_MAX;
    const uint32_t row = sample->row;
    char number[12];
    if (sample->info->whose == WHOSE_LOOP) {
        print_label(out, has_some, "loop", slot_names[row]);
    } else if (sample->info->whose >= WHOSE_ACTOR) {
        const uint32_t index = row < SHARD_COUNT_MAX ? row : row - SHARD_COUNT_MAX;
        (void)snprintf(number, sizeof number, "%u", (unsigned)(row < lone ? index : 0)); /* fits */
        if (sample->info->whose == WHOSE_SHARD) {
            print_label(out, has_some, "shard", number);
            return;
        }
        print_label(out, has_some, "actor", actor_name(row));
        print_label(out, has_some, "index", number);
    }
}

/* name suffix {labels, le}, and a space. */
static void print_name(const struct sample *sample, const char *suffix, const char *bound,
                       struct buf *out)
{
    const struct metric_info *info = sample->info;
    const uint32_t more = label_infos[info->more].count;
    bool has_some = false;
    buf_add_format(out, "%s%s", info->name, suffix);
    print_row_labels(sample, &has_some, out);
    if (info->label != BY_NONE) {
        print_label(out, &has_some, label_infos[info->label].key,
                    word_of(info->label, sample->label / more));
    }
    if (info->more != BY_NONE) {
        print_label(out, &has_some, label_infos[info->more].key,
                    word_of(info->more, sample->label % more));
    }
    if (bound != NULL) {
        print_label(out, &has_some, "le", bound);
    }
    buf_add_str(out, has_some ? "} " : " ");
}

static bool is_shown(const struct metric_info *info, uint64_t bound)
{
    const bool is_power = (bound & (bound - 1)) == 0;
    if (info->type == METRIC_SIZES) {
        return is_power && bound <= SIZES_TO;
    }
    return is_power || (info->type == METRIC_FINE && bound > FINE_FROM && bound < FINE_TO);
}

/* The count is the last bucket's and not read again, so the two always agree. */
static void print_histogram(const struct sample *sample, struct buf *out)
{
    const struct metric_info *info = sample->info;
    const bool is_plain = info->type == METRIC_SIZES;
    uint64_t count = 0;
    for (uint32_t i = 0; i < BOUND_COUNT; i++) {
        const uint64_t bound = bound_of(i);
        char text[32];
        count += read_cell(info, sample->row, sample->label, i);
        if (!is_shown(info, bound)) {
            continue;
        }
        if (is_plain) {
            (void)snprintf(text, sizeof text, "%" PRIu64, bound); /* fits, as does the next */
        } else {
            (void)snprintf(text, sizeof text, "%" PRIu64 ".%06" PRIu64, bound / 1000000,
                           bound % 1000000);
        }
        print_name(sample, "_bucket", text, out);
        buf_add_format(out, "%" PRIu64 "\n", count);
    }
    count += read_cell(info, sample->row, sample->label, BOUND_COUNT);
    print_name(sample, "_bucket", "+Inf", out);
    buf_add_format(out, "%" PRIu64 "\n", count);
    const uint64_t sum = read_cell(info, sample->row, sample->label, BUCKET_COUNT);
    print_name(sample, "_sum", NULL, out);
    if (is_plain) {
        buf_add_format(out, "%" PRIu64, sum);
    } else {
        print_seconds(sum, out);
    }
    buf_add_str(out, "\n");
    print_name(sample, "_count", NULL, out);
    buf_add_format(out, "%" PRIu64 "\n", count);
}

static void print_summary(const struct sample *sample, struct buf *out)
{
    print_name(sample, "_sum", NULL, out);
    print_seconds(read_cell(sample->info, sample->row, sample->label, 1), out);
    buf_add_str(out, "\n");
    print_name(sample, "_count", NULL, out);
    buf_add_format(out, "%" PRIu64 "\n", read_cell(sample->info, sample->row, sample->label, 0));
}

static void print_value(const struct sample *sample, struct buf *out)
{
    const struct metric_info *info = sample->info;
    const bool is_mark = info->type == METRIC_LOW || info->type == METRIC_HIGH;
    const uint64_t value = is_mark ? read_mark(info, sample->row, sample->label, sample->ended)
                                   : read_value(info, sample->row, sample->label);
    print_name(sample, "", NULL, out);
    if (info->type == METRIC_SECONDS) {
        print_seconds(value, out);
    } else if (info->type == METRIC_MILLIS) {
        buf_add_format(out, "%" PRIu64 ".%03" PRIu64, value / 1000, value % 1000);
    } else if (info->type == METRIC_GAUGE) {
        /* One slot may have lowered what another raised: their sum wraps back, and a moment of
         * disagreement is better shown as -1 than as 2^64 - 1. */
        buf_add_format(out, "%" PRId64, (int64_t)value);
    } else {
        buf_add_format(out, "%" PRIu64, value);
    }
    buf_add_str(out, "\n");
}

/* A pool that an actor does not have. */
static bool is_absent(const struct sample *sample)
{
    return sample->info->label == BY_POOL &&
           read_cell(info_of(METRIC_POOL_SIZE), sample->row, sample->label, 0) == 0;
}

static bool has_row(const struct metric_info *info, uint32_t row)
{
    switch ((enum whose)info->whose) {
    case WHOSE_SUM:
        break;
    case WHOSE_LOOP:
        return row < METRIC_SLOT_MAX && slot_names[row][0] != '\0';
    case WHOSE_SHARD:
        return row < SHARD_COUNT_MAX &&
               atomic_load_explicit(&is_actor_known[row], memory_order_relaxed);
    case WHOSE_ACTOR:
        return atomic_load_explicit(&is_actor_known[row], memory_order_relaxed);
    }
    return false;
}

static bool has_label(const struct metric_info *info, uint32_t label)
{
    const uint32_t more = label_infos[info->more].count;
    return (info->label != BY_SITE || site_names[label / more][0] != '\0') &&
           (info->more != BY_SITE || site_names[label % more][0] != '\0');
}

static void print_row(struct sample sample, struct buf *out)
{
    for (sample.label = 0; sample.label < label_count(sample.info); sample.label++) {
        if (!has_label(sample.info, sample.label) || is_absent(&sample)) {
            continue;
        }
        if (is_histogram(sample.info)) {
            print_histogram(&sample, out);
        } else if (sample.info->type == METRIC_SUMMARY) {
            print_summary(&sample, out);
        } else {
            print_value(&sample, out);
        }
    }
}

void metric_print(struct buf *out)
{
    static const char *const type_names[] = {
        [METRIC_COUNTER] = "counter", [METRIC_GAUGE] = "gauge",
        [METRIC_SECONDS] = "counter", [METRIC_MILLIS] = "gauge",
        [METRIC_LOW] = "gauge",       [METRIC_HIGH] = "gauge",
        [METRIC_SUMMARY] = "summary", [METRIC_HISTOGRAM] = "histogram",
        [METRIC_FINE] = "histogram",  [METRIC_SIZES] = "histogram",
    };
    const uint32_t ended = atomic_fetch_add_explicit(&epoch, 1, memory_order_relaxed);
    for (uint32_t i = 0; i < METRIC_COUNT; i++) {
        const struct metric_info *info = &metric_infos[i];
        struct sample sample = {.info = info, .row = ALL_ROWS, .ended = ended};
        buf_add_format(out, "# HELP %s %s\n# TYPE %s %s\n", info->name, info->help, info->name,
                       type_names[info->type]);
        if (info->whose == WHOSE_SUM) {
            print_row(sample, out);
            continue;
        }
        for (sample.row = 0; sample.row < row_count(info); sample.row++) {
            if (has_row(info, sample.row)) {
                print_row(sample, out);
            }
        }
    }
}
