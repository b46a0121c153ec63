/* kv_stall.h - how long RocksDB has held writers back since the store was opened.
 *
 * It tells that in a text for people only, so the time is read from there. What is not written as
 * expected is 0: a number that is wrong would be worse than none.
 */
#ifndef KV_KV_STALL_H
#define KV_KV_STALL_H

#include "kv/kv.h"

/* Costs some ten microseconds, and RocksDB's own lock. */
uint64_t kv_stall_us(struct kv *kv);
/* The time of "Cumulative stall: 00:00:1.250 H:M:S"; 0 when it is not there. Pure. */
uint64_t kv_stall_read_us(struct slice words);

#endif
