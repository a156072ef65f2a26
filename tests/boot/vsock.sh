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
