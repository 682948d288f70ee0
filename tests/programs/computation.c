/* A computation for strict mode: no C library, no loader. Reads numbers, writes their sum; with a first argument it also
 * makes a system call that strict mode does not allow. */
enum { READ = 0, WRITE = 1, GETPID = 39, EXIT = 60 };

static long call(long number, long a, long b, long c)
{
	long result;

	__asm__ volatile("syscall" : "=a"(result) : "a"(number), "D"(a), "S"(b), "d"(c) : "rcx", "r11", "memory");
	return result;
}

static long sum(const char *text, long size)
{
	long total = 0, number = 0;

	for (long i = 0; i < size; i++) {
		if (text[i] >= '0' && text[i] <= '9') {
			number = 10 * number + (text[i] - '0');
			continue;
		}
		total += number;
		number = 0;
	}
	return total + number;
}

__attribute__((noreturn, used)) static void compute(const long *stack)
{
	char text[256], digits[24];
	long at = sizeof digits;
	const long size = call(READ, 0, (long)text, sizeof text);

	if (stack[0] > 1)
		call(GETPID, 0, 0, 0);
	digits[--at] = '\n';
	for (long rest = sum(text, size); rest > 0; rest /= 10)
		digits[--at] = (char)('0' + rest % 10);
	call(WRITE, 1, (long)(digits + at), (long)sizeof digits - at);
	call(EXIT, 7, 0, 0);
	__builtin_unreachable();
}

__asm__(".globl _start\n_start: mov %rsp, %rdi\nand $-16, %rsp\ncall compute\n");
