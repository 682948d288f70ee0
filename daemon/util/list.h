/* Intrusive doubly linked list. A node that is in no list points to itself. Not synchronised. */
#ifndef SP_UTIL_LIST_H
#define SP_UTIL_LIST_H

#include <stdbool.h>
#include <stddef.h>

struct sp_list {
	struct sp_list *next, *prev;
};

static inline void sp_list_init(struct sp_list *l)
{
	l->next = l->prev = l;
}

static inline bool sp_list_empty(const struct sp_list *l)
{
	return l->next == l;
}

/* Appends node (in no list) at the end of list. */
static inline void sp_list_add(struct sp_list *list, struct sp_list *node)
{
	node->prev = list->prev;
	node->next = list;
	list->prev->next = node;
	list->prev = node;
}

/* Takes node out of its list; fine if it is in none. */
static inline void sp_list_del(struct sp_list *node)
{
	node->prev->next = node->next;
	node->next->prev = node->prev;
	sp_list_init(node);
}

#define sp_container_of(pointer, type, member) ((type *)((char *)(pointer)-offsetof(type, member)))

/* for every entry of the list; the _safe form allows the current entry to be taken out */
#define sp_list_each(entry, list, member)                                                                              \
	for ((entry) = sp_container_of((list)->next, __typeof__(*(entry)), member); &(entry)->member != (list);        \
	     (entry) = sp_container_of((entry)->member.next, __typeof__(*(entry)), member))

#define sp_list_each_safe(entry, following, list, member)                                                              \
	for ((entry) = sp_container_of((list)->next, __typeof__(*(entry)), member),                                    \
	    (following) = sp_container_of((entry)->member.next, __typeof__(*(entry)), member);                         \
	     &(entry)->member != (list);                                                                               \
	     (entry) = (following), (following) = sp_container_of((entry)->member.next, __typeof__(*(entry)), member))

#endif
