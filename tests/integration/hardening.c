/* What the linker made of the hardening flags, read from the ELF files themselves: flags in a Makefile are easily lost,
 * to a typing error or to a later -fno-..., and nothing else would notice. */
#include "util/cleanup.h"

#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

struct elf {
	const unsigned char *bytes;
	size_t size;
};

static void unmap(struct elf *elf);
static struct elf map(const char *program);
static const Elf64_Ehdr *header(const struct elf *elf);
static const Elf64_Phdr *segment(const struct elf *elf, uint32_t type);
static uint64_t dynamic(const struct elf *elf, int64_t tag);
static bool has_dynamic(const struct elf *elf, int64_t tag);
static const unsigned char *code_of(const struct elf *elf, const char *function);
static const Elf64_Shdr *section(const struct elf *elf, uint32_t type);
static bool imports(const struct elf *elf, const char *suffix);
static bool sanitized(const struct elf *elf);

static char programs[][16] = {"sallyport", "sallyportd"};

#define EACH_PROGRAM(test)                                                                                             \
	ParameterizedTestParameters(hardening, test)                                                                   \
	{                                                                                                              \
		return cr_make_param_array(char[16], programs, sizeof programs / sizeof *programs);                    \
	}                                                                                                              \
	ParameterizedTest(char program[16], hardening, test)

EACH_PROGRAM(position_independent)
{
	sp_cleanup(unmap) struct elf elf = map(program);

	cr_assert_eq(header(&elf)->e_type, ET_DYN);
	cr_assert_not_null(segment(&elf, PT_INTERP), "a shared library, not a program");
	cr_assert(dynamic(&elf, DT_FLAGS_1) & DF_1_PIE);
}

EACH_PROGRAM(full_relro)
{
	sp_cleanup(unmap) struct elf elf = map(program);

	cr_assert_not_null(segment(&elf, PT_GNU_RELRO));
	cr_assert(dynamic(&elf, DT_FLAGS) & DF_BIND_NOW || dynamic(&elf, DT_FLAGS_1) & DF_1_NOW,
		  "relocations are resolved lazily, so the GOT stays writable");
}

EACH_PROGRAM(stack_not_executable)
{
	sp_cleanup(unmap) struct elf elf = map(program);
	const Elf64_Phdr *stack = segment(&elf, PT_GNU_STACK);

	cr_assert_not_null(stack, "without the header the kernel makes the stack executable");
	cr_assert_not(stack->p_flags & PF_X);
}

EACH_PROGRAM(code_apart_from_data)
{
	sp_cleanup(unmap) struct elf elf = map(program);
	const Elf64_Phdr *segments = (const void *)(elf.bytes + header(&elf)->e_phoff);
	size_t executable = 0;

	for (size_t i = 0; i < header(&elf)->e_phnum; i++) {
		if (segments[i].p_type != PT_LOAD || !(segments[i].p_flags & PF_X))
			continue;
		executable++;
		cr_assert_not(segments[i].p_flags & PF_W, "segment %zu is writable and executable", i);
		cr_assert_neq(segments[i].p_offset, 0, "the ELF header and read-only data are executable");
	}
	cr_assert_eq(executable, 1);
}

/* The daemon is too small as yet to have a function with a buffer. */
Test(hardening, stack_protector)
{
	sp_cleanup(unmap) struct elf elf = map("sallyport");

	if (sanitized(&elf))
		cr_skip_test("sanitizers have checks of their own");
	cr_assert(imports(&elf, "__stack_chk_fail"));
}

Test(hardening, fortified)
{
	sp_cleanup(unmap) struct elf elf = map("sallyport");

	if (sanitized(&elf))
		cr_skip_test("fortification would hide calls from the sanitizer");
	cr_assert(imports(&elf, "printf_chk"), "no call of the printf family is checked");
}

EACH_PROGRAM(no_code_is_patched)
{
	sp_cleanup(unmap) struct elf elf = map(program);

	cr_assert_not(has_dynamic(&elf, DT_TEXTREL) || dynamic(&elf, DT_FLAGS) & DF_TEXTREL);
}

/* A library is found where the system keeps it, not where the build has been. */
EACH_PROGRAM(no_search_path_of_its_own)
{
	sp_cleanup(unmap) struct elf elf = map(program);

	cr_assert_not(has_dynamic(&elf, DT_RPATH));
	cr_assert_not(has_dynamic(&elf, DT_RUNPATH));
}

/* Not the note that the linker makes of it: one object without, such as Debian 12's start files, and it is left out. */
EACH_PROGRAM(targets_of_jumps_are_marked)
{
	static const unsigned char endbr64[] = {0xf3, 0x0f, 0x1e, 0xfa};
	sp_cleanup(unmap) struct elf elf = map(program);

	if (sanitized(&elf))
		cr_skip_test("what a sanitizer puts in front of main is its own");
	cr_assert_arr_eq(code_of(&elf, "main"), endbr64, sizeof endbr64);
}

/* Where a frame is larger than a page, each page of it is touched, so that none jumps over the guard page. */
Test(hardening, stack_is_probed)
{
	/* subq $4096, %rsp; then orq $0, (%rsp) or movq $0, (%rsp) */
	static const unsigned char gcc[] = {0x48, 0x81, 0xec, 0, 0x10, 0, 0, 0x48, 0x83, 0x0c, 0x24, 0};
	static const unsigned char clang[] = {0x48, 0x81, 0xec, 0, 0x10, 0, 0, 0x48, 0xc7, 0x04, 0x24, 0, 0, 0, 0};
	sp_cleanup(unmap) struct elf elf = map("sallyport");

	if (sanitized(&elf))
		cr_skip_test("sanitizers have frames of their own");
	cr_assert(memmem(elf.bytes, elf.size, gcc, sizeof gcc) || memmem(elf.bytes, elf.size, clang, sizeof clang));
}

static struct elf map(const char *program)
{
	const char *build = getenv("SP_BUILD");
	cleanup_free char *path = NULL;
	struct stat status;

	cr_assert_gt(asprintf(&path, "%s/%s", build == NULL ? "build" : build, program), 0);
	cleanup_close int fd = open(path, O_RDONLY | O_CLOEXEC);
	cr_assert_geq(fd, 0, "%s: %s", path, strerror(errno));
	cr_assert_eq(fstat(fd, &status), 0);
	void *bytes = mmap(NULL, (size_t)status.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
	cr_assert_neq(bytes, MAP_FAILED);
	struct elf elf = {.bytes = bytes, .size = (size_t)status.st_size};
	cr_assert_gt(elf.size, sizeof(Elf64_Ehdr));
	cr_assert_arr_eq(elf.bytes, ELFMAG, SELFMAG);
	return elf;
}

static void unmap(struct elf *elf)
{
	(void)munmap((void *)elf->bytes, elf->size);
}

static const Elf64_Ehdr *header(const struct elf *elf)
{
	return (const void *)elf->bytes;
}

static const Elf64_Phdr *segment(const struct elf *elf, uint32_t type)
{
	const Elf64_Phdr *segments = (const void *)(elf->bytes + header(elf)->e_phoff);

	for (size_t i = 0; i < header(elf)->e_phnum; i++) {
		if (segments[i].p_type == type)
			return &segments[i];
	}
	return NULL;
}

static const Elf64_Dyn *find_dynamic(const struct elf *elf, int64_t tag)
{
	const Elf64_Shdr *table = section(elf, SHT_DYNAMIC);
	const Elf64_Dyn *entries = (const void *)(elf->bytes + table->sh_offset);

	for (size_t i = 0; i < table->sh_size / sizeof *entries; i++) {
		if (entries[i].d_tag == tag)
			return &entries[i];
	}
	return NULL;
}

static bool has_dynamic(const struct elf *elf, int64_t tag)
{
	return find_dynamic(elf, tag) != NULL;
}

/* The value of a tag of the dynamic section; 0 when it is not there. */
static uint64_t dynamic(const struct elf *elf, int64_t tag)
{
	const Elf64_Dyn *entry = find_dynamic(elf, tag);

	return entry != NULL ? entry->d_un.d_val : 0;
}

/* In code, addresses and offsets may differ; the segment says by how much. */
static const unsigned char *code_at(const struct elf *elf, uint64_t address)
{
	const Elf64_Phdr *segments = (const void *)(elf->bytes + header(elf)->e_phoff);

	for (size_t i = 0; i < header(elf)->e_phnum; i++) {
		if (segments[i].p_type == PT_LOAD && address >= segments[i].p_vaddr &&
		    address < segments[i].p_vaddr + segments[i].p_filesz)
			return elf->bytes + segments[i].p_offset + (address - segments[i].p_vaddr);
	}
	cr_assert_fail("no segment for %#lx", (unsigned long)address);
	return NULL;
}

static const unsigned char *code_of(const struct elf *elf, const char *function)
{
	const Elf64_Shdr *sections = (const void *)(elf->bytes + header(elf)->e_shoff);
	const Elf64_Shdr *table = section(elf, SHT_SYMTAB);
	const Elf64_Sym *symbols = (const void *)(elf->bytes + table->sh_offset);
	const char *names = (const char *)elf->bytes + sections[table->sh_link].sh_offset;

	for (size_t i = 0; i < table->sh_size / sizeof *symbols; i++) {
		if (strcmp(names + symbols[i].st_name, function) == 0)
			return code_at(elf, symbols[i].st_value);
	}
	cr_assert_fail("no function %s", function);
	return NULL;
}

static const Elf64_Shdr *section(const struct elf *elf, uint32_t type)
{
	const Elf64_Shdr *sections = (const void *)(elf->bytes + header(elf)->e_shoff);

	for (size_t i = 0; i < header(elf)->e_shnum; i++) {
		if (sections[i].sh_type == type)
			return &sections[i];
	}
	cr_assert_fail("no section of type %u", type);
	return NULL;
}

/* True if a dynamic symbol's name ends so. */
static bool imports(const struct elf *elf, const char *suffix)
{
	const Elf64_Shdr *sections = (const void *)(elf->bytes + header(elf)->e_shoff);
	const Elf64_Shdr *table = section(elf, SHT_DYNSYM);
	const Elf64_Sym *symbols = (const void *)(elf->bytes + table->sh_offset);
	const char *names = (const char *)elf->bytes + sections[table->sh_link].sh_offset;

	for (size_t i = 0; i < table->sh_size / sizeof *symbols; i++) {
		const char *name = names + symbols[i].st_name;
		size_t length = strlen(name);
		if (length >= strlen(suffix) && strcmp(name + length - strlen(suffix), suffix) == 0)
			return true;
	}
	return false;
}

static bool sanitized(const struct elf *elf)
{
	return imports(elf, "__asan_init") || imports(elf, "__tsan_init");
}
