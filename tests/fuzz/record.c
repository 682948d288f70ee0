/* Any bytes as an audit record, and as a segment of a spool: refused, or read as what writing it again gives. */
#include "audit/segment.h"
#include "fuzz.h"

#include <string.h>

static const void *content(const struct sp_record *record)
{
	return &record->job; /* all of them begin there */
}

static void check(const struct sp_record *record)
{
	const size_t size = sp_record_size(record->kind, content(record));
	unsigned char *bytes = malloc(size + 1), *again = malloc(size + 1);
	struct sp_record second;

	must(bytes != NULL && again != NULL);
	sp_record_encode(record->kind, content(record), bytes);
	must(sp_record_decode(record->kind, bytes, size, &second) == 0);
	must(sp_record_size(second.kind, content(&second)) == size);
	sp_record_encode(second.kind, content(&second), again);
	must(memcmp(bytes, again, size) == 0);
	free(bytes);
	free(again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct sp_record record = {0};

	if (size == 0)
		return 0;
	const enum sp_record_kind kind = SP_RECORD_JOB + data[0] % (SP_RECORD_KINDS - SP_RECORD_JOB);
	const size_t rest = (size - 1) & ~(size_t)7;
	unsigned char *bytes = aligned_alloc(8, rest + 8);
	must(bytes != NULL);
	memcpy(bytes, data + 1, rest);
	if (sp_record_decode(kind, bytes, rest, &record) == 0)
		check(&record);

	struct sp_reader reader = {.base = bytes, .size = rest, .seed = 1};
	for (int turns = 0; turns < 1000; turns++) {
		const int ret = sp_reader_next(&reader, &record);
		if (ret == 1) {
			check(&record);
			continue;
		}
		if (!sp_reader_resync(&reader))
			break;
	}
	const struct sp_spool_name spool = {.pid = 1, .id = 2};
	(void)sp_segment_check_header(bytes, rest, &spool, 0);
	sp_reader_free(&reader);
	free(bytes);
	return 0;
}
