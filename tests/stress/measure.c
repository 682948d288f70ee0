/* See measure.h. */
#include "measure.h"

#include "util/cleanup.h"

#include <dirent.h>
#include <malloc.h>
#include <stdio.h>

static size_t count_entries(const char *path)
{
	cleanup_directory DIR *d = opendir(path);
	const struct dirent *entry;
	size_t count = 0;

	while (d != NULL && (entry = readdir(d)) != NULL)
		count += entry->d_name[0] != '.';
	return count;
}

static size_t resident(void)
{
	cleanup_file FILE *f = fopen("/proc/self/statm", "re");
	size_t pages = 0;

	if (f == NULL || fscanf(f, "%*u %zu", &pages) != 1)
		return 0;
	return pages * (size_t)sysconf(_SC_PAGESIZE);
}

struct sp_measures sp_measure(void)
{
	(void)malloc_trim(0); /* what was freed in the middle of the heap is not held */
	const struct mallinfo2 info = mallinfo2();

	return (struct sp_measures){
		.fds = count_entries("/proc/self/fd") - 1, /* the directory itself */
		.threads = count_entries("/proc/self/task"),
		.heap = info.uordblks + info.hblkhd,
		.rss = resident(),
	};
}

void sp_measure_exactly(char **argv)
{
	if (getenv("GLIBC_TUNABLES") != NULL)
		return;
	(void)setenv("GLIBC_TUNABLES", "glibc.malloc.tcache_count=0:glibc.malloc.arena_max=1", 1);
	(void)execv("/proc/self/exe", argv);
}
