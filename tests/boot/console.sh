# shellcheck shell=bash
# Consoles and buttons as Linux has them: hvc0, SysRq, NMI, pvpanic, a second port.

# on_tty LIMIT STEP... -- ARGUMENT...: minivmm on a terminal of its own, where it runs (the
# steps are those of tests/cli/pty.c); $ended is how it ended, the console is in out.
on_tty() {
	local steps=(limit="$1") word; shift
	while [ "$1" != -- ]; do steps+=("$1"); shift; done
	shift
	: >"$vm_dir/err"
	"${vm_on[@]}" "$(dirname "$vm_binary")/tests/cli/pty" -o "$vm_dir/out" -r "$vm_dir/ended" \
		"${steps[@]}" -- "$vm_binary" --log-file "$vm_dir/err" "$@" 2>"$vm_dir/pty.err" </dev/null ||
		fail "$(cat "$vm_dir/pty.err")"
	read -r word ended <"$vm_dir/ended"
	ended="$word $ended"
}
ends_with() { [ "$ended" = "$1" ] || fail "it ended with $ended, not $1"; }

# The module is packed with those for the root; without the device this guest would hang.
test_pvpanic() {
	kernel cloud
	tiny_disk "$vm_dir/root.img"
	encoded 'ls -d /sys/bus/platform/drivers/pvpanic-mmio/QEMU0001* && echo c >/proc/sysrq-trigger'
	boots 3 200 -k "$kernel" -d "$vm_dir/root.img" --append "quiet panic=0 $run"
	says '/sys/bus/platform/drivers/pvpanic-mmio/QEMU0001:00'
	told 'panicked: sysrq triggered crash'
}

test_hvc_login_and_resize() {
	kernel cloud
	tiny_disk "$vm_dir/root.img"
	encoded 'until stty size >/dev/null 2>&1; do sleep 1; done
echo "size $(stty size) on $(readlink /proc/self/fd/0)"; cat /sys/class/tty/console/active
read line; while [ "$(stty size)" = "40 100" ]; do sleep 1; done
echo "got $line, size $(stty size)"'
	on_tty 120 size=100x40 'expect=size 40 100 on' expect=hvc0 size=90x30 'send=a word\r' \
		'expect=got a word, size 30 90' -- \
		-k "$kernel" -d "$vm_dir/root.img" --hvc tty --append "quiet $run"
	ends_with 'status 0'
}

test_sysrq_on_the_serial_port() {
	kernel tuned
	guest 'echo ready; while :; do sleep 1; done'
	on_tty 200 expect=ready 'send=\x01sh' 'expect=sysrq: HELP' 'send=\x01ss' 'expect=sysrq: Emergency Sync' \
		'send=\x01b' 'send=b' -- -k "$kernel" -i "$initrd" --append quiet
	ends_with 'status 0'
	told 'rebooted'
}

test_sysrq_on_hvc() {
	kernel tuned
	tiny_disk "$vm_dir/root.img"
	encoded 'echo ready; while :; do sleep 1; done'
	on_tty 300 expect=ready 'send=\x01sh' 'expect=sysrq: HELP' 'send=\x01sb' -- \
		-k "$kernel" -d "$vm_dir/root.img" --hvc tty --append "$run"
	ends_with 'status 0'
}

test_panic_on_hvc() {
	kernel tuned
	tiny_disk "$vm_dir/root.img"
	encoded 'rmmod pvpanic_mmio; echo c >/proc/sysrq-trigger'
	boots 3 300 -k "$kernel" -d "$vm_dir/root.img" --hvc tty --append "quiet $run"
	told 'panicked: sysrq triggered crash'
}

test_nmi() {
	kernel cloud
	guest 'echo ready; while :; do sleep 1; done'
	on_tty 200 expect=ready 'send=\x01n' 'expect=NMI' -- \
		-k "$kernel" -i "$initrd" -c 2 --append 'quiet unknown_nmi_panic'
	ends_with 'status 3'
	told 'panicked: NMI'
}

test_power_button_key() {
	kernel tuned # the button's driver is a module of the others
	guest 'grep -l PNP0C0C /sys/bus/acpi/devices/*/hid; cat /proc/bus/input/devices; echo ready; while :; do sleep 1; done'
	on_tty 200 expect=ready 'send=\x01p' signal=TERM -- -k "$kernel" -i "$initrd" --stop-timeout 1 --append quiet
	ends_with 'status 143'
	says 'Power Button'
}

# ttyS1 by its own driver; the first port stays the console.
test_second_serial_port() {
	kernel tuned
	guest 'dmesg | grep ttyS; stty -F /dev/ttyS1 -opost; echo "from ttyS1" >/dev/ttyS1; echo sent'
	boots 0 200 -k "$kernel" -i "$initrd" --serial2 file="$vm_dir/second" --append quiet
	says 'ttyS0 at I/O 0x3f8 '
	says 'ttyS1 at I/O 0x2f8 '
	says '^sent'
	grep -qx 'from ttyS1' "$vm_dir/second" || fail "ttyS1 carried: $(head -c 80 "$vm_dir/second")"
}

# A shell over a client's connection that begins when the guest is up, and again later.
talks_over() { # talks_over KIND
	local dial script
	kernel tuned
	guest 'echo ready; while read line; do case $line in off) break ;; *) echo "got $line" ;; esac; done'
	dial=$(dirname "$vm_binary")/tests/cli/dial
	# shellcheck disable=SC2016
	script='kind=$1 dial=$2; shift 2; dir=$(mktemp -d); cd "$dir" || exit 9
[ "$kind" = pty ] || kind=socket=$dir/sock
"$@" --serial "$kind" 2>err </dev/null & pid=$!
for i in $(seq 300); do
	path=$(sed -n "s/^minivmm: --serial pty: //p" err); [ -n "$path" ] || path=$dir/sock
	[ -e "$path" ] && break; sleep 0.2
done
for word in one two; do
	mkfifo $word; "$dial" "$path" <$word >$word.out & client=$!; exec 8>$word
	for i in $(seq 600); do [ $word != one ] || ! grep -q ready $word.out || break; [ $word = one ] || break; sleep 0.2; done
	echo $word >&8
	for i in $(seq 300); do grep -q "got $word" $word.out && break; sleep 0.2; done
	[ $word != two ] || { echo off >&8; wait $pid; echo "status $?"; }
	exec 8>&-; kill $client 2>/dev/null; wait $client 2>/dev/null; cat $word.out
done
cat err; ls; cd /; rm -rf "$dir"'
	"${vm_on[@]}" timeout 300 bash -c "$script" bash "$1" "$dial" \
		"$vm_binary" -k "$kernel" -i "$initrd" --append quiet >"$vm_dir/out" 2>"$vm_dir/err" </dev/null
	says 'got one'
	says 'got two'
	says '^status 0'
	says_not '^sock$'
}
test_serial_pty() { talks_over pty; }
test_serial_socket() { talks_over socket; }
