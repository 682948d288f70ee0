/* Kernel interfaces newer than the oldest headers we build with (Debian 12 ships those of 6.1). */
#ifndef SP_UTIL_KERNEL_H
#define SP_UTIL_KERNEL_H

#include <linux/ioctl.h>
#include <linux/seccomp.h>
#include <linux/types.h>
#include <stdint.h>

/* include/uapi/linux/seccomp.h, since 5.19 */
#ifndef SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV
#define SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV (1UL << 5)
#endif

/* include/uapi/linux/seccomp.h, since 6.6 */
#ifndef SECCOMP_USER_NOTIF_FD_SYNC_WAKE_UP
#define SECCOMP_USER_NOTIF_FD_SYNC_WAKE_UP (1UL << 0)
#define SECCOMP_IOCTL_NOTIF_SET_FLAGS SECCOMP_IOW(4, __u64)
#endif

/* include/uapi/linux/prctl.h, since 6.3 */
#ifndef PR_SET_MDWE
#define PR_SET_MDWE 65
#define PR_GET_MDWE 66
#define PR_MDWE_REFUSE_EXEC_GAIN (1UL << 0)
#endif

/* include/uapi/linux/fs.h, since 6.11 */
#ifndef PROCMAP_QUERY
enum procmap_query_flags {
	PROCMAP_QUERY_VMA_READABLE = 0x01,
	PROCMAP_QUERY_VMA_WRITABLE = 0x02,
	PROCMAP_QUERY_VMA_EXECUTABLE = 0x04,
	PROCMAP_QUERY_VMA_SHARED = 0x08,
	PROCMAP_QUERY_COVERING_OR_NEXT_VMA = 0x10,
	PROCMAP_QUERY_FILE_BACKED_VMA = 0x20,
};

struct procmap_query {
	__u64 size;
	__u64 query_flags;
	__u64 query_addr;
	__u64 vma_start;
	__u64 vma_end;
	__u64 vma_flags;
	__u64 vma_page_size;
	__u64 vma_offset;
	__u64 inode;
	__u32 dev_major;
	__u32 dev_minor;
	__u32 vma_name_size;
	__u32 build_id_size;
	__u64 vma_name_addr;
	__u64 build_id_addr;
};
#define PROCMAP_QUERY _IOWR('f', 17, struct procmap_query)
#endif

/* include/uapi/linux/landlock.h: rights since 6.2 (truncate), 6.7 (ports), 6.10 (ioctl_dev), 6.12 (scopes) */
#define SP_LANDLOCK_FS_REFER (UINT64_C(1) << 13)
#define SP_LANDLOCK_FS_TRUNCATE (UINT64_C(1) << 14)
#define SP_LANDLOCK_FS_IOCTL_DEV (UINT64_C(1) << 15)
#define SP_LANDLOCK_NET_BIND_TCP (UINT64_C(1) << 0)
#define SP_LANDLOCK_NET_CONNECT_TCP (UINT64_C(1) << 1)
#ifndef LANDLOCK_SCOPE_SIGNAL
#define LANDLOCK_SCOPE_ABSTRACT_UNIX_SOCKET (1U << 0)
#define LANDLOCK_SCOPE_SIGNAL (1U << 1)
#endif
enum { SP_LANDLOCK_RULE_NET_PORT = 2 };
struct sp_landlock_ruleset {
	uint64_t fs, net, scoped; /* what is handled; older kernels know a prefix */
};
struct sp_landlock_port {
	uint64_t access, port;
};

/* sched_setattr(2): linux/sched/types.h, which cannot be included beside glibc's sched.h (before 2.41). */
struct sp_sched_attr {
	uint32_t size, sched_policy;
	uint64_t sched_flags;
	int32_t sched_nice;
	uint32_t sched_priority;
	uint64_t sched_runtime, sched_deadline, sched_period; /* ns; runtime of SCHED_OTHER: its slice (6.12) */
	uint32_t sched_util_min, sched_util_max;
};

#endif
