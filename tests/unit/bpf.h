/* An interpreter of classic BPF, as far as seccomp_check_filter() in kernel/seccomp.c lets programs use it: what a filter says of
 * a system call, without making it. */
#ifndef TESTS_UNIT_BPF_H
#define TESTS_UNIT_BPF_H

#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stdint.h>

/* What the program returns. A program that the kernel would not take fails the test. */
uint32_t bpf_interpret(const struct sock_fprog *program, const struct seccomp_data *data);

#endif
