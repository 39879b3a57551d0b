# Functions that report the progress of a kernel build, for lib.sh.  This file
# is not part of the hash that names the archive, because it does not affect
# what is built.
# shellcheck shell=bash

# Prints a number with commas between groups of three digits.
grouped() {
	sed -E ':a; s/^([0-9]+)([0-9]{3})/\1,\2/; ta' <<<"$1"
}

# Prints the number of object files in build tree $1. They are counted because
# make prints nothing (`make -s`).
compiled() {
	find "$1" -name '*.o' -printf x 2>/dev/null | wc -c
}

# expected_objects NAME: prints the number of object files that a complete build
# of this configuration makes, as recorded in kernel/config/objects.  Prints
# nothing if the file does not list the configuration.
expected_objects() {
	# shellcheck disable=SC2154 # lib.sh sets it.
	awk -v name="$1" '$1 == name { print $2 }' "$kernel_dir/config/objects"
}

# Prints the progress of build tree $1, in which about $2 object files are
# expected (empty: unknown).  The number is an estimate, so the result is never
# 100 %.
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

# Reports the progress of build tree $1 until standard input is closed.  On a
# terminal, one line is rewritten each second; elsewhere, a line is printed
# every half minute.  KERNEL_PROGRESS sets the interval in seconds; 0 turns the
# report off.
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
		# It returns more than 128 after the timeout, and 1 at the end
		# of input.
		[ $status -gt 128 ] || break
		# shellcheck disable=SC2059
		printf "$format" "$(progress_line "$tree" "$expected")" >&2
	done
	[ ! -t 2 ] || printf '\r\e[K' >&2
}

# Compares the record of configuration $1 with the complete build tree $2.
check_expected() {
	local expected now
	expected=$(expected_objects "$1")
	now=$(compiled "$2")
	if [ -z "$expected" ] || [ $((now * 50)) -lt $((expected * 49)) ] ||
		[ $((now * 50)) -gt $((expected * 51)) ]; then
		say "compiled $now files: record \`$1 $now\` in kernel/config/objects"
	fi
}
