/* SPDX-License-Identifier: MIT */
#ifndef LIB_LIST_H
#define LIB_LIST_H
/* An intrusive doubly linked list: no allocation, O(1) removal. */
#include <stdbool.h>
#include <stddef.h>

struct list {
	struct list *prev, *next;
};
#define LIST_INIT(l) { &(l), &(l) }
#define container_of(ptr, type, member) \
	((type *)((char *)(ptr) - offsetof(type, member)))

static inline void list_init(struct list *l)
{
	l->prev = l->next = l;
}
static inline bool list_empty(const struct list *l)
{
	return l->next == l;
}
static inline void list_append(struct list *l, struct list *node)
{
	node->prev = l->prev;
	node->next = l;
	l->prev->next = node;
	l->prev = node;
}
static inline void list_prepend(struct list *l, struct list *node)
{
	list_append(l->next, node);
}
/* Harmless on a node that is in no list but was initialised. */
static inline void list_remove(struct list *node)
{
	node->prev->next = node->next;
	node->next->prev = node->prev;
	list_init(node);
}
#define list_for_each(node, l) \
	for (struct list *node = (l)->next; node != (l); node = node->next)
/* The current node may be removed inside. */
#define list_for_each_safe(node, l) \
	for (struct list *node = (l)->next, *node##_next = node->next; node != (l); \
	     node = node##_next, node##_next = node->next)
#endif
