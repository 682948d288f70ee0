/* What AddressSanitizer's leak checker asks of a program. */
#include <linux/seccomp.h>
#include <sys/prctl.h>

int __lsan_is_turned_off(void);

/* It traces the process in whose end it looks for leaks. A test that has put itself behind a filter, or that is not dumpable, cannot
 * be traced: it would fail, or wait for ever for somebody to answer a notification. */
int __lsan_is_turned_off(void)
{
	return prctl(PR_GET_SECCOMP) == SECCOMP_MODE_FILTER || prctl(PR_GET_DUMPABLE) != 1;
}
