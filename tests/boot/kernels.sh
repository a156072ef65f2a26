# shellcheck shell=bash
# The kernels and the ways to start them: stock bzImages, an uncompressed ELF, an
# initrd of one's own, or the one that minivmm packs.

hello='echo "release $(uname -r)"; echo "root $(cut -d" " -f1-3 /proc/mounts | grep " / ")"'

test_cloud_initrd() {
	kernel cloud
	guest "$hello"
	boots 0 120 -k "$kernel" -i "$initrd" --append quiet
	says '^release .*cloud-amd64$'
	says '^@@ end$'
}

test_generic_initrd() {
	kernel generic
	guest "$hello"
	boots 0 120 -k "$kernel" -i "$initrd" --append quiet
	says '^release .*[0-9]-amd64$'
}

test_vmlinux_initrd_long() {
	kernel vmlinux
	guest "$hello"
	boots 0 120 -k "$kernel" -i "$initrd" --append quiet
	says '^release .*cloud-amd64$'
}

# stdout is the guest's alone: its first byte to its last.
test_stdout_is_the_guests() {
	kernel tuned
	guest 'echo only this'
	boots 0 120 -k "$kernel" -i "$initrd" --append quiet -vv
	says '^only this$'
	says_not 'minivmm'
	[ -s "$vm_dir/err" ] || fail "-vv says nothing on stderr"
}

test_cloud_packed_initramfs() {
	tiny_disk "$vm_dir/root.img"
	kernel cloud
	encoded "$hello"
	boots 0 120 -k "$kernel" -d "$vm_dir/root.img" --append "quiet $run"
	says '^root /dev/(vda|root) / ext4'
}

test_generic_packed_initramfs() {
	tiny_disk "$vm_dir/root.img"
	kernel generic
	encoded "$hello"
	boots 0 120 -k "$kernel" -d "$vm_dir/root.img" --append "quiet $run"
	says '^root /dev/(vda|root) / ext4'
}

# --modules names a tree that is not where packages put it.
test_modules_option() {
	tiny_disk "$vm_dir/root.img"
	kernel cloud
	cp "$kernel" "$vm_dir/vmlinuz"
	encoded "$hello"
	boots 0 120 -k "$vm_dir/vmlinuz" --modules "$("$here/fetch-kernel" --modules cloud)" \
		-d "$vm_dir/root.img" --append "quiet $run"
	says '^root /dev/(vda|root) / ext4'
}

# Without a guest: the lengths of a real one, and a few by the whole program.
truncations() { # truncations STEP
	local size length
	kernel cloud
	"$(dirname "$vm_binary")/tests/boot/truncations" "$kernel" "$1" >"$vm_dir/out" ||
		fail "truncations: $(cat "$vm_dir/out")"
	says '^[0-9]+ lengths refused$'
	console >"$vm_dir/note"
	size=$(stat -Lc %s "$kernel")
	for length in 1 511 512 560 700 16384 $((size / 2)) $((size - 1)); do
		head -c "$length" "$kernel" >"$vm_dir/cut"
		boots 2 60 -k "$vm_dir/cut"
		told '^minivmm: --kernel .*/cut: '
		[ "$(wc -l <"$vm_dir/err")" = 1 ] || fail "not one line about $length bytes"
	done
}
test_truncations() { truncations 61; }
test_every_truncation_long() { truncations 1; }
