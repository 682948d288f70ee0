/* One segment: committed records are there, torn and damaged ones are not, and what comes after them is found again. */
#include "audit/segment.h"
#include "audit_fixture.h"
#include "util/cleanup.h"

#include <criterion/criterion.h>
#include <fcntl.h>
#include <string.h>

static const struct sp_spool_name name = {.pid = 42, .id = UINT64_C(0x0123456789abcdef)};

static struct sp_segment *make(const struct fixture *fixture, int *directory)
{
	struct sp_segment *segment = NULL;
	struct sp_error e = {0};

	*directory = open(fixture->directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	cr_assert_geq(*directory, 0);
	cr_assert_eq(sp_segment_create(*directory, &name, 7, 65536, &segment, &e), 0, "%s", e.text);
	return segment;
}

static void append(struct sp_segment *segment, uint64_t process)
{
	const struct sp_audit_exit record = {.job = 1, .process = process, .time = 3, .status = 4};
	size_t size = sp_record_size(SP_RECORD_EXIT, &record);

	cr_assert(sp_segment_has_room(segment, size));
	sp_segment_append(segment, SP_RECORD_EXIT, &record, size);
}

static struct sp_reader reader_of(const unsigned char *bytes, size_t size)
{
	return (struct sp_reader){
		.base = bytes, .size = size, .seed = sp_segment_seed(&name, 7), .offset = SP_SEGMENT_HEADER};
}

Test(audit_segment, names)
{
	struct sp_spool_name parsed;
	uint64_t number;
	static const char *const bad[] = {"",
					  "42",
					  "42-0123456789abcdef",
					  "42-0123456789abcdef.",
					  "42-0123456789abcdef.x",
					  "42-0123456789ABCDEF.0",
					  "042-0123456789abcdef.0",
					  "-1-0123456789abcdef.0",
					  "42-0123456789abcdef.00",
					  "42-0123456789abcdef.0.corrupt",
					  "42-123.0",
					  "0-0123456789abcdef.0",
					  "99999999999-0123456789abcdef.0",
					  " 42-0123456789abcdef.0"};

	cr_assert(sp_segment_name_parse("42-0123456789abcdef.18446744073709551615", &parsed, &number));
	cr_assert(parsed.pid == 42 && parsed.id == name.id && number == UINT64_MAX);
	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
		cr_assert_not(sp_segment_name_parse(bad[i], &parsed, &number), "%s", bad[i]);
}

Test(audit_segment, append_and_read)
{
	cleanup_fixture struct fixture fixture = fixture_make();
	cleanup_close int directory = -1;
	struct sp_segment *segment = make(&fixture, &directory);
	struct sp_reader reader = reader_of(segment->base, segment->size);
	struct sp_record record;

	cr_assert_eq(sp_reader_next(&reader, &record), 0);
	for (uint64_t i = 0; i < 100; i++) {
		append(segment, i);
		cr_assert_eq(sp_reader_next(&reader, &record), 1);
		cr_assert_eq(record.exit.process, i);
		cr_assert_eq(sp_reader_next(&reader, &record), 0);
	}
	cr_assert_eq(sp_segment_check_header(segment->base, segment->size, &name, 7), SP_HEADER_GOOD);
	cr_assert_eq(sp_segment_check_header(segment->base, segment->size, &name, 8), SP_HEADER_BAD);
	cr_assert_eq(sp_segment_check_header(segment->base, segment->size - 1, &name, 7), SP_HEADER_BAD);
	cr_assert_eq(sp_segment_check_header(segment->base, 12, &name, 7), SP_HEADER_BAD);
	cr_assert_eq(sp_segment_check_header((const unsigned char[64]){0}, 64, &name, 7), SP_HEADER_EMPTY);
	sp_reader_free(&reader);
	sp_segment_free(segment);
}

Test(audit_segment, fills_up_to_the_end_mark)
{
	cleanup_fixture struct fixture fixture = fixture_make();
	cleanup_close int directory = -1;
	struct sp_segment *segment = make(&fixture, &directory);
	struct sp_reader reader = reader_of(segment->base, segment->size);
	struct sp_record record;
	uint64_t count = 0, read = 0;

	while (sp_segment_has_room(segment, 32))
		append(segment, count++);
	cr_assert_geq(count, (65536 - 64) / 48 - 1);
	sp_segment_append(segment, SP_RECORD_NEXT, NULL, 0);
	cr_assert_leq(segment->end, segment->size);
	while (sp_reader_next(&reader, &record) == 1 && record.kind == SP_RECORD_EXIT)
		cr_assert_eq(record.exit.process, read++);
	cr_assert_eq(record.kind, SP_RECORD_NEXT);
	cr_assert_eq(read, count);
	sp_reader_free(&reader);
	sp_segment_free(segment);
}

/* A record whose length was not stored yet is not there, whatever else is. */
Test(audit_segment, torn_record)
{
	cleanup_fixture struct fixture fixture = fixture_make();
	cleanup_close int directory = -1;
	struct sp_segment *segment = make(&fixture, &directory);
	struct sp_reader reader = reader_of(segment->base, segment->size);
	struct sp_record record;

	append(segment, 1);
	size_t torn = segment->end;
	append(segment, 2);
	memset(segment->base + torn, 0, 4);
	cr_assert_eq(sp_reader_next(&reader, &record), 1);
	cr_assert_eq(sp_reader_next(&reader, &record), 0);
	cr_assert_not(sp_reader_resync(&reader), "nothing follows it");
	sp_reader_free(&reader);
	sp_segment_free(segment);
}

/* Every single bit of a record matters. And the record after it is found again. */
Test(audit_segment, each_bit_flipped)
{
	cleanup_fixture struct fixture fixture = fixture_make();
	cleanup_close int directory = -1;
	struct sp_segment *segment = make(&fixture, &directory);
	struct sp_record record;

	append(segment, 1);
	size_t second = segment->end;
	append(segment, 2);
	size_t third = segment->end;
	append(segment, 3);
	for (size_t bit = second * 8; bit < third * 8; bit++) {
		struct sp_reader reader = reader_of(segment->base, segment->size);
		segment->base[bit / 8] ^= (unsigned char)(1 << bit % 8);
		cr_assert_eq(sp_reader_next(&reader, &record), 1);
		cr_assert_eq(sp_reader_next(&reader, &record), -EBADMSG, "bit %zu", bit - second * 8);
		cr_assert(sp_reader_resync(&reader));
		cr_assert_eq(reader.offset, third);
		cr_assert_eq(sp_reader_next(&reader, &record), 1);
		cr_assert_eq(record.exit.process, 3);
		segment->base[bit / 8] ^= (unsigned char)(1 << bit % 8);
		sp_reader_free(&reader);
	}
	sp_segment_free(segment);
}

/* The same bytes at another place, of another segment or of another spool are no record: what a disk may give back. */
Test(audit_segment, misplaced_record)
{
	cleanup_fixture struct fixture fixture = fixture_make();
	cleanup_close int directory = -1;
	struct sp_segment *segment = make(&fixture, &directory);
	const struct sp_spool_name other = {.pid = 42, .id = name.id + 1};
	struct sp_record record;

	append(segment, 1);
	append(segment, 2);
	memcpy(segment->base + SP_SEGMENT_HEADER, segment->base + SP_SEGMENT_HEADER + 48, 48);
	struct sp_reader moved = reader_of(segment->base, segment->size);
	cr_assert_eq(sp_reader_next(&moved, &record), -EBADMSG);
	struct sp_reader numbered = {.base = segment->base,
				     .size = segment->size,
				     .seed = sp_segment_seed(&name, 8),
				     .offset = SP_SEGMENT_HEADER + 48};
	cr_assert_eq(sp_reader_next(&numbered, &record), -EBADMSG);
	struct sp_reader foreign = {.base = segment->base,
				    .size = segment->size,
				    .seed = sp_segment_seed(&other, 7),
				    .offset = SP_SEGMENT_HEADER + 48};
	cr_assert_eq(sp_reader_next(&foreign, &record), -EBADMSG);
	sp_reader_free(&moved);
	sp_reader_free(&numbered);
	sp_reader_free(&foreign);
	sp_segment_free(segment);
}

/* Noise neither crashes nor keeps us for long; buffers have their exact size for the address sanitizer. */
Test(audit_segment, noise, .timeout = 60)
{
	unsigned seed = 3;

	for (int round = 0; round < 200; round++) {
		size_t size = (size_t)rand_r(&seed) % 4096 / 8 * 8;
		cleanup_free unsigned char *bytes = malloc(size > 0 ? size : 1);
		struct sp_reader reader = reader_of(bytes, size);
		struct sp_record record;
		/* Small words are likely lengths. */
		for (size_t i = 0; i < size; i++)
			bytes[i] = (unsigned char)(rand_r(&seed) % 4 == 0 ? rand_r(&seed) % 64 : 0);
		do {
			while (sp_reader_next(&reader, &record) > 0)
				;
		} while (sp_reader_resync(&reader));
		sp_reader_free(&reader);
	}
}
