# shellcheck shell=bash
# `minivmm run -- COMMAND`: the guest's root is the tree of the host that runs minivmm,
# whose programs it runs.

# runs STATUS WORD...: a command in a guest. Its output is in $vm_dir/out and err.
runs() {
	local want=$1 got=0; shift
	timeout "$limit" "${vm_on[@]}" "$vm_binary" run --kernel "$kernel" "${options[@]}" -- "$@" \
		<"$input" >"$vm_dir/out" 2>"$vm_dir/err" || got=$?
	[ "$got" = "$want" ] || fail "$*: status $got, not $want"
}
options=() input=/dev/null limit=200
out_is() { [ "$(cat "$vm_dir/out")" = "$1" ] || fail "stdout is: $(head -c 300 "$vm_dir/out")"; }
err_is() { [ "$(cat "$vm_dir/err")" = "$1" ] || fail "stderr is: $(head -c 300 "$vm_dir/err")"; }

test_statuses() {
	runs 7 sh -c 'echo out; echo err >&2; exit 7'
	out_is out
	err_is err
	runs 137 sh -c 'kill -9 $$'
	runs 127 no-such-program
	err_is 'minivmm: no-such-program: No such file or directory'
	runs 126 /etc/passwd
	err_is 'minivmm: /etc/passwd: Permission denied'
}

test_words_are_exact() {
	runs 0 printf '<%s>' '' ' ' 'a b' "it's" '"' '$HOME' $'two\nlines' -- --kernel '*' ä
	out_is "<>< ><a b><it's><\"><\$HOME><two"$'\n'"lines><--><--kernel><*><ä>"
	err_is ''
}

# Without a kernel it is the host's own, and it says which; without a command, a shell. The test host
# has no /boot, but our stock kernel.
test_the_hosts_kernel_and_a_shell() {
	local release got=0
	kernel generic
	release=$(there uname -r)
	# shellcheck disable=SC2016
	there unshare -m sh -c 'own=/boot/vmlinuz-$(uname -r)
		[ -e "$own" ] || { mount -t tmpfs none /boot && cp "$1" "$own"; } || exit 9
		"$0" run -- uname -r && printf "echo it is \$((6 * 7))\nexit 5\n" | "$0" run' "$vm_binary" "$kernel" \
		>"$vm_dir/out" 2>"$vm_dir/err" </dev/null || got=$?
	[ "$got" = 5 ] || fail "status $got, not 5"
	out_is "$release"$'\nit is 42'
	told "--kernel /boot/vmlinuz-$release: this host's own"
}

# Byte for byte, three streams at once, and what is more than any buffer on the way.
test_streams() {
	head -c 2000000 /dev/urandom >"$vm_dir/in"
	input=$vm_dir/in
	# shellcheck disable=SC2016
	runs 0 sh -c 'tee /dev/stderr; echo "ends" >/dev/stdout'
	cmp -n 2000000 "$vm_dir/in" "$vm_dir/out" || fail "stdout differs"
	cmp "$vm_dir/in" "$vm_dir/err" || fail "stderr differs"
	[ "$(tail -c +2000001 "$vm_dir/out")" = ends ] || fail "stdout's end is missing"
	# Who does not read, and an input that ends at once.
	runs 0 true
	input=/dev/null
	runs 0 wc -c
	out_is 0
}

# More bytes than 31 bits can count, from a file into a pipe.
test_gigabytes_long() {
	local at minivmm=$vm_binary
	truncate -s 2304M "$vm_dir/in"
	for at in 0 1024 2047 2303; do head -c 1M /dev/urandom | dd of="$vm_dir/in" bs=1M seek="$at" conv=notrunc status=none; done
	cat >"$vm_dir/piped" <<-PIPED
		#!/bin/bash
		set -o pipefail
		$minivmm "\$@" <$vm_dir/in | cmp - $vm_dir/in
	PIPED
	chmod 755 "$vm_dir/piped"
	vm_binary=$vm_dir/piped limit=1500
	runs 0 cat
	rm "$vm_dir/in"
}

test_where_it_runs() {
	options=(--workdir /usr/bin --env 'A=1 2' --env B=)
	# shellcheck disable=SC2016
	runs 0 sh -c 'pwd; echo "$A,$B"; id -u; cat /proc/1/comm; [ -c /dev/pts/ptmx ] && [ -d /sys/fs/cgroup ] && [ -w /tmp ] && [ -w /dev/shm ]
grep -o " / overlay " /proc/mounts; cat /sys/class/net/lo/flags; hostname
for each in proc sysfs devtmpfs devpts cgroup2 bpf; do grep -q "^[^ ]* [^ ]* $each " /proc/mounts || echo "no $each"; done
(sleep 0.1 & exec true); sleep 0.5; echo "zombies: $(cat /proc/[0-9]*/stat | grep -c " Z ")"'
	out_is $'/usr/bin\n1 2,\n0\ninit\n / overlay \n0x9\nminivmm\nzombies: 0'
}

# The host's tree is as it was; with --rw it is not.
test_what_it_writes() {
	local dir
	dir=$(there mktemp -d /var/tmp/minivmm-command.XXXXXX)
	on_exit there rm -rf "$dir"
	there sh -c 'echo old >"$0/file"' "$dir"
	runs 0 sh -c "echo new >$dir/file; rm -rf $dir/none; mkdir $dir/sub; cat $dir/file"
	out_is new
	[ "$(there ls "$dir")$(there cat "$dir/file")" = fileold ] || fail "the host's tree was changed"
	there sh -c 'cd "$0" && mkdir bin proc sys dev run tmp && cp "$(command -v busybox)" bin/sh' "$dir"
	options=(--root "$dir" --rw)
	runs 0 /bin/sh -c 'echo new >/file; cat /file'
	out_is new
	[ "$(there cat "$dir/file")" = new ] || fail "--rw did not write"
}

# With -v the console tells of the kernel, too.
events_are() {
	local all
	all=$(jq -r .event "$vm_dir/ev" | tr '\n' ' ')
	[ "$all" = "$* " ] || fail "the events: $all, not $*; the last: $(tail -n 1 "$vm_dir/ev")"
}
test_events() {
	options=(--events "$vm_dir/ev" -v)
	runs 7 sh -c 'exit 7'
	events_are started first-instruction kernel-start init command-started command-ended stopped
	jq -s -e --arg release "$("${vm_on[@]}" "$vm_binary" run -k "$kernel" -- uname -r </dev/null)" \
		'(map(select(.event == "kernel-start"))[0].release == $release) and (.[-1] | .reason == "poweroff" and .status == 7
			and .command_status == 7 and (.timings | has("first_instruction_ns") and has("kernel_start_ns")
			and has("init_ns") and has("command_started_ns") and has("command_ended_ns") and (has("panic_ns") | not))) and ([.[].time_ns] | . == sort)' \
		"$vm_dir/ev" >/dev/null || fail "$(cat "$vm_dir/ev")"
	options=(--events "$vm_dir/ev")
	runs 125 sh -c 'echo c >/proc/sysrq-trigger'
	events_are started first-instruction command-started panic stopped
}

test_junit() {
	options=(--junit "$vm_dir/j.xml")
	runs 0 true
	grep -q 'tests="1" failures="0" errors="0"' "$vm_dir/j.xml" || fail "$(cat "$vm_dir/j.xml")"
	runs 7 sh -c 'exit 7'
	grep -q '<failure type="status" message="status 7">' "$vm_dir/j.xml" || fail "$(cat "$vm_dir/j.xml")"
	runs 124 sh -c 'exit 124'
	grep -q '<failure type="status" message="status 124">' "$vm_dir/j.xml" || fail "$(cat "$vm_dir/j.xml")"
	runs 125 busybox poweroff -f
	grep -q '<error type="minivmm" message="the guest powered off; the command has no status">' "$vm_dir/j.xml" ||
		fail "$(cat "$vm_dir/j.xml")"
}

# What was written before the kernel's end arrives, and the oops is on stderr.
test_panic() {
	runs 125 sh -c 'echo before; echo c >/proc/sysrq-trigger'
	out_is before
	told 'Kernel panic - not syncing: sysrq triggered crash'
	told '^minivmm: the guest panicked: sysrq triggered crash; the command has no status$'
}

test_time_runs_out() {
	local seconds=20
	[ "$kind" = tuned ] || seconds=80 # a stock kernel takes its time until the command begins
	options=(--timeout "$seconds")
	runs 124 sh -c 'echo begun; exec sleep 1000'
	out_is begun
	told '^minivmm: --timeout ran out'
	options=(--boot-timeout 1)
	runs 125 true
	told '^minivmm: --boot-timeout ran out before the command began'
	options=()
	runs 125 busybox poweroff -f
	told '^minivmm: the guest powered off; the command has no status'
}

# The reader goes away: the command gets SIGPIPE. Daemons hold up nobody.
test_ends() {
	# shellcheck disable=SC2016
	there timeout 100 sh -c '"$0" run --kernel "$1" -- sh -c "yes; echo status \$? >&2" </dev/null | head -n 1' \
		"$vm_binary" "$kernel" >"$vm_dir/out" 2>"$vm_dir/err"
	out_is y
	err_is 'status 141'
	runs 0 sh -c 'sleep 1000 & setsid sleep 1000 & echo left'
	out_is left
}

# The writable layer is the guest's memory: when it is full, that is the command's affair, and
# nobody else's.
test_full_layer() {
	options=(-m 128)
	# shellcheck disable=SC2016
	runs 1 sh -c 'dd if=/dev/zero of=/var/tmp/full bs=1M 2>/dev/null && exit 9
ls -l /var/tmp/full >&2; rm /var/tmp/full; echo after >/var/tmp/small && cat /var/tmp/small; exit 1'
	out_is after
	grep -q '/var/tmp/full$' "$vm_dir/err" || fail "stderr is: $(cat "$vm_dir/err")"
}

# SIGTERM and SIGINT are the command's.
signalled() { # NAME
	# shellcheck disable=SC2016
	vm_start run --kernel "$kernel" -- sh -c 'trap "echo got it; exit 5" '"$1"'; echo ready; while :; do sleep 0.1; done'
	vm_expect '^ready' 100 || fail "$vm_why"
	vm_signal "$1"
	vm_wait 60 || fail "$vm_why"
	[ "$vm_status" = 5 ] || fail "status $vm_status after SIG$1"
	says '^got it$'
}
test_signals() { signalled TERM; signalled INT; }

# A command that is deaf to Ctrl-C hears it, and two within a moment end the VM.
test_impatience() {
	vm_start run --kernel "$kernel" -- sh -c 'trap "echo heard" INT; echo ready; while :; do sleep 0.1; done'
	vm_expect '^ready' 100 || fail "$vm_why"
	vm_signal INT
	vm_expect '^heard' 60 || fail "$vm_why"
	sleep 1.5
	# A loaded machine may take its time between two, so there are more.
	"${vm_on[@]}" sh -c 'for i in 1 2 3 4 5 6 7 8; do kill -INT "$1" 2>/dev/null || break; sleep 0.3; done' - "$(cat "$vm_dir/pid")"
	vm_wait 60 || fail "$vm_why"
	[ "$vm_status" = 130 ] || fail "status $vm_status"
	told 'the guest was stopped by a signal; the command has no status'
}

# A terminal is one there, too: its size and its changes, what is typed, Ctrl-C, and stderr
# in a file when it is one here.
test_terminal() {
	# shellcheck disable=SC2016
	there sh -c 'exec "$@"' sh "$(dirname "$vm_binary")/tests/cli/pty" -o "$vm_dir/out" -r "$vm_dir/ended" \
		limit=150 size=100x40 'expect=size 40 100' 'send=a word\r' 'expect=got a word' size=90x30 'send=\r' \
		'expect=size 30 90' expect=/dev/pts/0 'send=\x03' 'expect=interrupted' -- \
		"$vm_binary" run -k "$kernel" -- sh -c 'trap "echo interrupted; exit 9" INT; echo "size $(stty size)"; read x
echo "got $x"; read x; echo "size $(stty size)"; tty; [ -t 2 ] && sleep 100' 2>"$vm_dir/pty.err" </dev/null ||
		fail "$(cat "$vm_dir/pty.err")"
	read -r word ended <"$vm_dir/ended"
	[ "$word $ended" = 'status 9' ] || fail "it ended with $word $ended"
	says '/dev/pts/0'
}

# Nothing of the root runs before the command, as the kernel's helper for modules would; for the
# command it is there.
test_no_modprobe_before_the_command() {
	local dir
	dir=$(there mktemp -d /var/tmp/minivmm-command.XXXXXX)
	on_exit there rm -rf "$dir"
	there sh -c 'cd "$0" && mkdir bin sbin proc sys dev run tmp && cp "$(command -v busybox)" bin/sh &&
		printf "#!/bin/sh\necho \$3 >>/asked\n" >sbin/modprobe && chmod 755 . sbin/modprobe' "$dir"
	options=(--root "$dir")
	runs 0 /bin/sh -c 'cat /asked 2>/dev/null; cat /proc/sys/kernel/modprobe; grep -c " bpf " /proc/mounts
		mount -t nosuch none /tmp 2>/dev/null; cat /asked'
	out_is $'/sbin/modprobe\n1\nfs-nosuch'
}

# Whose it is: numbers, groups and home as the root has them, no capabilities, and streams and
# a terminal that can be opened by their names.
test_user() {
	local dir
	dir=$(there mktemp -d /var/tmp/minivmm-command.XXXXXX)
	on_exit there rm -rf "$dir"
	there sh -c 'cd "$0" && chmod 755 . && mkdir bin proc sys dev run tmp etc && cp "$(command -v busybox)" bin/sh &&
		printf "root:x:0:0::/r:/bin/sh\nworker:x:1234:50::/place:/bin/ash\n" >etc/passwd &&
		printf "fifty:x:50:\nmore:x:60:you,worker\nlast:x:70:worker\n" >etc/group' "$dir"
	# shellcheck disable=SC2016
	local look='id -u; id -g; id -G; echo "$HOME,$USER,$LOGNAME,$SHELL"; grep -c "^Cap[IPEA].*:.0*$" /proc/self/status
echo by its name >/dev/stdout; read x </dev/stdin; echo "$x"; echo err >/dev/stderr; : >/proc/sys/kernel/hostname'
	echo typed >"$vm_dir/in"
	input=$vm_dir/in options=(--root "$dir" --user worker)
	runs 1 /bin/sh -c "$look"
	out_is $'1234\n50\n50 60 70\n/place,worker,worker,/bin/ash\n4\nby its name\ntyped'
	told '^err$'
	told 'hostname: Permission denied'
	input=/dev/null options=(--root "$dir" --user 1234:70 --env HOME=/mine)
	# shellcheck disable=SC2016
	runs 0 /bin/sh -c 'id -u; id -G; echo "$HOME"'
	out_is $'1234\n70\n/mine'
	options=(--root "$dir" --user 7:8)
	# shellcheck disable=SC2016
	runs 0 /bin/sh -c 'id -u; id -G; echo "$HOME,$USER"'
	out_is $'7\n8\n/,'
	options=(--root "$dir" --user nobody)
	runs 125 /bin/sh -c 'echo ran'
	out_is ''
	err_is "minivmm: --user nobody: there is no such user in the guest's /etc/passwd"
	options=(--root "$dir" --user 7)
	runs 125 /bin/sh -c 'echo ran'
	err_is "minivmm: --user 7: is not in the guest's /etc/passwd; give its group as well: UID:GID"
	options=(--root "$dir" --user worker:none)
	runs 125 /bin/sh -c 'echo ran'
	err_is "minivmm: --user worker:none: there is no such group in the guest's /etc/group"
}

# Who runs minivmm is the same there, and what is theirs, too.
test_user_self() {
	local dir
	dir=$(there mktemp -d /var/tmp/minivmm-command.XXXXXX)
	on_exit there rm -rf "$dir"
	there mkdir "$dir.kernel"
	on_exit there rmdir "$dir.kernel"
	# The kernel and its modules are where only root gets to, and so are mounted elsewhere for them.
	# shellcheck disable=SC2016
	there unshare -m sh -c 'mount --bind "${2%/boot/*}" "$0.kernel" || exit 9
		echo mine >"$0/file"; chmod 600 "$0/file"; chown -R 4321:50 "$0"; chmod 666 /dev/kvm
		cd "$0" && exec setpriv --reuid 4321 --regid 50 --groups 50,60 "$1" run --kernel "$0.kernel/boot/${2##*/}" --user self \
		--share "$0:$0,rw" -- sh -c "id -u; id -g; id -G; stat -c %u:%g file; cat file; echo more >>file; echo new >new; : >/etc/not"' \
		"$dir" "$vm_binary" "$kernel" >"$vm_dir/out" 2>"$vm_dir/err" </dev/null && fail "it wrote to /etc"
	out_is $'4321\n50\n50 60\n4321:50\nmine'
	told 'Permission denied'
	[ "$(there sh -c 'cat "$0"/*; stat -c %u:%g "$0"/new' "$dir")" = $'mine\nmore\nnew\n4321:50' ] || fail "what it left is not right"
}

test_user_on_a_terminal() {
	# shellcheck disable=SC2016
	there sh -c 'exec "$@"' sh "$(dirname "$vm_binary")/tests/cli/pty" -o "$vm_dir/out" -r "$vm_dir/ended" \
		limit=150 'expect=ready' 'send=a word\r' 'expect=got a word' -- \
		"$vm_binary" run -k "$kernel" --user nobody:5678 -- sh -c '{ id -u; id -G; stat -Lc %U /dev/stderr; echo ready; read x; echo "got $x"; } </dev/tty >/dev/stdout' \
		</dev/null || fail "$(cat "$vm_dir/err" 2>/dev/null)"
	read -r word ended <"$vm_dir/ended"
	[ "$word $ended" = 'status 0' ] || fail "it ended with $word $ended"
	says '^65534$'
	says '^5678$'
	says '^nobody$'
}

# passt's network is up before the command begins: an address, a way out, names, a port of the
# host's that leads in. What the host's resolv.conf says is not what the guest's does.
network() { # network OPTION...
	local sum
	mkdir -p "$vm_dir/files"
	head -c 300000 /dev/urandom >"$vm_dir/files/down"
	sum=$(md5sum <"$vm_dir/files/down")
	in_namespace "$uplink
		echo nameserver 127.0.0.1 >$vm_dir/resolv
		mount --bind $vm_dir/resolv /etc/resolv.conf
		with dnsmasq -k --no-resolv --no-hosts --user=root --pid-file= \
			--listen-address=127.0.0.1 --bind-interfaces --address=/server.test/10.9.0.1
		with busybox httpd -f -p 8000 -h $vm_dir/files
		with sh -c 'get() { until curl -sf -m 5 http://127.0.0.1:8080/cgi-bin/\$1; do sleep 1; done; }
			get it >$vm_dir/got; get end'"
	options=(-n user,forward=8080:80 "$@")
	# shellcheck disable=SC2016
	runs 0 sh -c 'ip -4 -o addr show eth0 | tr -s " " | cut -d" " -f4; ip route show default
cat /etc/resolv.conf; getent ahostsv4 server.test | head -n 1 | tr -s " "; curl -sf -m 60 http://server.test:8000/down | md5sum
mkdir -p /tmp/w/cgi-bin; printf "#!/bin/sh\necho; echo from the guest\n" >/tmp/w/cgi-bin/it
printf "#!/bin/sh\necho; touch /tmp/w/seen\n" >/tmp/w/cgi-bin/end; chmod 755 /tmp/w/cgi-bin/*; busybox httpd -p 80 -h /tmp/w
n=0; until [ -e /tmp/w/seen ]; do [ $n -lt 100 ] || exit 9; sleep 0.5; n=$((n + 1)); done'
	out_is "10.9.0.2/24
default via 10.9.0.1 dev eth0 
nameserver 10.9.0.1
10.9.0.1 STREAM server.test
$sum"
	err_is ''
	[ "$(cat "$vm_dir/got")" = "from the guest" ] || fail "through the port came: $(cat "$vm_dir/got")"
	[ "$(cat "$vm_dir/resolv")" = "nameserver 127.0.0.1" ] || fail "the host's resolv.conf was changed"
}
test_network() { network; }
test_network_cloud_long() { kernel cloud; network -m 512; }

# Several, of which one has no server: that costs five seconds and a line. The root's resolv.conf
# is a link to what is not there, as systemd has it, and stays one.
test_networks_on_taps() {
	local tree=$vm_dir/tree
	tiny_tree "$tree"
	mkdir "$tree/etc" "$tree/run"
	ln -s ../run/systemd/resolve/stub-resolv.conf "$tree/etc/resolv.conf"
	in_namespace "for t in t1 t2; do ip tuntap add \$t mode tap; ip link set \$t up; done
		ip addr add 10.8.0.1/24 dev t2
		with dnsmasq -k --no-resolv --no-hosts --user=root --pid-file= --interface=t2 --bind-dynamic \
			--dhcp-range=10.8.0.50,10.8.0.60 --dhcp-authoritative --dhcp-leasefile=$vm_dir/leases \
			--domain=lan.test --address=/server.test/192.0.2.77"
	options=(--root "$tree" --rw -n tap=t1 -n "tap=t2,id=lan,mac=52:54:00:aa:bb:cc")
	runs 0 /bin/sh -c 'ip -4 -o addr show eth1 | grep -o "inet 10.8.0.[56][0-9]/24"; cat /sys/class/net/eth*/operstate
ip route | grep ^default; cat /etc/resolv.conf; nslookup server.test | grep -o 192.0.2.77'
	grep -qE '^inet 10\.8\.0\.[56][0-9]/24$' "$vm_dir/out" || fail "stdout is: $(cat "$vm_dir/out")"
	[ "$(tail -n +2 "$vm_dir/out")" = "up
up
default via 10.8.0.1 dev eth1  metric 1 
nameserver 10.8.0.1
search lan.test
192.0.2.77" ] || fail "stdout is: $(cat "$vm_dir/out")"
	err_is 'minivmm: net0: no DHCP server has answered within 5 s; eth0 is up without an address'
	grep -q '52:54:00:aa:bb:cc' "$vm_dir/leases" || fail "leased was: $(cat "$vm_dir/leases")"
	[ "$(readlink "$tree/etc/resolv.conf")" = ../run/systemd/resolve/stub-resolv.conf ] || fail "the link is gone"
	[ -z "$(ls "$tree/run")" ] || fail "the root was written"
}

stock() {
	kernel "$1"
	options=(-m 512)
	# shellcheck disable=SC2016
	runs 3 sh -c 'uname -r; cat; [ -e /sys/kernel/tracing/events ] && [ -e /sys/kernel/debug/tracing ] && [ "$(stat -f -c %T /sys/fs/bpf)" = bpf_fs ] && echo traced; exit 3'
	has_release=$("$here/fetch-kernel" --release "$1")
	out_is "$has_release"$'\ntraced'
}
test_cloud() { stock cloud; }
test_generic() { stock generic; }

test_in_a_disk() {
	tiny_disk "$vm_dir/root.img"
	options=(-d "$vm_dir/root.img")
	runs 4 sh -c 'cat /proc/1/comm; echo kept >/kept; pwd; exit 4'
	out_is $'init\n/'
	[ "$(PATH=$PATH:/sbin:/usr/sbin debugfs -R 'cat /kept' "$vm_dir/root.img" 2>/dev/null)" = kept ] ||
		fail "what was written is not on the disk"
}

# The disk's own init is process 1. One that says nothing is waited for until it begins no more
# processes; then the guest ends as without it.
test_init() {
	tiny_tree "$vm_dir/tree"
	mkdir "$vm_dir/tree/etc"
	ln -sf ../bin/busybox "$vm_dir/tree/sbin/init"
	printf '::sysinit:/etc/rc\n::respawn:/bin/sleep 1000\n' >"$vm_dir/tree/etc/inittab"
	printf '#!/bin/sh\nfor i in 1 2 3 4 5 6 7 8 9 10; do /bin/sleep 0.5; done\necho up >/up\n' >"$vm_dir/tree/etc/rc"
	echo 'worker:x:1234:50::/place:' >"$vm_dir/tree/etc/passwd"
	chmod 755 "$vm_dir/tree/etc/rc"
	"$here/mkimage" --size 32M --output "$vm_dir/root.img" "$vm_dir/tree" >/dev/null 2>"$vm_dir/mkimage.log" ||
		fail "mkimage: $(cat "$vm_dir/mkimage.log")"
	echo typed >"$vm_dir/in"
	input=$vm_dir/in options=(-d "$vm_dir/root.img" --init)
	# shellcheck disable=SC2016
	runs 6 /bin/sh -c 'cat /proc/1/comm; cat /up; [ $$ != 1 ] && cat; echo kept >/kept; echo err >&2; exit 6'
	out_is $'init\nup\ntyped'
	err_is err
	[ "$(PATH=$PATH:/sbin:/usr/sbin debugfs -R 'cat /kept' "$vm_dir/root.img" 2>/dev/null)" = kept ] ||
		fail "what was written is not on the disk"
	input=/dev/null options+=(--user worker)
	runs 0 /bin/sh -c 'id -u'
	out_is 1234
	options=(-d "$vm_dir/root.img" --init --boot-timeout 3)
	runs 125 /bin/sh -c 'echo ran'
	out_is ''
	told '^minivmm: --boot-timeout ran out before the command began'
}

# Debian: systemd has brought all up, and unmounts all at the end.
test_init_debian_long() {
	local image
	image=$("$here/mkimage") || fail "mkimage"
	kernel cloud
	cp --reflink=auto --sparse=always "$image" "$vm_dir/root.img"
	options=(-m 512 -d "$vm_dir/root.img" --init --boot-timeout 500 --stop-timeout 90) limit=650
	# shellcheck disable=SC2016
	runs 7 sh -c 'cat /proc/1/comm; systemctl is-system-running; systemctl is-active multi-user.target dbus
tty; echo by its name >/dev/stdout; id -u; echo kept >/srv/kept; exit 7'
	out_is $'systemd\nrunning\nactive\nactive\nnot a tty\nby its name\n0'
	[ "$(PATH=$PATH:/sbin:/usr/sbin debugfs -R 'cat /srv/kept' "$vm_dir/root.img" 2>/dev/null)" = kept ] ||
		fail "what was written is not on the disk"
	if PATH=$PATH:/sbin:/usr/sbin dumpe2fs -h "$vm_dir/root.img" 2>/dev/null | grep -q needs_recovery; then
		fail "the file system was not unmounted"
	fi
}

# Each has its own status, and nothing is left of any.
test_8_at_once() {
	# shellcheck disable=SC2016
	there timeout 300 sh -c 'for i in 1 2 3 4 5 6 7 8; do
		("$0" run --kernel "$1" --transport mmio --append eight=$i -- sh -c "exit $i" </dev/null; echo "$i ends with $?") &
	done; wait; pgrep -f "eight=[1-8]" || echo "none is left"' "$vm_binary" "$kernel" >"$vm_dir/out" 2>"$vm_dir/err"
	[ "$(grep -cE '^([1-8]) ends with \1$' "$vm_dir/out")" = 8 ] || fail "$(tr '\n' ';' <"$vm_dir/out")"
	says '^none is left$'
	err_is ''
}

# Run after run: each has its own status, and leaves no process, socket or file. COUNT is part of
# what its processes are known by, as another row may run at the same time.
in_a_row() { # in_a_row COUNT
	mkdir "$vm_dir/temporary" "$vm_dir/row"
	# shellcheck disable=SC2016
	there timeout $(($1 * 60)) sh -c 'n=$1 TMPDIR=$2/temporary XDG_RUNTIME_DIR=$2/temporary; shift 2; export TMPDIR XDG_RUNTIME_DIR
i=1; while [ $i -le $n ]; do
	"$@" --append row$n=$i -- sh -c "echo out $i; echo err $i >&2; exit $i" </dev/null; echo "$i ends with $?"; i=$((i + 1))
done; pgrep -f "row$n=[0-9]" || echo "none is left"' row "$1" "$vm_dir" "$vm_binary" run --kernel "$kernel" --workdir "$vm_dir/row" \
		>"$vm_dir/out" 2>"$vm_dir/err"
	[ "$(grep -cE '^([0-9]+) ends with \1$' "$vm_dir/out")" = "$1" ] || fail "$(grep ends "$vm_dir/out" | tr '\n' ';')"
	[ "$(grep -c '^out ' "$vm_dir/out")" = "$1" ] && [ "$(grep -c '^err ' "$vm_dir/err")" = "$1" ] || fail "words are missing"
	says '^none is left$'
	[ -z "$(find "$vm_dir/temporary" "$vm_dir/row" -mindepth 1)" ] || fail "left: $(find "$vm_dir/temporary" "$vm_dir/row" -mindepth 1)"
}
test_5_in_a_row() { in_a_row 5; }
test_50_in_a_row_long() { in_a_row 50; }

# A project's own build and tests, this one's: from nothing, on the tree that is shared.
# inside OPTION... -- COMMAND...: in a clone of this tree.
clone=$root/build/inside
inside() {
	there timeout 7000 "$vm_binary" run --kernel "$kernel" -m 3G --workdir "$clone" "$@" </dev/null \
		>"$vm_dir/out" 2>"$vm_dir/err" || fail "$(grep -E '^(not ok|FAILED)' "$vm_dir/out")$(tail -n 5 "$vm_dir/out" "$vm_dir/err")"
}
test_own_build_long() {
	rm -rf "$clone"
	git clone -q "$root" "$clone"
	inside --share "$clone:$clone,rw" -- scripts/build dev
	says "^$clone/build/dev/minivmm$"
	"$clone/build/dev/minivmm" --version >"$vm_dir/out" || fail "what was built there does not run here"
}
# What they write is thrown away.
test_own_tests_long() {
	[ -x "$clone/build/dev/minivmm" ] || test_own_build_long
	there find "$clone" -type f -newer "$clone/build/dev/minivmm" >"$vm_dir/before"
	inside -- scripts/test --quick
	says '^[0-9]{2,} passed, 0 failed, '
	there find "$clone" -type f -newer "$clone/build/dev/minivmm" | cmp - "$vm_dir/before" || fail "the tree is not as it was"
}
