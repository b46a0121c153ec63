/* list.h - an intrusive doubly linked list.
 *
 * The link is embedded in the struct it links; nothing is allocated. A list head and a lone link
 * both point at themselves. Removing a link twice is harmless. One thread at a time.
 */
#ifndef BASE_LIST_H
#define BASE_LIST_H

#include "base/base.h"

struct link {
    struct link *next;
    struct link *prev;
};

static inline void list_init(struct link *head)
{
    head->next = head;
    head->prev = head;
}

static inline bool list_is_empty(const struct link *head)
{
    return head->next == head;
}

static inline void list_add_after(struct link *at, struct link *node)
{
    node->next = at->next;
    node->prev = at;
    at->next->prev = node;
    at->next = node;
}

static inline void list_push_back(struct link *head, struct link *node)
{
    list_add_after(head->prev, node);
}

static inline void list_push_front(struct link *head, struct link *node)
{
    list_add_after(head, node);
}

static inline void list_remove(struct link *node)
{
    node->prev->next = node->next;
    node->next->prev = node->prev;
    list_init(node);
}

/* The first link, removed, or NULL. */
static inline struct link *list_pop_front(struct link *head)
{
    struct link *node = head->next;
    if (node == head) {
        return NULL;
    }
    list_remove(node);
    return node;
}

/* Moves all of `from` to the end of `to`; `from` is empty afterwards. */
static inline void list_splice(struct link *to, struct link *from)
{
    if (list_is_empty(from)) {
        return;
    }
    from->next->prev = to->prev;
    to->prev->next = from->next;
    from->prev->next = to;
    to->prev = from->prev;
    list_init(from);
}

#define LIST_EACH(head, it) for (struct link *it = (head)->next; it != (head); it = it->next)
/* The current link may be removed inside the loop. */
#define LIST_EACH_SAFE(head, it, after)                                                            \
    for (struct link *it = (head)->next, *after = it->next; it != (head);                          \
         it = after, after = it->next)

#endif
