#!/usr/bin/env bash
# What the development machine does not have: control groups of version 2 with all their controllers, Yama, and Debian's own kernel.
# Boots that kernel under qemu with an initramfs of busybox, sallyport and what it needs, and runs guest.sh in there.
# Usage: run.sh BUILD
set -eu
here=$(dirname "$(readlink -f "$0")")
build=$(readlink -f "$1")
work=$build/kernel
mkdir -p "$work"

missing() {
	echo "test-older-kernel: $1" >&2
	exit 1
}

get() { # PACKAGE: unpacks it below $work/PACKAGE, without installing it
	[ -d "$work/$1" ] && return
	(cd "$work" && apt-get -qq download "$1" 2>/dev/null && dpkg-deb -x "$1"_*.deb "$1" && rm -f "$1"_*.deb) ||
		missing "the package $1 cannot be fetched"
}

if ! command -v qemu-system-x86_64 >/dev/null; then
	[ "$(id -u)" = 0 ] && apt-get install -y --no-install-recommends qemu-system-x86 >/dev/null 2>&1 ||
		missing "qemu is missing: apt-get install qemu-system-x86"
fi
kernel=$(apt-cache depends linux-image-amd64 2>/dev/null | awk '/Depends: linux-image-/ {print $2}')
[ -n "$kernel" ] || missing "apt knows no kernel image (linux-image-amd64)"
get "$kernel"
get busybox-static

root=$work/root
rm -rf "$root"
mkdir -p "$root"/{bin,sbin,proc,sys,dev,tmp,root,etc,usr/bin,run}
cp "$work"/busybox-static/bin/busybox "$root/bin/"
for applet in sh mount umount mkdir cat echo sleep grep sed head ls rm kill ps id su chown chmod poweroff seq true test dd awk wc uname rmdir; do
	ln -s busybox "$root/bin/$applet"
done
cp "$build/sallyport" "$root/bin/"
ldd "$build/sallyport" | grep -o '/[^ ]*' | while read -r library; do
	mkdir -p "$root$(dirname "$library")"
	cp -L "$library" "$root$library"
done
cp "$here/guest.sh" "$root/init"
printf 'root:x:0:0::/root:/bin/sh\nuser:x:1000:1000::/tmp:/bin/sh\n' >"$root/etc/passwd"
(cd "$root" && find . | "$work"/busybox-static/bin/busybox cpio -o -H newc 2>/dev/null | gzip -1) >"$work/initramfs.gz"

timeout "${KERNEL_TIMEOUT:-180}" qemu-system-x86_64 -nographic -no-reboot -m 512 -smp 2 -nic none \
	-kernel "$work/$kernel"/boot/vmlinuz-* -initrd "$work/initramfs.gz" \
	-append "console=ttyS0 quiet panic=-1 cgroup_no_v1=all" </dev/null 2>&1 | tee "$work/log" | grep -a '^test: ' || true
grep -aq '^test: all done' "$work/log" || missing "the guest did not get to its end; see $work/log"
! grep -aq '^test: FAILED' "$work/log"
