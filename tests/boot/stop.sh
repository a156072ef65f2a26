# shellcheck shell=bash
# All the ways in which a VM ends, and the statuses that tell them apart.

# ends STATUS SCRIPT [ARGUMENT...]; with stock=KERNEL in a stock one.
ends() {
	local status=$1 script=$2; shift 2
	kernel "${stock:-tuned}"
	guest "$script"
	boots "$status" 120 -k "$kernel" -i "$initrd" "$@"
}

test_poweroff() { ends 0 'poweroff -f' --append quiet; told 'powered off'; }
test_reboot_keyboard() { ends 0 'reboot -f' --append 'quiet reboot=k'; }
test_reboot_pci() { ends 0 'reboot -f' --append 'quiet reboot=p'; }
test_reboot_acpi() { ends 0 'reboot -f' --append 'quiet reboot=a'; }
test_reboot_default() { ends 0 'reboot -f' --append quiet; }
test_reboot_stock() { stock=cloud ends 0 'reboot -f' --append quiet; }

# The kernel says that it restarts before it does it this way, so it is a reboot.
test_reboot_triple() { ends 0 'reboot -f' --append 'quiet reboot=t'; told 'triple fault'; }

test_panic() { ends 3 'echo c >/proc/sysrq-trigger; sleep 30' --append quiet; told '[Pp]anic'; }
# Debian's kernels have pvpanic as a module, and only their words tell.
test_panic_stock() { stock=cloud ends 3 'echo c >/proc/sysrq-trigger; sleep 30' --append quiet; told '[Pp]anic'; }
test_init_dies() { ends 3 'exit 1' --append quiet; told '[Pp]anic'; }

test_timeout() { ends 124 'echo up; while :; do :; done' --append quiet --timeout 15; says '^up$'; }
test_timeout_halted() { ends 124 'echo up; halt -f' --append quiet --timeout 15; says '^up$'; }

# The second boot knows itself by what the first has written.
test_on_reboot_restart() {
	truncate -s 1M "$vm_dir/data"
	tiny_disk "$vm_dir/root.img"
	encoded 'n=$(dd if=/dev/vdb bs=1 count=1 2>/dev/null | tr -d "\0"); echo "boot number ${n:-0}"
[ "${n:-0}" = 2 ] && poweroff -f
printf "$((${n:-0} + 1))" | dd of=/dev/vdb conv=fsync 2>/dev/null; reboot -f'
	boots 0 120 -k "$kernel" -d "$vm_dir/root.img" -d "$vm_dir/data" --on-reboot restart \
		--append "quiet $run"
	says '^boot number 0$'
	says '^boot number 1$'
	says '^boot number 2$'
}

# A guest with nobody who heeds the button: the second signal ends it at once.
test_second_sigterm() {
	kernel tuned
	guest 'echo up; while :; do sleep 1; done'
	vm_start -k "$kernel" -i "$initrd" --append quiet --stop-timeout 60
	vm_expect '^up' 120 || fail "$vm_why"
	vm_signal TERM
	sleep 1
	vm_signal TERM
	vm_wait 15 || fail "$vm_why"
	[ "$vm_status" = 143 ] || fail "status $vm_status, not 143"
}

test_stop_timeout() {
	kernel tuned
	guest 'echo up; while :; do sleep 1; done'
	vm_start -k "$kernel" -i "$initrd" --append quiet --stop-timeout 2
	vm_expect '^up' 120 || fail "$vm_why"
	vm_signal TERM
	vm_wait 15 || fail "$vm_why"
	[ "$vm_status" = 143 ] || fail "status $vm_status, not 143"
}
