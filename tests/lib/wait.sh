# shellcheck shell=bash
# What scripts do while they wait for a guest, without a fork: on an emulated host one
# costs as much as a small guest's life, and it is the guest's processor that it takes.
#
#   nap SECONDS        sleep
#   now_ms VAR         milliseconds of the clock
#   since MS           milliseconds since then, into REPLY
#   has REGEX FILE     a line of it matches, carriage returns aside

exec {never}<> <(:)
nap() { read -rt "$1" -u "$never" _ || true; }
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
