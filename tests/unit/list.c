/* The intrusive list, and the error that is passed down. */
#include "util/list.h"

#include "util/error.h"

#include <criterion/criterion.h>
#include <string.h>

struct item {
	int number;
	struct sp_list link, other;
};

static size_t collect(const struct sp_list *list, int numbers[static 8])
{
	const struct item *item;
	size_t count = 0;

	sp_list_each (item, list, link) {
		cr_assert_lt(count, 8u);
		cr_assert_eq(item->link.next->prev, &item->link);
		cr_assert_eq(item->link.prev->next, &item->link);
		numbers[count++] = item->number;
	}
	return count;
}

static void assert_order(const struct sp_list *list, size_t count, const int *expected)
{
	int numbers[8];

	cr_assert_eq(collect(list, numbers), count);
	cr_assert_eq(memcmp(numbers, expected, count * sizeof *expected), 0);
}

#define assert_list(list, ...) assert_order(list, sizeof(int[]){__VA_ARGS__} / sizeof(int), (const int[]){__VA_ARGS__})

Test(list, empty)
{
	struct sp_list list;
	const struct item *item;

	sp_list_init(&list);
	cr_assert(sp_list_empty(&list));
	sp_list_each (item, &list, link)
		cr_assert_fail("an entry in an empty list");
}

Test(list, keeps_the_order_and_forgets_what_is_taken_out)
{
	struct sp_list list;
	struct item items[4] = {{1}, {2}, {3}, {4}};

	sp_list_init(&list);
	for (size_t i = 0; i < 4; i++)
		sp_list_add(&list, &items[i].link);
	assert_list(&list, 1, 2, 3, 4);
	sp_list_del(&items[1].link); /* in the middle, ... */
	assert_list(&list, 1, 3, 4);
	sp_list_del(&items[3].link); /* last, ... */
	assert_list(&list, 1, 3);
	sp_list_del(&items[0].link); /* first */
	assert_list(&list, 3);
	sp_list_add(&list, &items[0].link);
	assert_list(&list, 3, 1);
	sp_list_del(&items[0].link);
	sp_list_del(&items[2].link);
	cr_assert(sp_list_empty(&list));
}

Test(list, taking_out_twice_is_fine)
{
	struct sp_list list;
	struct item items[2] = {{1}, {2}};

	sp_list_init(&list);
	sp_list_add(&list, &items[0].link);
	sp_list_add(&list, &items[1].link);
	sp_list_del(&items[0].link);
	cr_assert(sp_list_empty(&items[0].link), "it points to itself");
	sp_list_del(&items[0].link);
	assert_list(&list, 2);
}

Test(list, safe_walk_survives_its_own_removals)
{
	struct sp_list list, kept;
	struct item items[5] = {{1}, {2}, {3}, {4}, {5}};
	struct item *item, *next;

	sp_list_init(&list);
	sp_list_init(&kept);
	for (size_t i = 0; i < 5; i++)
		sp_list_add(&list, &items[i].link);
	sp_list_each_safe (item, next, &list, link) {
		sp_list_del(&item->link);
		if (item->number % 2 != 0)
			sp_list_add(&kept, &item->link);
	}
	cr_assert(sp_list_empty(&list));
	assert_list(&kept, 1, 3, 5);
}

Test(list, one_entry_in_two_lists)
{
	struct sp_list a, b;
	struct item one = {1};

	sp_list_init(&a);
	sp_list_init(&b);
	sp_list_add(&a, &one.link);
	sp_list_add(&b, &one.other);
	cr_assert_eq(sp_container_of(b.next, struct item, other), &one);
	sp_list_del(&one.other);
	cr_assert(sp_list_empty(&b));
	assert_list(&a, 1);
}

Test(error, says_what_and_returns_what)
{
	struct sp_error e = {0};

	cr_assert_eq(sp_fail(&e, ENOENT, "no %s, %d times", "luck", 3), -ENOENT);
	cr_assert_eq(e.err, ENOENT);
	cr_assert_str_eq(e.text, "no luck, 3 times");
	cr_assert_eq(sp_fail(NULL, EPERM, "nobody reads %s", "this"), -EPERM);
}

Test(error, cuts_what_is_too_long)
{
	struct {
		struct sp_error e;
		char beyond;
	} guarded = {.beyond = 'x'};
	char longer[sizeof guarded.e.text * 2];

	memset(longer, 'a', sizeof longer - 1);
	longer[sizeof longer - 1] = '\0';
	cr_assert_eq(sp_fail(&guarded.e, E2BIG, "%s", longer), -E2BIG);
	cr_assert_eq(strlen(guarded.e.text), sizeof guarded.e.text - 1);
	cr_assert_eq(guarded.beyond, 'x');
}
