/* Not covered here: fairness among equal keys, which the heap does not promise (deliver/sched adds
 * it).
 */
#include "base/heap.h"

#include <criterion/criterion.h>

#include <signal.h>

#define NODES 500

/* A fixed sequence, so that a failure repeats (Numerical Recipes' LCG). */
static uint32_t next_random(uint32_t *state)
{
    *state = *state * 1664525u + 1013904223u;
    return *state >> 8;
}

static void expect_whole(const struct heap *heap)
{
    for (uint32_t i = 0; i < heap->count; i++) {
        cr_assert_eq(heap->nodes[i]->index, i + 1);
        if (i > 0) {
            cr_assert(heap->nodes[(i - 1) / 2]->key <= heap->nodes[i]->key);
        }
    }
}

Test(heap, is_empty_at_birth)
{
    struct heap heap;
    heap_init(&heap);
    cr_assert_null(heap_first(&heap));
    cr_assert_null(heap_pop(&heap));
    heap_fini(&heap);
}

Test(heap, pops_keys_in_order)
{
    static struct heap_node nodes[NODES];
    struct heap heap;
    heap_init(&heap);
    uint32_t seed = 1;
    for (uint32_t i = 0; i < NODES; i++) {
        nodes[i].key = next_random(&seed) % 100; /* many equal ones */
        heap_add(&heap, &nodes[i]);
        cr_assert(heap_has(&nodes[i]));
    }
    expect_whole(&heap);
    uint64_t last = 0;
    for (uint32_t i = 0; i < NODES; i++) {
        struct heap_node *first = heap_first(&heap);
        struct heap_node *node = heap_pop(&heap);
        cr_assert_eq(first, node);
        cr_assert(node->key >= last);
        cr_assert(!heap_has(node));
        last = node->key;
    }
    cr_assert_null(heap_pop(&heap));
    heap_fini(&heap);
}

Test(heap, stays_whole_under_any_mix_of_moves)
{
    static struct heap_node nodes[NODES];
    struct heap heap;
    heap_init(&heap);
    uint32_t seed = 7;
    uint32_t inside = 0;
    for (uint32_t step = 0; step < 5000; step++) {
        struct heap_node *node = &nodes[next_random(&seed) % NODES];
        uint64_t key = next_random(&seed) % 1000;
        if (!heap_has(node)) {
            node->key = key;
            heap_add(&heap, node);
            inside++;
        } else if (next_random(&seed) % 2 == 0) {
            heap_update(&heap, node, key);
            cr_assert_eq(node->key, key);
        } else {
            heap_remove(&heap, node);
            inside--;
        }
        cr_assert_eq(heap.count, inside);
        if (step % 50 == 0) {
            expect_whole(&heap);
        }
    }
    expect_whole(&heap);
    heap_fini(&heap);
}

/* The node that fills a hole may be smaller than the hole's parent: it came from another branch. */
Test(heap, moves_the_filler_of_a_hole_upwards_too)
{
    static const uint64_t keys[] = {1, 10, 2, 11, 12, 3, 4};
    struct heap_node nodes[7] = {{.key = 0}};
    struct heap heap;
    heap_init(&heap);
    for (uint32_t i = 0; i < 7; i++) {
        nodes[i].key = keys[i];
        heap_add(&heap, &nodes[i]);
    }
    heap_remove(&heap, &nodes[3]); /* 4, the last, goes below 10 and must pass it */
    expect_whole(&heap);
    heap_fini(&heap);
}

Test(heap, ignores_nodes_that_are_not_inside)
{
    struct heap heap;
    heap_init(&heap);
    struct heap_node node = {.key = 5};
    heap_remove(&heap, &node);
    heap_update(&heap, &node, 6);
    cr_assert_eq(node.key, 5);
    heap_fini(&heap);
}

Test(heap, takes_the_largest_key_there_is)
{
    struct heap heap;
    heap_init(&heap);
    struct heap_node last = {.key = UINT64_MAX};
    struct heap_node first = {.key = 0};
    heap_add(&heap, &last);
    heap_add(&heap, &first);
    cr_assert_eq(heap_pop(&heap), &first);
    cr_assert_eq(heap_pop(&heap), &last);
    heap_fini(&heap);
}

Test(heap, aborts_when_a_node_is_added_twice, .signal = SIGABRT)
{
    struct heap heap;
    heap_init(&heap);
    struct heap_node node = {.key = 1};
    heap_add(&heap, &node);
    heap_add(&heap, &node);
}
