# shellcheck shell=bash
# What people have guests for in CI: a module of a kernel, tried in that kernel, and a BPF
# program on two. What README.md says of it is done here as it stands there.

# debian_source PACKAGE DIRECTORY: DIRECTORY of what a package of sources installs, as a copy
# in $vm_dir/src.
debian_source() {
	local deb=$cache/sources/$1
	if [ ! -e "$deb" ]; then
		mkdir -p "$deb.$$"
		(cd "$deb.$$" && apt-get -q -o Acquire::Retries=3 -o APT::Sandbox::User=root download "$1" >&2) ||
			fail "$1: cannot be fetched; run apt-get update"
		dpkg-deb -x "$deb.$$"/*.deb "$deb.$$/tree" && mv "$deb.$$" "$deb" || fail "$1: cannot be unpacked"
	fi
	cp -r "$deb"/tree/$2 "$vm_dir/src" || fail "$1 has no $2"
}

# A module that Debian has only as a source, which evaluates what the guest's ACPI tables have:
# \_S5 is how to power off (firmware/acpi_dsdt.c).
test_kernel_module() {
	debian_source acpi-call-dkms 'usr/src/acpi-call-*'
	make -s -C "$("$here/fetch-kernel" --headers)" M="$vm_dir/src" modules >"$vm_dir/make.log" 2>&1 ||
		fail "$(tail -n 3 "$vm_dir/make.log")"
	kernel cloud
	# shellcheck disable=SC2016
	boots 0 240 run -k "$kernel" --workdir "$vm_dir/src" -- sh -c 'PATH=$PATH:/sbin
insmod ./acpi_call.ko && grep -o "^acpi_call" /proc/modules && printf "\\_S5_" >/proc/acpi/call && tr -d "\0" </proc/acpi/call && echo
rmmod acpi_call && ! grep "^acpi_call" /proc/modules && echo gone'
	says '^acpi_call$'
	says '^\[0x5, 0x5, 0x0, 0x0\]$'
	says '^gone$'
}

# recipe github|gitlab JOB: what README.md has such a job do once minivmm is built, with this
# checkout in the place of /opt/minivmm.
recipe() {
	awk -v at="$1" -v job="$2:" '
	/^GitHub Actions/ { here = at == "github" }
	/^GitLab,/ { here = at == "gitlab" }
	/^```$/ { if (here) mine = 0 }
	!here { next }
	at == "github" && /^  [a-z]+:$/ { mine = $1 == job; runs = 0 }
	at == "github" && mine && /^      - / { if (/- run: \|$/) runs++; else if (runs == 2) runs = 3; next }
	at == "github" && mine && runs == 2 { sub(/^          /, ""); print }
	at == "gitlab" && /^[a-z]+:$/ { mine = $1 == job; script = 0 }
	at == "gitlab" && mine && /^  [a-z]+:/ { script = /^  script:$/; next }
	at == "gitlab" && mine && script { if (/^    - \|$/) next; sub(/^    - |^      /, ""); print }
	' "$root/README.md" | sed "s,/opt/minivmm,$root,g"
}

# follow JOB: in $vm_dir/project, where minivmm runs, with minivmm on the PATH.
follow() {
	recipe github "$1" >"$vm_dir/steps"
	recipe gitlab "$1" | cmp - "$vm_dir/steps" || fail "the recipes for $1 differ"
	grep -q '^ *minivmm ' "$vm_dir/steps" || fail "README.md has no recipe for $1"
	mkdir "$vm_dir/path"
	ln -s "$vm_binary" "$vm_dir/path/minivmm"
	there env "PATH=$vm_dir/path:$PATH" "MINIVMM_CACHE=$cache" sh -ec "cd '$vm_dir/project'; . '$vm_dir/steps'" \
		</dev/null >"$vm_dir/out" 2>"$vm_dir/err" || fail "$(tail -n 5 "$vm_dir/err")"
}

test_recipe_for_a_module_long() {
	mkdir "$vm_dir/project"
	echo 'obj-m := hello.o' >"$vm_dir/project/Kbuild"
	cat >"$vm_dir/project/hello.c" <<-'SOURCE'
		#include <linux/module.h>
		static int __init hello(void)
		{
			return 0;
		}
		static void __exit bye(void)
		{
		}
		module_init(hello);
		module_exit(bye);
		MODULE_LICENSE("GPL");
	SOURCE
	"$here/fetch-kernel" --headers >/dev/null
	follow module
	says '^hello '
	grep -q '<testsuite.* tests="1" failures="0" errors="0"' "$vm_dir/project/module.xml" ||
		fail "module.xml: $(head -c 500 "$vm_dir/project/module.xml")"
}

test_recipe_for_bpf_long() {
	mkdir "$vm_dir/project"
	cat >"$vm_dir/project/short.bpf.c" <<-'SOURCE'
		#include <linux/bpf.h>
		#include <bpf/bpf_helpers.h>
		SEC("xdp") int drop_short(struct xdp_md *packet)
		{
			return packet->data_end - packet->data < 60 ? XDP_DROP : XDP_PASS;
		}
		char _license[] SEC("license") = "GPL";
	SOURCE
	sed -n '/^```sh$/,/^```$/{/^```/d;p}' "$root/README.md" >"$vm_dir/project/test.sh"
	"$here/fetch-kernel" generic >/dev/null
	"$here/fetch-kernel" cloud >/dev/null
	follow bpf
	grep -q '<testsuite.* tests="2" failures="0" errors="0"' "$vm_dir/project/bpf.xml" ||
		fail "bpf.xml: $(head -c 500 "$vm_dir/project/bpf.xml")"
}
