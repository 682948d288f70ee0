#!/bin/sh
# Runs as the init of a virtual machine: see run.sh. Each test has a line, "test: ok ..." or "test: FAILED ...".
export PATH=/bin HOME=/root
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs dev /dev
mount -t tmpfs -o mode=1777 tmp /tmp
mount -t cgroup2 cgroup2 /sys/fs/cgroup
mount -t tracefs tracefs /sys/kernel/tracing
echo "test: ok Linux $(uname -r)"
cd /tmp

ok() { echo "test: ok $*"; }
check() { # WHAT CONDITION...
	what=$1
	shift
	if "$@"; then ok "$what"; else echo "test: FAILED $what"; cat /tmp/out /tmp/err 2>/dev/null; fi
}
policy() {
	printf 'version: 1\nname: guest\nexec: {default: allow}\nlimits: {%s}\n' "$1" >/tmp/policy.yaml
}
supervise() {
	sallyport run -p /tmp/policy.yaml --audit /tmp/audit.db --explain --leftovers kill -- "$@" >/tmp/out 2>/tmp/err
	status=$?
}
said() { grep -q "$1" /tmp/err; }
empty() { [ -z "$(ls -d /sys/fs/cgroup/sallyport-[0-9]* 2>/dev/null)" ]; }
nobody() { ! ps | grep -v grep | grep -q "sleep 98765"; }

# ---- Yama ----
policy ""
for level in 0 1 2; do
	echo $level >/proc/sys/kernel/yama/ptrace_scope
	supervise true
	check "yama $level, root" [ $status = 0 ]
done
chmod 666 /tmp/policy.yaml
as_user() {
	su user -c 'sallyport run -p /tmp/policy.yaml --audit /tmp/user.db -- true' >/tmp/out 2>/tmp/err
	status=$?
}
as_user
check "yama 2, a user: refused, with the reason" [ $status = 125 ]
check "... which names it" grep -qi yama /tmp/err
echo 1 >/proc/sys/kernel/yama/ptrace_scope
as_user
check "yama 1, a user" [ $status = 0 ]

# ---- control groups, version 2 ----
mkdir /sys/fs/cgroup/tests
echo "+memory +pids +cpu" >/sys/fs/cgroup/cgroup.subtree_control

policy "memory: 64M"
supervise sh -c 'cat /proc/self/cgroup; dd if=/dev/zero of=/dev/null bs=200M count=1'
check "memory: too much is killed (status $status)" [ $status -ge 128 -o $status = 1 ]
check "... in a group of its own" grep -q "0::.*/sallyport-[0-9]" /tmp/out
check "... and the stage says so" grep -q "limits.memory.*applied" /tmp/err
# Born inside (CLONE_INTO_CGROUP), the program is never moved.
tracing=/sys/kernel/tracing
echo 1 >$tracing/events/cgroup/cgroup_attach_task/enable
policy "memory: 400M"
supervise true
check "the program is born in its group" [ "$status$(grep -c 'cgroup_attach_task:.*sallyport-[0-9]' $tracing/trace)" = 00 ]
mkdir /sys/fs/cgroup/sallyport-1
sh -c 'echo 0 >/sys/fs/cgroup/sallyport-1/cgroup.procs'
check "... control: a move is seen" grep -q 'cgroup_attach_task:.*sallyport-1' $tracing/trace
rmdir /sys/fs/cgroup/sallyport-1
supervise dd if=/dev/zero of=/dev/null bs=200M count=1
check "memory: control" [ $status = 0 ]
check "the group is gone" empty

policy "processes: 8"
supervise sh -c 'for i in $(seq 30); do sleep 98765 & done; wait'
check "processes: the fork fails (status $status)" grep -qi "can't fork\|cannot fork" /tmp/err
check "... and nobody is left" nobody
policy "processes: 100"
supervise sh -c 'for i in $(seq 30); do true & done; wait'
check "processes: control" [ $status = 0 ]

policy "cpus: 0.2"
supervise sh -c 'i=0; while [ $i -lt 30000 ]; do i=$((i+1)); done; cat /sys/fs/cgroup$(sed s/0::// /proc/self/cgroup)/cpu.stat'
check "cpus: throttled" grep -q "nr_throttled [1-9]" /tmp/out
policy "cpus: 4"
supervise sh -c 'i=0; while [ $i -lt 3000 ]; do i=$((i+1)); done; cat /sys/fs/cgroup$(sed s/0::// /proc/self/cgroup)/cpu.stat'
check "cpus: control" grep -q "nr_throttled 0" /tmp/out

# ---- the end of a job: cgroup.kill ----
policy "processes: 200, wall_seconds: 5"
supervise sh -c 'bomb() { bomb & bomb & sleep 98765; }; bomb'
check "a fork bomb ends with its time (status $status)" [ $status = 137 ]
check "... and nobody is left" nobody
check "... nor its group" empty

echo "test: all done"
poweroff -f
