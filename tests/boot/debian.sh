# shellcheck shell=bash
# A real distribution, as users have it: the stock kernel, no initrd, systemd, a
# login on the serial console.

debian() { # debian KERNEL ARGUMENT...
	kernel "$1"; shift
	cp --reflink=auto --sparse=always "$debian_image" "$vm_dir/debian.img"
	vm_start -k "$kernel" -m 512 -d "$vm_dir/debian.img" --append "quiet systemd.show_status=0" "$@"
	vm_expect 'login: ' 600 || fail "$vm_why"
	vm_send $'root\n'
	vm_expect 'root@[^ ]*# ' 60 || fail "$vm_why"
}
answer() { # answer COMMAND REGEX
	vm_send "echo; $1"$'\n'
	vm_expect "$2" 60 || fail "$1: $vm_why"
}

# SIGTERM presses the power button, systemd-logind hears it and shuts down.
login_and_button() { # login_and_button OPTION...
	debian_image=$("$here/mkimage") || fail "mkimage"
	debian cloud -c 2 --stop-timeout 90 "$@"
	answer 'systemctl is-system-running --wait' '^running'
	answer 'nproc' '^2'
	answer 'systemctl --failed --no-legend | wc -l' '^0'
	answer 'findmnt -no SOURCE,FSTYPE,OPTIONS /' '/dev/vda +ext4 +rw'
	answer 'echo kept >/srv/kept; sync; echo "synced"; ' '^synced'
	vm_signal TERM
	vm_wait 120 || fail "$vm_why"
	[ "$vm_status" = 0 ] || fail "status $vm_status after the power button"
	[ "$(PATH=$PATH:/sbin:/usr/sbin debugfs -R 'cat /srv/kept' "$vm_dir/debian.img" 2>/dev/null)" = kept ] ||
		fail "what was written is not on the disk"
}
test_cloud_login_and_button() { login_and_button; }
test_cloud_login_and_button_mmio_long() { login_and_button --transport mmio; }

test_generic_login_and_poweroff() {
	debian_image=$("$here/mkimage") || fail "mkimage"
	debian generic
	answer 'uname -r' '^6.*-amd64'
	vm_send $'poweroff\n'
	vm_wait 120 || fail "$vm_why"
	[ "$vm_status" = 0 ] || fail "status $vm_status after poweroff"
}
