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
