# Functions that report how far a kernel build is.  Sourced by lib.sh, and not
# part of the archive's name: what they print changes nothing that is built.
# shellcheck shell=bash

# A number with a comma between each three digits.
grouped() {
	sed -E ':a; s/^([0-9]+)([0-9]{3})/\1,\2/; ta' <<<"$1"
}

# The number of files compiled so far: the object files in build tree $1.
# They are counted because make's own output is off (`make -s`).
compiled() {
	find "$1" -name '*.o' -printf x 2>/dev/null | wc -c
}

# expected_objects NAME: the number of object files that a whole build of this
# configuration makes, as kernel/config/objects records it.  Prints nothing for
# a configuration that the file does not list.
expected_objects() {
	# shellcheck disable=SC2154 # lib.sh sets it.
	awk -v name="$1" '$1 == name { print $2 }' "$kernel_dir/config/objects"
}

# The state of build tree $1, of which about $2 (empty: unknown) object files
# are expected.  The expectation is an estimate, so it never yields 100 %.
progress_line() {
	local now percent
	now=$(compiled "$1")
	if [ -z "$2" ]; then
		echo "kernel: $(grouped "$now") files compiled"
	elif [ -e "$1/vmlinux.o" ]; then
		echo "kernel: $(grouped "$now") files compiled, linking"
	else
		percent=$((now * 100 / $2))
		[ $percent -lt 100 ] || percent=99
		echo "kernel: $(grouped "$now") of about $(grouped "$2") files compiled ($percent %)"
	fi
}

# Reports the state of build tree $1 until standard input is closed: on a
# terminal in one line that is rewritten each second, elsewhere in a line every
# half minute.  KERNEL_PROGRESS sets the interval in seconds; 0
# turns the report off.
report_progress() {
	local tree=$1 expected=$2 interval=30 format='%s\n' status
	if [ -t 2 ]; then
		interval=1 format='\r%s\e[K'
	fi
	interval=${KERNEL_PROGRESS:-$interval}
	# `read` serves as the clock: unlike sleep it ends when the build does.
	while true; do
		status=0
		read -rt "$interval" || status=$?
		# It returns more than 128 when the time is up, and 1 at the end.
		[ $status -gt 128 ] || break
		# shellcheck disable=SC2059
		printf "$format" "$(progress_line "$tree" "$expected")" >&2
	done
	[ ! -t 2 ] || printf '\r\e[K' >&2
}

# Checks the record of configuration $1 against build tree $2, which is whole.
check_expected() {
	local expected now
	expected=$(expected_objects "$1")
	now=$(compiled "$2")
	if [ -z "$expected" ] || [ $((now * 50)) -lt $((expected * 49)) ] ||
		[ $((now * 50)) -gt $((expected * 51)) ]; then
		say "compiled $now files: record \`$1 $now\` in kernel/config/objects"
	fi
}
