/* What the fuzz targets share. A target is one function that libFuzzer calls with bytes of its making; what it promises is checked
 * with must(), beside what the sanitizers find. */
#ifndef SP_TESTS_FUZZ_H
#define SP_TESTS_FUZZ_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define must(condition)                                                                                                \
	do {                                                                                                           \
		if (!(condition)) {                                                                                    \
			(void)fprintf(stderr, "%s:%d: %s does not hold\n", __FILE__, __LINE__, #condition);            \
			abort();                                                                                       \
		}                                                                                                      \
	} while (0)

#endif
