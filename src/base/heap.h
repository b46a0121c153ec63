/* heap.h - an intrusive binary min-heap, for schedules.
 *
 * A node is embedded in the struct it orders and knows its own place, so removal and re-keying are
 * O(log n) without a search. Equal keys leave in no particular order. One thread at a time.
 */
#ifndef BASE_HEAP_H
#define BASE_HEAP_H

#include "base/base.h"

struct heap_node {
    uint64_t key;   /* smallest first; change only through heap_update */
    uint32_t index; /* place in the heap plus one; 0 when not in a heap */
};

struct heap {
    struct heap_node **nodes; /* heap block */
    uint32_t count;
    uint32_t capacity;
};

void heap_init(struct heap *heap);
void heap_fini(struct heap *heap); /* the nodes are their owners' */
/* node->key is set by the caller; node must not be in a heap. */
void heap_add(struct heap *heap, struct heap_node *node);
/* The smallest, or NULL; stays in the heap. */
struct heap_node *heap_first(const struct heap *heap);
struct heap_node *heap_pop(struct heap *heap);
/* No effect when node is in no heap. */
void heap_remove(struct heap *heap, struct heap_node *node);
void heap_update(struct heap *heap, struct heap_node *node, uint64_t key);
static inline bool heap_has(const struct heap_node *node)
{
    return node->index != 0;
}

#endif
