# shellcheck shell=bash
# Networks: each test runs minivmm in a network namespace of its own, where nothing
# leads outside: what the guest reaches are servers there.

# net_disk FILE SCRIPT [PROGRAM]...: a disk whose root is the busybox guest with these
# programs of this machine and their libraries; its init runs SCRIPT. There, `again
# COMMAND...` repeats it until it succeeds, as a server may start later than its client.
net_disk() {
	local file=$1 tree=$vm_dir/tree program lib; shift
	rm -rf "$tree"
	tiny_tree "$tree"
	mkdir -p "$tree/etc" "$tree/www/cgi-bin" "$tree/root"
	cat >"$tree/test.sh" <<-'AGAIN'
		again() { n=0; until "$@"; do [ $n -lt 200 ] || return 1; sleep 1; n=$((n + 1)); done; }
	AGAIN
	printf '%s\n' "$1" >>"$tree/test.sh"; shift
	cat >"$tree/lease" <<'LEASE'
#!/bin/sh
[ "$1" = bound ] || exit 0
ip addr add "$ip/$mask" dev "$interface"
ip route add default via "$router"
for d in $dns; do echo "nameserver $d"; done >/tmp/resolv.conf
echo "leased $ip from $router, dns $dns"
LEASE
	chmod 755 "$tree/lease"
	ln -s /tmp/resolv.conf "$tree/etc/resolv.conf"
	echo 'root:x:0:0:root:/root:/bin/sh' >"$tree/etc/passwd" # check-words: ok
	echo 'root:x:0:' >"$tree/etc/group"
	for program; do
		program=$(PATH=$PATH:/usr/sbin command -v "$program") || skip "$program is not installed"
		cp "$program" "$tree/bin/"
		ldd "$program" | grep -oE '/[^ ]+' | while read -r lib; do
			mkdir -p "$tree$(dirname "$lib")"
			cp -L "$lib" "$tree$lib"
		done
	done
	"$here/mkimage" --size 96M --output "$file" "$tree" >/dev/null 2>"$vm_dir/mkimage.log" ||
		fail "mkimage: $(cat "$vm_dir/mkimage.log")"
}

# in_namespace SETUP: from here on minivmm runs in a network and mount namespace where
# SETUP was run first. There, `with COMMAND...` runs something beside minivmm that ends
# when it does; $vm_dir and $minivmm are set, and $$ is minivmm's pid.
in_namespace() {
	cat >"$vm_dir/inside" <<-INSIDE
		#!/bin/bash
		[ "\$1" = inside ] || exec unshare -n -m "\$0" inside "\$@"
		shift
		export PATH=\$PATH:/usr/sbin:/sbin
		vm_dir=$vm_dir minivmm=$vm_binary
		with() { setpriv --pdeathsig KILL "\$@" </dev/null >>\$vm_dir/with.log 2>&1 & }
		# until_says TEXT: the guest says it.
		until_says() { until grep -qa "^\$1" \$vm_dir/out; do sleep 0.2; done; }
		ip link set lo up
		$1
		exec "\$minivmm" "\$@"
	INSIDE
	chmod 755 "$vm_dir/inside"
	vm_binary=$vm_dir/inside
}

# passt_of PID: a shell command that prints the pid of that process' passt. From stat,
# as not every kernel has a list of a process' children.
passt_of() { echo 'sed -n "s/^\([0-9]*\) (passt[^)]*) [^Z] '"$1"' .*/\1/p" /proc/[0-9]*/stat 2>/dev/null'; }

# What passt wants of its host: an interface with an address and a default route.
uplink='ip tuntap add up0 mode tap
ip addr add 10.9.0.2/24 dev up0
ip link set up0 up
ip route add default via 10.9.0.1'

dhcp='ip link set lo up; ip link set eth0 up; udhcpc -i eth0 -s /lease -n -q -t 20'

# A lease, a name, 4 MiB down and up. Up goes with its length in front, as by HTTP: a
# sender that closes its half to tell the end is never told the other end by Debian 12's
# passt, which says the answer again and again instead. It is text, as busybox's wget
# sends a file up to its first NUL.
user_network() { # user_network [SETUP]
	local sum
	mkdir -p "$vm_dir/files/cgi-bin"
	head -c 3145728 /dev/urandom | base64 >"$vm_dir/files/down"
	sum=$(md5sum <"$vm_dir/files/down")
	printf '#!/bin/sh\necho; head -c "$CONTENT_LENGTH" | md5sum\n' >"$vm_dir/files/cgi-bin/up"
	chmod 755 "$vm_dir/files/cgi-bin/up"
	net_disk "$vm_dir/root.img" "$dhcp
		named() { nslookup server.test >/tmp/name; grep -q '^Name' /tmp/name; }
		again named; grep -A1 '^Name' /tmp/name | tr '\n' ' '; echo
		again wget -q -O /tmp/down http://10.9.0.1:8000/down; echo \"down \$(md5sum </tmp/down)\"
		echo \"up \$(wget -q -O - --post-file=/tmp/down http://10.9.0.1:8000/cgi-bin/up)\""
	in_namespace "$uplink
		echo nameserver 127.0.0.1 >$vm_dir/resolv
		mount --bind $vm_dir/resolv /etc/resolv.conf
		with dnsmasq -k --no-resolv --no-hosts --user=root --pid-file= \
			--listen-address=127.0.0.1 --bind-interfaces --address=/server.test/192.0.2.77
		with busybox httpd -f -p 8000 -h $vm_dir/files
		${1:-}"
	boots 0 500 -k "$kernel" -d "$vm_dir/root.img" -n user --append quiet
	says '^leased 10.9.0.2 from 10.9.0.1, dns 10.9.0.1'
	says '^Name:.*server.test.*192.0.2.77'
	says "^down $sum"
	says "^up $sum"
}
test_user_network() { user_network; }

# All the same without root on the host. What is where only root gets to is mounted elsewhere.
# shellcheck disable=SC2016
test_user_network_without_root() {
	user_network 'kernels='"${kernel%/*}"'
		mount -t tmpfs -o mode=755 none /media && mkdir /media/vm /media/kernel || exit 9
		mount --bind "$vm_dir" /media/vm; mount --bind "$kernels" /media/kernel
		set -- "${@/#$vm_dir//media/vm}"; set -- "${@/#$kernels//media/kernel}"
		chmod 755 "$vm_dir"; chmod 666 "$vm_dir/root.img" /dev/kvm
		exec setpriv --reuid 4321 --regid 50 --clear-groups "$minivmm" "$@"'
}

# Of the host's port to a server in the guest, which may answer later than passt listens.
# The answer is there before the guest is told that it may end.
test_forwarded_port() {
	net_disk "$vm_dir/root.img" "$dhcp
		mkdir /tmp/w /tmp/w/cgi-bin
		printf '#!/bin/sh\necho; echo served by the guest\n' >/tmp/w/cgi-bin/it
		printf '#!/bin/sh\necho; touch /tmp/seen\n' >/tmp/w/cgi-bin/end
		chmod 755 /tmp/w/cgi-bin/*
		httpd -p 80 -h /tmp/w
		again [ -e /tmp/seen ]"
	in_namespace "$uplink
		with sh -c 'get() { until curl -sf -m 20 http://127.0.0.1:8080/cgi-bin/\$1; do sleep 1; done; }
			get it >$vm_dir/got; get end'"
	boots 0 500 -k "$kernel" -d "$vm_dir/root.img" -n user,forward=8080:80 --append quiet
	[ "$(cat "$vm_dir/got")" = "served by the guest" ] || fail "through the port came: $(cat "$vm_dir/got")"
}

wait_for_carrier_loss='echo "carrier $(cat /sys/class/net/eth0/carrier)"; echo ready
again grep -q 0 /sys/class/net/eth0/carrier
echo "carrier $(cat /sys/class/net/eth0/carrier)"'

# passt dies: the link goes down, a line says so, the guest lives.
test_passt_killed() {
	net_disk "$vm_dir/root.img" "$dhcp; $wait_for_carrier_loss; echo alive"
	printf '%s\n' 'until grep -qa ^ready "$2"; do sleep 0.2; done
		until passt=$('"$(passt_of '$1')"'); [ -n "$passt" ]; do sleep 0.2; done
		kill -KILL "$passt"' >"$vm_dir/kill_passt"
	in_namespace "$uplink
		with bash $vm_dir/kill_passt \$\$ $vm_dir/out"
	boots 0 300 -k "$kernel" -d "$vm_dir/root.img" -n user --append quiet
	says '^carrier 1'
	says '^carrier 0'
	says '^alive'
	told 'net0: passt was killed \(Killed\); the guest.s link is down'
}

test_tap_deleted() {
	net_disk "$vm_dir/root.img" "ip link set eth0 up; $wait_for_carrier_loss; echo alive"
	in_namespace "ip tuntap add t0 mode tap; ip link set t0 up
		with bash -c 'until grep -qa ^ready $vm_dir/out; do sleep 0.2; done; ip link delete t0'"
	boots 0 300 -k "$kernel" -d "$vm_dir/root.img" -n tap=t0 --append quiet
	says '^carrier 1'
	says '^carrier 0'
	says '^alive'
	told 'net0: the tap t0 is gone; the guest.s link is down'
}

# The cable is pulled and plugged in again, from outside.
test_link_by_ctl() {
	local sock minivmm=$vm_binary
	sock=$(there mktemp -u /run/minivmm-ctl.XXXXXX)
	net_disk "$vm_dir/root.img" 'carrier() { until [ "$(cat /sys/class/net/eth0/carrier 2>/dev/null)" = "$1" ]; do sleep 0.2; done; }
		ip link set eth0 up; ip addr add 10.8.0.2/24 dev eth0; again ping -c 1 -W 5 10.8.0.1
		echo plugged; carrier 0; ping -c 1 -W 2 10.8.0.1 || echo pulled; carrier 1
		again ping -c 1 -W 5 10.8.0.1 && echo "plugged again"'
	in_namespace 'ip tuntap add t0 mode tap; ip addr add 10.8.0.1/24 dev t0; ip link set t0 up'
	vm_start -k "$kernel" -d "$vm_dir/root.img" -n tap=t0,id=lan --control "$sock" --append quiet
	vm_expect '^plugged' 300 || fail "$vm_why"
	there "$minivmm" ctl "$sock" net.link net=lan up=off || fail "ctl: status $?"
	vm_expect '^pulled' 100 || fail "$vm_why"
	there "$minivmm" ctl "$sock" status >"$vm_dir/status"
	grep -q '^nets.lan.link  *down$' "$vm_dir/status" || fail "status: $(cat "$vm_dir/status")"
	there "$minivmm" ctl "$sock" net.link net=lan up=on || fail "ctl: status $?"
	vm_wait 100 || fail "$vm_why"
	[ "$vm_status" = 0 ] || fail "status $vm_status"
	says '^plugged again'
}

# In the sandbox, where no passt can be started and no tap be opened a second time.
test_networks_of_a_guest_that_is_reset() {
	local sock sum minivmm=$vm_binary
	sock=$(there mktemp -u /run/minivmm-ctl.XXXXXX)
	mkdir "$vm_dir/files"
	head -c 65536 /dev/urandom | base64 >"$vm_dir/files/down"
	sum=$(md5sum <"$vm_dir/files/down")
	net_disk "$vm_dir/root.img" "$dhcp; ip link set eth1 up; ip addr add 10.8.0.2/24 dev eth1
		again wget -q -O /tmp/down http://10.9.0.1:8000/down; again ping -c 1 -W 5 10.8.0.1
		echo \"works \$(md5sum </tmp/down)\"; sleep 1000"
	in_namespace "$uplink
		ip tuntap add t0 mode tap; ip addr add 10.8.0.1/24 dev t0; ip link set t0 up
		with busybox httpd -f -p 8000 -h $vm_dir/files"
	vm_start -k "$kernel" -d "$vm_dir/root.img" -n user -n tap=t0 --sandbox=on --control "$sock" --append quiet
	for _ in 1 2; do
		vm_expect "^works $sum" 300 || fail "$vm_why"
		there "$minivmm" ctl "$sock" reset || fail "ctl: status $?"
	done
	vm_expect "^works $sum" 300 || fail "$vm_why"
	there "$minivmm" ctl "$sock" stop || fail "ctl: status $?"
	vm_wait 60 || fail "$vm_why"
	[ "$vm_status" = 0 ] || fail "status $vm_status"
}

# minivmm is killed: passt goes with it.
test_passt_ends_with_minivmm() {
	net_disk "$vm_dir/root.img" 'echo ready; sleep 1000'
	in_namespace "$uplink"
	vm_start -k "$kernel" -d "$vm_dir/root.img" -n user --append quiet
	vm_expect '^ready' 300 || fail "$vm_why"
	"${vm_on[@]}" sh -c "$(passt_of "$(cat "$vm_dir/pid")")" >"$vm_dir/passt" || true
	[ -s "$vm_dir/passt" ] || fail "there is no passt"
	vm_signal KILL
	vm_wait 60 || fail "$vm_why"
	# shellcheck disable=SC2016
	"${vm_on[@]}" sh -c 'n=0; while [ -d "/proc/$1" ] && [ $n -lt 300 ]; do sleep 0.1; n=$((n + 1)); done
		[ ! -d "/proc/$1" ]' - "$(cat "$vm_dir/passt")" || fail "passt is still there"
}

test_ping_and_iperf3_over_tap() {
	net_disk "$vm_dir/root.img" 'ip link set lo up; ip link set eth0 up; ip addr add 10.8.0.2/24 dev eth0
		ping -c 3 -W 10 10.8.0.1
		again iperf3 -c 10.8.0.1 -n 16M && echo "iperf up done"
		again iperf3 -c 10.8.0.1 -n 16M -R && echo "iperf down done"' iperf3
	in_namespace 'ip tuntap add t0 mode tap; ip addr add 10.8.0.1/24 dev t0; ip link set t0 up
		with iperf3 -s'
	boots 0 500 -k "$kernel" -d "$vm_dir/root.img" -n tap=t0,mac=52:54:00:aa:bb:cc -vv --append quiet
	says ' 0% packet loss'
	says '^iperf up done'
	says '^iperf down done'
	# With one processor the kernel's way is the longer one.
	[ "$(there nproc)" -gt 1 ] || ! grep -q "kernel's way" "$vm_dir/err" || fail "the kernel has the frames"
}

# By vhost-net, twice with a new driver in between, and while the interrupts move from one
# processor to the other and back, which masks their vectors.
vhost_work='net() { ip link set eth0 up; ip addr add 10.8.0.2/24 dev eth0; again ping -c 1 -W 5 10.8.0.1; }
net; ping -c 3 -W 10 10.8.0.1
(while :; do for m in 1 2; do for i in $(sed -n "/virtio/s/:.*//p" /proc/interrupts); do
	echo $m >/proc/irq/$i/smp_affinity; done; done; sleep 0.05; done) 2>/dev/null & mover=$!
again iperf3 -c 10.8.0.1 -n 16M && echo "iperf up done"
again iperf3 -c 10.8.0.1 -n 16M -R && echo "iperf down done"
kill $mover
device=$(basename $(readlink -f /sys/class/net/eth0/device))
for i in 1 2 3; do for to in unbind bind; do echo $device >/sys/bus/virtio/drivers/virtio_net/$to; done; done
net; again iperf3 -c 10.8.0.1 -n 4M -R && echo "a new driver works, too"'
vhost_namespace='[ -c /dev/vhost-net ] || exit 77
ip tuntap add t0 mode tap; ip addr add 10.8.0.1/24 dev t0; ip link set t0 up
with iperf3 -s'

vhost_boots() { # vhost_boots NETWORK OPTION...
	local network=$1; shift
	net_disk "$vm_dir/root.img" "$vhost_work" iperf3
	in_namespace "$vhost_namespace"
	vm_start -k "$kernel" -d "$vm_dir/root.img" -n "$network" -c 2 -vv --append quiet "$@"
	vm_wait 500 || fail "$vm_why"
	[ "$vm_status" != 77 ] || skip "no /dev/vhost-net"
	[ "$vm_status" = 0 ] || fail "status $vm_status"
	says ' 0% packet loss'
	says '^iperf up done'
	says '^iperf down done'
	says '^a new driver works, too'
}

test_vhost_over_pci() {
	vhost_boots tap=t0,vhost=on
	told "net0: frames take the kernel's way"
}

test_vhost_over_mmio() {
	vhost_boots tap=t0,vhost=on --transport mmio
	told "net0: frames take the kernel's way"
}

test_vhost_off() {
	vhost_boots tap=t0,vhost=off
	! grep -q "kernel's way" "$vm_dir/err" || fail "the kernel has the frames"
}

# Two pairs of queues, and a driver that goes back to one.
several_queues() { # several_queues VHOST OPTION...
	local vhost=$1; shift
	net_disk "$vm_dir/root.img" 'net() { ip link set eth0 up; ip addr add 10.8.0.2/24 dev eth0; again ping -c 1 -W 5 10.8.0.1; }
		echo "queues $(ls -d /sys/class/net/eth0/queues/rx-* | wc -l)"
		net; again iperf3 -c 10.8.0.1 -P 4 -n 4M && echo "iperf up done"
		again iperf3 -c 10.8.0.1 -P 4 -n 4M -R && echo "iperf down done"
		device=$(basename $(readlink -f /sys/class/net/eth0/device))
		echo 0 >/sys/devices/system/cpu/cpu1/online
		for to in unbind bind; do echo $device >/sys/bus/virtio/drivers/virtio_net/$to; done
		net; again iperf3 -c 10.8.0.1 -n 1M -R && echo "one pair works, too"' iperf3
	in_namespace 'ip tuntap add t0 mode tap multi_queue; ip addr add 10.8.0.1/24 dev t0; ip link set t0 up
		with iperf3 -s'
	boots 0 500 -k "$kernel" -d "$vm_dir/root.img" -n "tap=t0,queues=2,vhost=$vhost" -c 2 -vv --append quiet "$@"
	says '^queues 2'
	says '^iperf up done'
	says '^iperf down done'
	says '^one pair works, too'
}

test_several_queues() { several_queues off; }
test_a_pair_for_each_of_8_cpus() {
	net_disk "$vm_dir/root.img" 'echo "queues $(ls -d /sys/class/net/eth0/queues/rx-* | wc -l)"
		ip link set eth0 up; ip addr add 10.8.0.2/24 dev eth0; again ping -c 1 -W 5 10.8.0.1
		again iperf3 -c 10.8.0.1 -P 8 -n 2M && echo "iperf up done"
		again iperf3 -c 10.8.0.1 -P 8 -n 2M -R && echo "iperf down done"' iperf3
	in_namespace 'ip tuntap add t0 mode tap multi_queue; ip addr add 10.8.0.1/24 dev t0; ip link set t0 up
		with iperf3 -s'
	boots 0 500 -k "$kernel" -d "$vm_dir/root.img" -n "tap=t0,queues=8" -c 8 --append quiet
	says '^queues 8'
	says '^iperf up done'
	says '^iperf down done'
}
test_several_queues_over_mmio() { several_queues auto --transport mmio; }
test_several_queues_by_vhost() {
	there test -c /dev/vhost-net || skip "no /dev/vhost-net"
	several_queues on
	[ "$(grep -c "kernel's way" "$vm_dir/err")" -ge 2 ] || fail "not both pairs take the kernel's way"
}

# Where it is no vhost-net, frames go the other way; but not if it has to be.
test_vhost_is_not_there() {
	net_disk "$vm_dir/root.img" 'ip link set eth0 up; ip addr add 10.8.0.2/24 dev eth0; ping -c 3 -W 10 10.8.0.1'
	in_namespace '[ -e /dev/vhost-net ] || exit 77
		mount --bind /dev/null /dev/vhost-net
		ip tuntap add t0 mode tap; ip addr add 10.8.0.1/24 dev t0; ip link set t0 up'
	vm_start -k "$kernel" -d "$vm_dir/root.img" -n tap=t0,vhost=on --append quiet
	vm_wait 100 || fail "$vm_why"
	[ "$vm_status" != 77 ] || skip "no /dev/vhost-net"
	[ "$vm_status" = 2 ] || fail "status $vm_status, not 2"
	told '--net tap=t0: vhost=on: /dev/vhost-net: '
	boots 0 300 -k "$kernel" -d "$vm_dir/root.img" -n tap=t0 -vv --append quiet
	says ' 0% packet loss'
	told 'net0: frames take the way through this process'
}

# A network beside a console that is on virtio, and no PCI.
test_tap_and_hvc_over_mmio() {
	net_disk "$vm_dir/root.img" 'ip link set lo up; ip link set eth0 up; ip addr add 10.8.0.2/24 dev eth0
		echo "pci $(ls /sys/bus/pci/devices 2>/dev/null | wc -l)"
		for d in /sys/bus/virtio/devices/*; do
			echo "virtio type $(cat $d/device) on $(basename $(readlink -f $d/..))"; done
		ping -c 3 -W 10 10.8.0.1; echo through hvc0 >/dev/hvc0'
	in_namespace 'ip tuntap add t0 mode tap; ip addr add 10.8.0.1/24 dev t0; ip link set t0 up'
	boots 0 300 --transport mmio -k "$kernel" -d "$vm_dir/root.img" -n tap=t0 --hvc "file=$vm_dir/hvc" \
		--append quiet
	says '^pci 0$'
	says '^virtio type 0x0001 on LNRO0005:'
	says '^virtio type 0x0003 on LNRO0005:'
	says ' 0% packet loss'
	grep -qa '^through hvc0' "$vm_dir/hvc" || fail "hvc0 got: $(cat "$vm_dir/hvc")"
}

# Two guests on a bridge: nginx in one, curl in the other.
test_two_guests_over_a_bridge() {
	net_disk "$vm_dir/server.img" 'ip link set lo up; ip link set eth0 up; ip addr add 10.7.0.1/24 dev eth0
		mount -t tmpfs none /tmp; mkdir /tmp/w; echo "from nginx in the other guest" >/tmp/w/page
		printf "user root; pid /tmp/pid; error_log /tmp/e; events {}
			http { access_log off; client_body_temp_path /tmp/b; proxy_temp_path /tmp/p; fastcgi_temp_path /tmp/f;
			uwsgi_temp_path /tmp/u; scgi_temp_path /tmp/s; server { listen 80; root /tmp/w; } }" >/tmp/conf
		nginx -e /tmp/e -c /tmp/conf; cat /tmp/e; echo serving; sleep 1000' nginx
	net_disk "$vm_dir/root.img" 'ip link set lo up; ip link set eth0 up; ip addr add 10.7.0.2/24 dev eth0
		again curl -sf -m 20 -o /tmp/page http://10.7.0.1/page
		cat /tmp/page; ip addr show eth0 | grep ether; ping -c 2 -W 10 10.7.0.1' curl
	in_namespace "ip link add br0 type bridge; ip link set br0 up
		for t in t1 t2; do ip tuntap add \$t mode tap; ip link set \$t master br0; ip link set \$t up; done
		with $vm_binary -k $kernel -d $vm_dir/server.img -n tap=t1 --append quiet --serial file=$vm_dir/server.out"
	boots 0 500 -k "$kernel" -d "$vm_dir/root.img" -n tap=t2 --append quiet
	says '^from nginx in the other guest'
	says ' 0% packet loss'
}

# Several networks, and MACs that stay the same from one run to the next.
test_several_and_stable() {
	local first
	net_disk "$vm_dir/root.img" 'for i in eth0 eth1; do echo "$i $(cat /sys/class/net/$i/address)"; done'
	in_namespace 'for t in t1 t2; do ip tuntap add $t mode tap; ip link set $t up; done'
	boots 0 300 -k "$kernel" -d "$vm_dir/root.img" -n tap=t1 -n tap=t2 --append quiet
	first=$(console | grep -a '^eth[01] ..:')
	[ "$(wc -l <<<"$first")" = 2 ] || fail "not two networks: $first"
	[ "$(cut -d' ' -f2 <<<"$first" | sort -u | wc -l)" = 2 ] || fail "twice the same address: $first"
	boots 0 300 -k "$kernel" -d "$vm_dir/root.img" -n tap=t1 -n tap=t2 --append quiet
	[ "$(console | grep -a '^eth[01] ..:')" = "$first" ] || fail "other addresses the second time"
}
