/* rules [--write COUNT]: what a decision takes with 10 rules and with 10,000.
 *
 * Prints for each number of rules the median time of a decision, for a program that a rule in the middle names, for one that only a
 * pattern is about, and for one that no rule is about. --write prints the policy that is used. */
#include "policy/policy.h"
#include "util/cleanup.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { BATCHES = 2001, BATCH = 50, GLOBALS = 5 };

/* Every tenth rule is about a pattern, and a few about every program, as policies have them. */
static char *write_policy(unsigned count, size_t *size)
{
	char *text = NULL;
	FILE *out = open_memstream(&text, size);

	if (out == NULL)
		return NULL;
	(void)fputs("version: 1\nexec:\n  default: allow\n  rules:\n", out);
	for (unsigned i = 0; i < GLOBALS; i++)
		(void)fprintf(out, "    - {id: global-%u, any: '*secret-%u*', action: deny}\n", i, i);
	for (unsigned i = GLOBALS; i < count; i++) {
		if (i % 10 == 0)
			(void)fprintf(out, "    - {id: rule-%u, program: 'kind-%u-*', argv: [-x, ...], action: deny}\n",
				      i, i);
		else
			(void)fprintf(
				out,
				"    - {id: rule-%u, program: tool-%u, words: [push], has: [--force], action: deny}\n",
				i, i);
	}
	return fclose(out) == 0 ? text : NULL;
}

static uint64_t now(void)
{
	struct timespec time;

	(void)clock_gettime(CLOCK_MONOTONIC, &time);
	return (uint64_t)time.tv_sec * 1000000000 + (uint64_t)time.tv_nsec;
}

static int compare(const void *left, const void *right)
{
	const uint64_t a = *(const uint64_t *)left, b = *(const uint64_t *)right;

	return (a > b) - (a < b);
}

/* ns */
static double median_decision(const struct sp_policy *policy, const char *path)
{
	static uint64_t times[BATCHES];
	const char *const argv[] = {path, "push", "origin", "--force"};
	const struct sp_exec exec = {.path = path, .argv = argv, .argc = 4};
	struct sp_decision decision;

	for (size_t i = 0; i < BATCHES; i++) {
		const uint64_t begin = now();
		for (int j = 0; j < BATCH; j++)
			sp_policy_decide(policy, &exec, &decision);
		times[i] = now() - begin;
	}
	qsort(times, BATCHES, sizeof *times, compare);
	return (double)times[BATCHES / 2] / BATCH;
}

static const char *const kinds[] = {"named", "pattern", "none"};

static int measure(unsigned count, double result[static 3])
{
	struct sp_policy *policy = NULL;
	struct sp_error e = {0};
	size_t size;
	char *text = write_policy(count, &size);
	char paths[3][64];

	if (text == NULL || sp_policy_parse(text, size, "rules.yaml", &policy, &e) < 0) {
		(void)fprintf(stderr, "rules: %s\n", e.text);
		free(text);
		return -1;
	}
	(void)snprintf(paths[0], sizeof paths[0], "/usr/bin/tool-%u", count / 2 + 1);
	(void)snprintf(paths[1], sizeof paths[1], "/usr/bin/kind-%u-x", count > 10 ? count / 20 * 10 : 0);
	(void)snprintf(paths[2], sizeof paths[2], "/usr/bin/other");
	for (size_t i = 0; i < 3; i++)
		result[i] = median_decision(policy, paths[i]);
	sp_policy_free(policy);
	free(text);
	return 0;
}

int main(int argc, char **argv)
{
	static const unsigned counts[] = {10, 100, 1000, 10000};
	double results[4][3];
	size_t size;

	if (argc == 3 && strcmp(argv[1], "--write") == 0) {
		char *text = write_policy((unsigned)atoi(argv[2]), &size);
		const bool written = text != NULL && fwrite(text, 1, size, stdout) == size;
		free(text);
		return written ? EXIT_SUCCESS : EXIT_FAILURE;
	}
	printf("A decision, median, by how a rule is about the program (ratio to 10 rules):\n\n%8s", "rules");
	for (size_t k = 0; k < 3; k++)
		printf("%20s", kinds[k]);
	putchar('\n');
	for (size_t c = 0; c < 4; c++) {
		if (measure(counts[c], results[c]) < 0)
			return EXIT_FAILURE;
		printf("%8u", counts[c]);
		for (size_t k = 0; k < 3; k++)
			printf("%10.0f ns %5.2f ×", results[c][k], results[c][k] / results[0][k]);
		putchar('\n');
	}
	return EXIT_SUCCESS;
}
