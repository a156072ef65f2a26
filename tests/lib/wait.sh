# shellcheck shell=bash
# What scripts do while they wait for a guest, with few forks: on an emulated host one
# costs as much as a small guest's life, and it is the guest's processor that it takes.
#
#   nap SECONDS        sleep. A process, as bash takes notice of its children's ends when it
#                      makes another, and not for certain within `read -t`
#   now_ms VAR         milliseconds of the clock
#   since MS           milliseconds since then, into REPLY
#   has REGEX FILE     a line of it matches, carriage returns aside

nap() { sleep "$1"; }
now_ms() { local t=${EPOCHREALTIME/[.,]/}; printf -v "$1" %s "${t%???}"; }
since() { now_ms REPLY; REPLY=$((REPLY - $1)); }
has() {
	local lines line
	mapfile -t lines <"$2"
	for line in "${lines[@]}"; do
		if [[ ${line//$'\r'/} =~ $1 ]]; then return 0; fi
	done
	return 1
}
