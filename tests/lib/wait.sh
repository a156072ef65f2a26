# shellcheck shell=bash
# What scripts look at while they wait for a guest, without forks: on an emulated host one
# costs as much as a small guest's life, and it is the guest's processor that it takes. They
# sleep by sleep(1) all the same: within `read -t` bash at times does not notice that a
# child has ended.
#
#   now_ms VAR         milliseconds of the clock
#   since MS           milliseconds since then, into REPLY
#   has REGEX FILE     a line of it matches, carriage returns aside

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
