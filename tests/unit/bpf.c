/* See bpf.h. */
#include "bpf.h"

#include <criterion/criterion.h>
#include <stdbool.h>
#include <string.h>

struct machine {
	const struct seccomp_data *data;
	uint32_t a, x, memory[BPF_MEMWORDS];
};

static uint32_t load(const struct machine *m, uint32_t offset)
{
	uint32_t word;

	cr_assert(offset % 4 == 0 && offset + 4 <= sizeof *m->data, "load beyond the data");
	memcpy(&word, (const char *)m->data + offset, sizeof word);
	return word;
}

static uint32_t calculate(uint16_t code, uint32_t a, uint32_t operand)
{
	switch (BPF_OP(code)) {
	case BPF_ADD:
		return a + operand;
	case BPF_SUB:
		return a - operand;
	case BPF_MUL:
		return a * operand;
	case BPF_DIV:
		cr_assert_neq(operand, 0u);
		return a / operand;
	case BPF_AND:
		return a & operand;
	case BPF_OR:
		return a | operand;
	case BPF_XOR:
		return a ^ operand;
	case BPF_LSH:
		return a << (operand & 31);
	case BPF_RSH:
		return a >> (operand & 31);
	case BPF_NEG:
		return -a;
	default:
		cr_assert_fail("unknown calculation %#x", code);
		return 0;
	}
}

static bool jumps(uint16_t code, uint32_t a, uint32_t operand)
{
	switch (BPF_OP(code)) {
	case BPF_JEQ:
		return a == operand;
	case BPF_JGT:
		return a > operand;
	case BPF_JGE:
		return a >= operand;
	case BPF_JSET:
		return (a & operand) != 0;
	default:
		cr_assert_fail("unknown jump %#x", code);
		return false;
	}
}

static uint32_t source(const struct machine *m, const struct sock_filter *at)
{
	return BPF_SRC(at->code) == BPF_X ? m->x : at->k;
}

static uint32_t load_value(const struct machine *m, const struct sock_filter *at)
{
	switch (BPF_MODE(at->code)) {
	case BPF_ABS:
		return load(m, at->k);
	case BPF_IMM:
		return at->k;
	case BPF_MEM:
		cr_assert_lt(at->k, (unsigned)BPF_MEMWORDS);
		return m->memory[at->k];
	case BPF_LEN:
		return sizeof *m->data;
	default:
		cr_assert_fail("unknown load %#x", at->code);
		return 0;
	}
}

uint32_t bpf_interpret(const struct sock_fprog *program, const struct seccomp_data *data)
{
	struct machine m = {.data = data};

	for (uint32_t pc = 0; pc < program->len; pc++) {
		const struct sock_filter *at = &program->filter[pc];

		switch (BPF_CLASS(at->code)) {
		case BPF_LD:
			m.a = load_value(&m, at);
			break;
		case BPF_LDX:
			m.x = load_value(&m, at);
			break;
		case BPF_ST:
		case BPF_STX:
			cr_assert_lt(at->k, (unsigned)BPF_MEMWORDS);
			m.memory[at->k] = BPF_CLASS(at->code) == BPF_ST ? m.a : m.x;
			break;
		case BPF_ALU:
			m.a = calculate(at->code, m.a, source(&m, at));
			break;
		case BPF_JMP:
			if (BPF_OP(at->code) == BPF_JA)
				pc += at->k;
			else
				pc += jumps(at->code, m.a, source(&m, at)) ? at->jt : at->jf;
			break;
		case BPF_RET:
			return BPF_RVAL(at->code) == BPF_A ? m.a : at->k;
		case BPF_MISC:
			if (BPF_MISCOP(at->code) == BPF_TAX)
				m.x = m.a;
			else
				m.a = m.x;
			break;
		}
	}
	cr_assert_fail("the program runs off its end");
	return 0;
}
