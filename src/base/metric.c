/* metric.c - a static array of cells, one row of them a slot.
 *
 * A cell has one writing thread, so an addition is a relaxed load and a relaxed store and never a
 * locked instruction; who prints may read a value that is a moment old, and never half of one. Rows
 * begin on their own cache lines, so no two writers share one.
 *
 * The cells are one of the few mutable things at file scope: they are the process's own.
 */
#include "base/metric.h"

#include "base/check.h"

#include <inttypes.h>
#include <stdatomic.h>

#define CACHE_LINE    64
#define BUCKET_FINITE 32                  /* upper bounds 2^0 to 2^31 us */
#define BUCKET_COUNT  (BUCKET_FINITE + 1) /* and +Inf */

/* Numbers the histograms alone, so that only they pay for buckets. */
enum histogram_index {
#define INDEX_OF_COUNTER(name)
#define INDEX_OF_GAUGE(name)
#define INDEX_OF_HISTOGRAM(name)  INDEX_##name,
#define X(name, type, text, help) INDEX_OF_##type(name)
    METRIC_TABLE(X)
#undef X
        HISTOGRAM_COUNT
};

struct histogram {
    _Atomic uint64_t sum_us;
    _Atomic uint64_t buckets[BUCKET_COUNT]; /* not cumulative; printing adds them up */
};

struct slot {
    _Alignas(CACHE_LINE) _Atomic uint64_t values[METRIC_COUNT];
    struct histogram histograms[HISTOGRAM_COUNT];
};
_Static_assert(sizeof(struct slot) % CACHE_LINE == 0, "slots do not share cache lines");

struct metric_info {
    const char *name;
    const char *help;
    enum metric_type type;
    uint32_t histogram_index; /* of histograms only */
};

static const struct metric_info metric_infos[METRIC_COUNT] = {
#define HISTOGRAM_OF_COUNTER(name)   0
#define HISTOGRAM_OF_GAUGE(name)     0
#define HISTOGRAM_OF_HISTOGRAM(name) INDEX_##name
#define X(name_, type_, text_, help_)                                                              \
    [METRIC_##name_] = {                                                                           \
        .name = (text_),                                                                           \
        .help = (help_),                                                                           \
        .type = METRIC_##type_,                                                                    \
        .histogram_index = HISTOGRAM_OF_##type_(name_),                                            \
    },
    METRIC_TABLE(X)
#undef X
};

static struct slot slots[METRIC_SLOT_MAX];
static _Thread_local uint32_t thread_slot;

static void cell_add(_Atomic uint64_t *cell, uint64_t value);
static uint64_t cell_read(_Atomic uint64_t *cell);
static uint64_t read_value(enum metric metric);
static uint64_t read_bucket(const struct metric_info *info, uint32_t bucket);
static void print_histogram(const struct metric_info *info, struct buf *out);
static void print_seconds(uint64_t us, struct buf *out);

void metric_set_slot(uint32_t slot)
{
    CHECK(slot < METRIC_SLOT_MAX);
    thread_slot = slot;
}

void metric_add(enum metric metric, uint64_t value)
{
    CHECK((unsigned int)metric < METRIC_COUNT);
    CHECK(metric_infos[metric].type != METRIC_HISTOGRAM);
    cell_add(&slots[thread_slot].values[metric], value);
}

void metric_set(enum metric metric, uint64_t value)
{
    CHECK((unsigned int)metric < METRIC_COUNT);
    CHECK(metric_infos[metric].type == METRIC_GAUGE);
    atomic_store_explicit(&slots[thread_slot].values[metric], value, memory_order_relaxed);
}

void metric_observe_us(enum metric metric, uint64_t us)
{
    CHECK((unsigned int)metric < METRIC_COUNT);
    CHECK(metric_infos[metric].type == METRIC_HISTOGRAM);
    /* The smallest n with us <= 2^n. */
    uint32_t bucket = us <= 1 ? 0 : 64 - (uint32_t)__builtin_clzll(us - 1);
    if (bucket >= BUCKET_FINITE) {
        bucket = BUCKET_FINITE;
    }
    struct slot *slot = &slots[thread_slot];
    struct histogram *histogram = &slot->histograms[metric_infos[metric].histogram_index];
    cell_add(&histogram->buckets[bucket], 1);
    cell_add(&histogram->sum_us, us);
}

uint64_t metric_read(enum metric metric)
{
    CHECK((unsigned int)metric < METRIC_COUNT);
    const struct metric_info *info = &metric_infos[metric];
    if (info->type != METRIC_HISTOGRAM) {
        return read_value(metric);
    }
    uint64_t count = 0;
    for (uint32_t i = 0; i < BUCKET_COUNT; i++) {
        count += read_bucket(info, i);
    }
    return count;
}

void metric_print(struct buf *out)
{
    static const char *const type_names[] = {
        [METRIC_COUNTER] = "counter",
        [METRIC_GAUGE] = "gauge",
        [METRIC_HISTOGRAM] = "histogram",
    };
    for (uint32_t i = 0; i < METRIC_COUNT; i++) {
        const struct metric_info *info = &metric_infos[i];
        buf_add_format(out, "# HELP %s %s\n# TYPE %s %s\n", info->name, info->help, info->name,
                       type_names[info->type]);
        uint64_t value = read_value((enum metric)i);
        switch (info->type) {
        case METRIC_COUNTER:
            buf_add_format(out, "%s %" PRIu64 "\n", info->name, value);
            break;
        case METRIC_GAUGE:
            /* One slot may have lowered what another raised: their sum wraps back, and a moment of
             * disagreement is better shown as -1 than as 2^64 - 1. */
            buf_add_format(out, "%s %" PRId64 "\n", info->name, (int64_t)value);
            break;
        case METRIC_HISTOGRAM:
            print_histogram(info, out);
            break;
        }
    }
}

static void cell_add(_Atomic uint64_t *cell, uint64_t value)
{
    uint64_t now = atomic_load_explicit(cell, memory_order_relaxed);
    atomic_store_explicit(cell, now + value, memory_order_relaxed);
}

static uint64_t cell_read(_Atomic uint64_t *cell)
{
    return atomic_load_explicit(cell, memory_order_relaxed);
}

static uint64_t read_value(enum metric metric)
{
    uint64_t sum = 0;
    for (uint32_t i = 0; i < METRIC_SLOT_MAX; i++) {
        sum += cell_read(&slots[i].values[metric]);
    }
    return sum;
}

static uint64_t read_bucket(const struct metric_info *info, uint32_t bucket)
{
    uint64_t sum = 0;
    for (uint32_t i = 0; i < METRIC_SLOT_MAX; i++) {
        sum += cell_read(&slots[i].histograms[info->histogram_index].buckets[bucket]);
    }
    return sum;
}

/* The count is the last bucket's and not read again, so the two always agree. */
static void print_histogram(const struct metric_info *info, struct buf *out)
{
    uint64_t count = 0;
    for (uint32_t i = 0; i < BUCKET_FINITE; i++) {
        count += read_bucket(info, i);
        buf_add_format(out, "%s_bucket{le=\"", info->name);
        print_seconds(UINT64_C(1) << i, out);
        buf_add_format(out, "\"} %" PRIu64 "\n", count);
    }
    count += read_bucket(info, BUCKET_FINITE);
    buf_add_format(out, "%s_bucket{le=\"+Inf\"} %" PRIu64 "\n", info->name, count);
    uint64_t sum_us = 0;
    for (uint32_t i = 0; i < METRIC_SLOT_MAX; i++) {
        sum_us += cell_read(&slots[i].histograms[info->histogram_index].sum_us);
    }
    buf_add_format(out, "%s_sum ", info->name);
    print_seconds(sum_us, out);
    buf_add_format(out, "\n%s_count %" PRIu64 "\n", info->name, count);
}

/* Exact, where a double would round a long-running sum. */
static void print_seconds(uint64_t us, struct buf *out)
{
    buf_add_format(out, "%" PRIu64 ".%06" PRIu64, us / 1000000, us % 1000000);
}
