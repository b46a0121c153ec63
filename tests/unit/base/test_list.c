/* list.h is inline; there is no list.c. Not covered here: CONTAINER_OF on real structs, which every
 * user exercises.
 */
#include "base/list.h"

#include <criterion/criterion.h>

struct item {
    int value;
    struct link link;
};

static void fill(struct link *head, struct item *items, int count)
{
    list_init(head);
    for (int i = 0; i < count; i++) {
        items[i].value = i;
        list_push_back(head, &items[i].link);
    }
}

static void expect(const struct link *head, const int *values, size_t count)
{
    size_t at = 0;
    LIST_EACH (head, it) {
        cr_assert(at < count, "longer than %zu", count);
        cr_assert_eq(CONTAINER_OF(it, struct item, link)->value, values[at]);
        cr_assert(it->next->prev == it && it->prev->next == it);
        at++;
    }
    cr_assert_eq(at, count);
}

Test(list, keeps_the_order_of_both_ends)
{
    struct link head;
    struct item items[4];
    fill(&head, items, 3);
    items[3].value = 9;
    list_push_front(&head, &items[3].link);
    expect(&head, (int[]){9, 0, 1, 2}, 4);
}

Test(list, pops_from_the_front_until_empty)
{
    struct link head;
    struct item items[3];
    fill(&head, items, 3);
    for (int i = 0; i < 3; i++) {
        struct link *link = list_pop_front(&head);
        cr_assert_eq(CONTAINER_OF(link, struct item, link)->value, i);
        cr_assert(list_is_empty(link), "a removed link points at itself");
    }
    cr_assert(list_is_empty(&head));
    cr_assert_null(list_pop_front(&head));
}

Test(list, forgives_a_second_removal)
{
    struct link head;
    struct item items[3];
    fill(&head, items, 3);
    list_remove(&items[1].link);
    list_remove(&items[1].link);
    expect(&head, (int[]){0, 2}, 2);
}

Test(list, inserts_after_any_link)
{
    struct link head;
    struct item items[4];
    fill(&head, items, 3);
    items[3].value = 9;
    list_add_after(&items[0].link, &items[3].link);
    expect(&head, (int[]){0, 9, 1, 2}, 4);
}

Test(list, splices_whole_lists)
{
    struct link to;
    struct link from;
    struct link empty;
    struct item left[2];
    struct item right[2];
    fill(&to, left, 2);
    fill(&from, right, 2);
    list_init(&empty);
    list_splice(&to, &from);
    list_splice(&to, &empty);
    expect(&to, (int[]){0, 1, 0, 1}, 4);
    cr_assert(list_is_empty(&from));
    list_splice(&empty, &to);
    expect(&empty, (int[]){0, 1, 0, 1}, 4);
    cr_assert(list_is_empty(&to));
}

Test(list, may_lose_the_current_link_in_a_safe_loop)
{
    struct link head;
    struct item items[6];
    fill(&head, items, 6);
    LIST_EACH_SAFE (&head, it, after) {
        if (CONTAINER_OF(it, struct item, link)->value % 2 == 0) {
            list_remove(it);
        }
    }
    expect(&head, (int[]){1, 3, 5}, 3);
}
