# shellcheck shell=bash
# Sockets between a guest and its host, with Linux's own AF_VSOCK as the judge. Programs on
# both sides, vsock_work.c: 4 MiB there and back, several at once, ports where nobody is, ends
# of one direction, a driver that goes and comes back, and last words that a slow reader has yet to
# get when the guest powers off.

# shellcheck disable=SC2016
sock_script='/vsock_work guest || echo "status $?"
cd /sys/bus/virtio/drivers/vmw_vsock_virtio_transport && d=$(ls -d virtio*) && echo $d >unbind && echo $d >bind &&
	echo "driver again"
echo "@@ warnings"; warnings
/vsock_work slow'

# sock_host: from here on minivmm runs beside the host's program, whose sockets are at $sock
# and whose words are in $vm_dir/host.
sock_host() {
	local dir
	work=$(dirname "$vm_binary")/tests/boot/vsock_work
	[ -x "$work" ] || fail "vsock_work is not built; run scripts/build dev"
	dir=$(there mktemp -d /var/tmp/minivmm-vsock.XXXXXX)
	on_exit there rm -rf "$dir"
	sock=$dir/v
	cat >"$vm_dir/beside" <<-BESIDE
		#!/bin/sh
		$work host $sock </dev/null >$vm_dir/host 2>&1 &
		exec $vm_binary "\$@"
	BESIDE
	chmod 755 "$vm_dir/beside"
	vm_binary=$vm_dir/beside
}

# vhost_host CID: the same beside the host's kernel, with AF_VSOCK on both sides.
vhost_host() {
	work=$(dirname "$vm_binary")/tests/boot/vsock_work
	[ -x "$work" ] || fail "vsock_work is not built; run scripts/build dev"
	there test -c /dev/vhost-vsock || skip "no /dev/vhost-vsock"
	cat >"$vm_dir/beside" <<-BESIDE
		#!/bin/sh
		setpriv --pdeathsig KILL $work vhost $1 ${1}00 </dev/null >>$vm_dir/host 2>&1 &
		exec $vm_binary "\$@"
	BESIDE
	chmod 755 "$vm_dir/beside"
	vm_binary=$vm_dir/beside
}

# sock_boot CID ARGUMENT...: boots to the end and looks at what both have said.
sock_boot() {
	local cid=$1 word limit; shift
	boots 0 240 "$@" --append quiet
	says "^guest: cid $cid\$"
	says_not '^guest: failed|^slow: failed'
	for word in 'there and back' 'several at once' 'nobody there' half-close 'served the host'; do
		says "^guest: works: $word\$"
	done
	says '^driver again$'
	says '^slow: works: said them$'
	# The host's reader may still be at it.
	limit=$((SECONDS + 20))
	until grep -qE '^host: (works: the last words|failed)' "$vm_dir/host" || [ "$SECONDS" -ge "$limit" ]; do sleep 0.1; done
	for word in connected 'nobody there' 'several at once' 'the last words'; do
		grep -q "^host: works: $word\$" "$vm_dir/host" || fail "the host: $(tail -n 3 "$vm_dir/host")"
	done
	there test ! -e "$sock" || fail "the socket is still there"
	clean_dmesg
}

tuned_socks() { # TRANSPORT
	kernel tuned
	sock_host
	guest "$sock_script"
	(cd "$vm_dir" && cp "$work" . && echo vsock_work | cpio -o -H newc --quiet -R 0:0) >>"$initrd"
	sock_boot 3 --transport "$1" -k "$kernel" -i "$initrd" --vsock "$sock"
}
test_tuned_pci() { tuned_socks pci; }
test_tuned_mmio() { tuned_socks mmio; }

# Debian's kernel has it as a module, which is packed.
cloud_socks() { # TRANSPORT
	kernel cloud
	sock_host
	tiny_tree "$vm_dir/tree"
	cp "$work" "$vm_dir/tree/"
	printf '%s\n' "$sock_script" >"$vm_dir/tree/test.sh"
	"$here/mkimage" --size 32M --output "$vm_dir/root.img" "$vm_dir/tree" >/dev/null 2>"$vm_dir/mkimage.log" ||
		fail "mkimage: $(cat "$vm_dir/mkimage.log")"
	sock_boot 4294967294 --transport "$1" -k "$kernel" -d "$vm_dir/root.img" --vsock "$sock,cid=4294967294"
}
test_cloud_pci() { cloud_socks pci; }
test_cloud_mmio_long() { cloud_socks mmio; }

# The command's streams and sockets of its own by the same device.
test_with_a_command() {
	kernel tuned
	sock_host
	boots 0 240 run -k "$kernel" --vsock "$sock,cid=77" -- "$work" guest
	says '^guest: cid 77$'
	says_not '^guest: failed'
	for word in 'there and back' 'several at once' 'nobody there' half-close 'served the host'; do
		says "^guest: works: $word\$"
	done
}

# --- by vhost ------------------------------------------------------------------------------------

# What the host's program has asked for, it has: it ends before the guest does.
await_host() {
	local limit=$((SECONDS + 60)) word
	until grep -qE '^vhost: (works: several at once|failed)' "$vm_dir/host" || [ "$SECONDS" -ge "$limit" ]; do sleep 0.1; done
	for word in connected 'nobody there' 'several at once'; do
		grep -q "^vhost: works: $word\$" "$vm_dir/host" || fail "the host: $(tail -n 3 "$vm_dir/host")"
	done
}

by_vhost() { # CID OPTION...
	local cid=$1 word minivmm=$vm_binary; shift
	kernel tuned
	vhost_host "$cid"
	guest "/vsock_work guest ${cid}00"'
cd /sys/bus/virtio/drivers/vmw_vsock_virtio_transport && d=$(ls -d virtio*) && echo $d >unbind && echo $d >bind &&
	/vsock_work again '"${cid}00"'
echo "@@ warnings"; warnings; echo ready; read word'
	(cd "$vm_dir" && cp "$work" . && echo vsock_work | cpio -o -H newc --quiet -R 0:0) >>"$initrd"
	vm_start -k "$kernel" -i "$initrd" --vsock "vhost,cid=$cid" --append quiet "$@"
	vm_expect '^ready' 240 || fail "$vm_why"
	await_host
	# Its address is its own as long as it runs.
	vm_binary=$minivmm
	if there "$vm_binary" -k "$kernel" --vsock "vhost,cid=$cid" </dev/null >/dev/null 2>"$vm_dir/second"; then fail "there are two of cid $cid"; fi
	grep -qx "minivmm: --vsock vhost: cid=$cid: another machine of this host has it, or the host itself; give another" "$vm_dir/second" ||
		fail "a second one says: $(cat "$vm_dir/second")"
	vm_send 'go
'
	vm_wait 60 || fail "$vm_why"
	[ "$vm_status" = 0 ] || fail "status $vm_status"
	says "^guest: cid $cid\$"
	says_not '^(guest|again): failed'
	for word in 'there and back' 'several at once' 'nobody there' half-close 'served the host'; do
		says "^guest: works: $word\$"
	done
	says '^again: works: there and back'
	clean_dmesg
}
test_vhost() { by_vhost 4201 -c 2; }
test_vhost_mmio_long() { by_vhost 4202 -c 2 --transport mmio; }

# Where the host's kernel has none, or not for us, it is said what to do.
test_no_vhost() {
	there test -c /dev/vhost-vsock || skip "no /dev/vhost-vsock"
	kernel tuned
	cat >"$vm_dir/elsewhere" <<-ELSEWHERE
		#!/bin/sh
		[ "\$1" = inside ] || exec unshare -m "\$0" inside "\$@"
		shift
		mkdir $vm_dir/dev && mount -t tmpfs -o mode=755 none $vm_dir/dev && cd $vm_dir/dev || exit 9
		mknod -m 666 kvm c 10 232 && mknod -m 666 null c 1 3 && cp $kernel vmlinux || exit 9
		[ ! -e ../not_ours ] || cp -a /dev/vhost-vsock . || exit 9
		mount --bind . /dev && cd / || exit 9
		exec setpriv --reuid 4321 --regid 50 --clear-groups $vm_binary "\$@"
	ELSEWHERE
	chmod 755 "$vm_dir/elsewhere"
	vm_binary=$vm_dir/elsewhere
	boots 2 60 -k /dev/vmlinux --vsock vhost,cid=4203
	told '^minivmm: --vsock vhost: /dev/vhost-vsock: No such file or directory; modprobe vhost_vsock, or give a path instead$'
	touch "$vm_dir/not_ours"
	rmdir "$vm_dir/dev"
	boots 2 60 -k /dev/vmlinux --vsock vhost,cid=4203
	told '^minivmm: --vsock vhost: /dev/vhost-vsock: Permission denied; have the device given to this user, or give a path instead$'
}
