/* Arrays that grow while a policy is loaded; afterwards nothing grows. */
#ifndef SP_POLICY_PUSH_H
#define SP_POLICY_PUSH_H

#include <stdbool.h>
#include <stdlib.h>

/* Appends to an array that starts as NULL and 0. false when out of memory; the array is then as it was. The room is
 * doubled whenever the count reaches a power of two, so no capacity needs to be kept. */
#define sp_push(array, count, ...)                                                                                     \
	({                                                                                                             \
		bool sp_pushed_ = true;                                                                                \
		if (((count) & ((count)-1)) == 0) {                                                                    \
			void *sp_room_ = reallocarray((array), (count) == 0 ? 1 : 2 * (count), sizeof *(array));       \
			if (sp_room_ == NULL)                                                                          \
				sp_pushed_ = false;                                                                    \
			else                                                                                           \
				(array) = sp_room_;                                                                    \
		}                                                                                                      \
		if (sp_pushed_)                                                                                        \
			(array)[(count)++] = (__typeof__(*(array)))__VA_ARGS__;                                        \
		sp_pushed_;                                                                                            \
	})

#endif
