/* heap.c - the usual array of pointers: children of place p are 2p+1 and 2p+2. Every move writes
 * the node's own index, which is what makes removal without a search possible.
 */
#include "base/heap.h"

#include "base/check.h"

#include <stdlib.h>

#define FIRST_CAPACITY 64

static void put(struct heap *heap, uint32_t place, struct heap_node *node);
static void sift_up(struct heap *heap, uint32_t place);
static void sift_down(struct heap *heap, uint32_t place);

void heap_init(struct heap *heap)
{
    *heap = (struct heap){.nodes = NULL, .count = 0, .capacity = 0};
}

void heap_fini(struct heap *heap)
{
    free(heap->nodes);
    heap_init(heap);
}

void heap_add(struct heap *heap, struct heap_node *node)
{
    CHECK(!heap_has(node));
    if (heap->count == heap->capacity) {
        CHECK(heap->capacity <= UINT32_MAX / 2);
        uint32_t capacity = heap->capacity == 0 ? FIRST_CAPACITY : heap->capacity * 2;
        heap->nodes = mem_realloc(heap->nodes, capacity * sizeof(struct heap_node *));
        heap->capacity = capacity;
    }
    put(heap, heap->count, node);
    heap->count++;
    sift_up(heap, heap->count - 1);
}

struct heap_node *heap_first(const struct heap *heap)
{
    return heap->count == 0 ? NULL : heap->nodes[0];
}

struct heap_node *heap_pop(struct heap *heap)
{
    struct heap_node *first = heap_first(heap);
    if (first != NULL) {
        heap_remove(heap, first);
    }
    return first;
}

void heap_remove(struct heap *heap, struct heap_node *node)
{
    if (!heap_has(node)) {
        return;
    }
    uint32_t place = node->index - 1;
    CHECK(place < heap->count);
    CHECK(heap->nodes[place] == node);
    node->index = 0;
    heap->count--;
    if (place == heap->count) {
        return;
    }
    /* The last node fills the hole; it came from another branch, so it may go either way. */
    put(heap, place, heap->nodes[heap->count]);
    sift_up(heap, place);
    sift_down(heap, place);
}

void heap_update(struct heap *heap, struct heap_node *node, uint64_t key)
{
    if (!heap_has(node)) {
        return;
    }
    uint32_t place = node->index - 1;
    CHECK(place < heap->count);
    CHECK(heap->nodes[place] == node);
    node->key = key;
    sift_up(heap, place);
    sift_down(heap, node->index - 1);
}

static void put(struct heap *heap, uint32_t place, struct heap_node *node)
{
    heap->nodes[place] = node;
    node->index = place + 1;
}

static void sift_up(struct heap *heap, uint32_t place)
{
    struct heap_node *node = heap->nodes[place];
    while (place > 0) {
        uint32_t parent = (place - 1) / 2;
        if (heap->nodes[parent]->key <= node->key) {
            break;
        }
        put(heap, place, heap->nodes[parent]);
        place = parent;
    }
    put(heap, place, node);
}

static void sift_down(struct heap *heap, uint32_t place)
{
    struct heap_node *node = heap->nodes[place];
    while (place < heap->count / 2) { /* it has a child */
        uint32_t child = 2 * place + 1;
        if (child + 1 < heap->count && heap->nodes[child + 1]->key < heap->nodes[child]->key) {
            child++;
        }
        if (node->key <= heap->nodes[child]->key) {
            break;
        }
        put(heap, place, heap->nodes[child]);
        place = child;
    }
    put(heap, place, node);
}
