# shellcheck shell=bash
# Running minivmm from a script, wherever KVM can run Linux: here, or in the test
# host. Sourced by scripts/demo and tests/boot, after lib.sh.
#
#   vm_where                 decides it, once; tells a person if it is the test host
#   vm_start ARGUMENT...     starts minivmm in the background, in the directory
#                            $vm_dir: console in out, messages in err
#   vm_expect REGEX SECONDS  waits until the console says it, after what was
#                            expected before
#   vm_send TEXT             types it
#   vm_signal NAME           sends a signal to minivmm itself
#   vm_wait SECONDS          waits for its end; its status into vm_status
#
# Every wait is bounded. All that was started ends with the script.

vm_binary=${MINIVMM_BINARY:-}
vm_on=()
vm_dir=
vm_job=

# ---- a guest that is nothing but busybox

# tiny_tree DIR: its files. Its init runs /test.sh, or what run=BASE64 on the
# kernel's command line says, and powers off.
tiny_tree() {
	local applet
	mkdir -p "$1"/{bin,sbin,proc,sys,dev,tmp}
	cp "$(command -v busybox)" "$1/bin/busybox"
	for applet in $("$1/bin/busybox" --list); do
		case $applet in busybox | init) continue ;; esac
		ln -sf busybox "$1/bin/$applet"
	done
	cat >"$1/init" <<'INIT'
#!/bin/sh
export PATH=/bin
[ -d /proc/1 ] || mount -t proc proc /proc
[ -d /sys/class ] || mount -t sysfs sysfs /sys
[ -c /dev/null ] || mount -t devtmpfs devtmpfs /dev
exec </dev/console >/dev/console 2>&1
# Lines of these two levels, as the tests look at them.
warnings() { dmesg -r | sed -n 's/^<\(3\|4\|2\|1\|0\)>/dmesg<\1> /p'; }
echo '@@ begin'
if [ -e /test.sh ]; then
	. /test.sh
else
	for word in $(cat /proc/cmdline); do
		case $word in run=*) eval "$(echo "${word#run=}" | base64 -d)" ;; esac
	done
fi
echo '@@ end'
sync
poweroff -f
INIT
	chmod 755 "$1/init"
	ln -sf ../init "$1/sbin/init"
}

# tiny_initrd: the path of it as an initramfs, into REPLY. Another cpio that holds
# /test.sh can be put behind it.
tiny_initrd() {
	local tree
	REPLY=$cache/tiny-$(cksum <"$here/vm.sh" | tr -d ' ').cpio
	[ ! -e "$REPLY" ] || return 0
	need busybox busybox-static; need cpio cpio
	mkdir -p "$cache"
	rm -f "$cache"/tiny-*.cpio
	tree=$(mktemp -d "$cache/.tiny.XXXXXX")
	tiny_tree "$tree/root"
	(cd "$tree/root" && find . | cpio -o -H newc --quiet -R 0:0) >"$tree/cpio"
	mv "$tree/cpio" "$REPLY"
	rm -rf "$tree"
}

# add_program TREE PROGRAM: this host's, with the libraries that it loads.
add_program() {
	local lib
	cp -L "$2" "$1/bin/"
	for lib in $(ldd "$2" | grep -o '/[^ ]*'); do
		mkdir -p "$1${lib%/*}"
		cp -L "$lib" "$1$lib"
	done
}

# fio_initrd: the same with fio, into REPLY.
fio_initrd() {
	local tree fio
	need fio fio; need busybox busybox-static; need cpio cpio
	fio=$(command -v fio)
	REPLY=$cache/fio-$(cat "$here/vm.sh" "$fio" | cksum | tr -d ' ').cpio
	[ ! -e "$REPLY" ] || return 0
	mkdir -p "$cache"
	rm -f "$cache"/fio-*.cpio
	tree=$(mktemp -d "$cache/.fio.XXXXXX")
	tiny_tree "$tree/root"
	add_program "$tree/root" "$fio"
	(cd "$tree/root" && find . | cpio -o -H newc --quiet -R 0:0) >"$tree/cpio"
	mv "$tree/cpio" "$REPLY"
	rm -rf "$tree"
}

# ---- where

# kvm_runs_linux: can this machine's KVM? Its flags and capabilities do not tell;
# a guest of minivmm's own does.
kvm_runs_linux() { timeout 30 "$vm_binary" doctor >/dev/null 2>&1; }

# vm_runs_here: is this machine's KVM the one to use? MINIVMM_ON=here or =testhost takes
# the decision away.
vm_runs_here() {
	case ${MINIVMM_ON:-} in
	here) ;;
	testhost) return 1 ;;
	'') kvm_runs_linux ;;
	*) usage_error "MINIVMM_ON=$MINIVMM_ON: here or testhost" ;;
	esac
}

vm_where() {
	[ -x "$vm_binary" ] || die "$vm_binary: not built; run scripts/build"
	vm_on=()
	if vm_runs_here; then return; fi
	if [ "${MINIVMM_ON:-}" = testhost ]; then
		:
	elif [ -e /dev/kvm ]; then
		note "this machine's KVM cannot run Linux; using the test host"
	else
		note "this machine has no KVM; using the test host"
	fi
	vm_on=("$here/testhost" exec)
	vm_testhost
}

# vm_testhost: starts the test host unless it is up; then it ends with the script.
vm_testhost() {
	if "$here/testhost" status >/dev/null; then return; fi
	on_exit "$here/testhost" stop
	"$here/testhost" start
}

# vm_scratch VAR: a directory for disks, the same one here and in the test host.
vm_scratch() { temp_dir "$1" "$cache/run"; }

# ---- one run

vm_start() {
	[ -n "$vm_dir" ] || vm_scratch vm_dir
	vm_at=0 vm_status=
	: >"$vm_dir/out"
	: >"$vm_dir/err"
	rm -f "$vm_dir/in" "$vm_dir/pid"
	mkfifo "$vm_dir/in"
	# Open both ways: no end of input until vm_wait, and no waiting here.
	exec {vm_in}<>"$vm_dir/in"
	# shellcheck disable=SC2016
	"${vm_on[@]}" sh -c 'echo $$ >"$0" && exec "$@"' "$vm_dir/pid" "$vm_binary" "$@" \
		<&"$vm_in" >"$vm_dir/out" 2>"$vm_dir/err" &
	vm_job=$!
	on_exit vm_kill "$vm_job"
}

vm_kill() { kill "$1" 2>/dev/null || true; }
vm_running() { [ -n "$vm_job" ] && kill -0 "$vm_job" 2>/dev/null; }

vm_expect() {
	local limit=$((SECONDS + $2)) hit ended=
	while :; do
		hit=$(tail -c +$((vm_at + 1)) "$vm_dir/out" | tr -d '\r' | grep -aobE -m1 -- "$1" | head -n1 || true)
		if [ -n "$hit" ]; then
			# Offsets are without the \r: close enough to go on from, never too far.
			vm_at=$((vm_at + ${hit%%:*} + 1))
			return 0
		fi
		if [ -n "$ended" ]; then
			vm_why="it ended without saying: $1"
			return 1
		fi
		if [ "$SECONDS" -ge "$limit" ]; then
			vm_why="it did not say within $2 s: $1"
			return 1
		fi
		if vm_running; then sleep 0.1; else ended=1; fi
	done
}

vm_send() { printf '%s' "$1" >&"$vm_in"; }

vm_signal() { "${vm_on[@]}" kill -s "$1" "$(cat "$vm_dir/pid")"; }

# vm_state: what each of its threads does, for whoever looks for why it does not end.
vm_state() {
	if [ ! -s "$vm_dir/pid" ]; then
		say "minivmm was not even started"
		return
	fi
	# shellcheck disable=SC2016
	timeout 30 "${vm_on[@]}" sh -c '
		echo "up $(cut -d" " -f1 /proc/uptime) s, begun at $(cut -d" " -f22 /proc/"$1"/stat) ticks, load $(cat /proc/loadavg)"
		for t in /proc/"$1"/task/*; do
		echo "$(cat "$t/comm"): state, ticks: $(cut -d" " -f3,14,15 "$t/stat"), $(cat "$t/wchan")"; done' - \
		"$(cat "$vm_dir/pid")" >&2 || true
}

vm_wait() {
	local limit=$((SECONDS + $1))
	while vm_running; do
		if [ "$SECONDS" -ge "$limit" ]; then
			vm_why="it still ran after $1 s"
			vm_state
			vm_kill "$vm_job"
			wait "$vm_job" 2>/dev/null || true
			vm_status=timeout
			exec {vm_in}>&-
			return 1
		fi
		sleep 0.05
	done
	vm_status=0
	wait "$vm_job" || vm_status=$?
	exec {vm_in}>&-
	vm_job=
}
