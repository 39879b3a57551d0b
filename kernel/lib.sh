# Functions that the scripts in this directory share: paths, source trees,
# configuration and building.  They are for bash with `set -eu`.
# shellcheck shell=bash
shopt -s inherit_errexit

kernel_dir=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cache=${XDG_CACHE_HOME:-$HOME/.cache}/ukl
work=$cache/kernel/work
tarball=${KERNEL_TARBALL:-/usr/src/linux-source-6.12.tar.xz}
jobs=${JOBS:-$(nproc)}
# The names of the fragments that configure() was given.
configuration=

# shellcheck source=kernel/progress.sh
. "$kernel_dir/progress.sh"

die() {
	echo "kernel: error: $*" >&2
	exit 1
}

say() {
	echo "kernel: $*" >&2
}

# Prints the paths of the patches, in order, one on each line.
patches() {
	find "${KERNEL_PATCHES:-$kernel_dir/patches}" -name '*.patch' ! -name '0000-*' | LC_ALL=C sort
}

# Prints the tarball's checksum. Reading 150 MB in every `make` would be slow,
# so the checksum is stored and reused until the file's size or time changes.
tarball_sum() {
	[ -r "$tarball" ] || die "$tarball does not exist; \`make deps\` installs it" \
		"(Debian's linux-source-6.12), or set KERNEL_TARBALL to another one"
	local id memo
	id=$(stat -L -c '%s.%Y.%i' "$tarball")
	memo=$cache/kernel/sums/$id
	if [ ! -s "$memo" ]; then
		mkdir -p "$(dirname "$memo")"
		sha256sum <"$tarball" | cut -c1-16 >"$memo.$$"
		mv "$memo.$$" "$memo"
	fi
	cat "$memo"
}

# Unpacks the tarball if necessary, and prints the path.  Nothing may write to
# that tree.
pristine() {
	local dir
	dir=$cache/kernel/source/$(tarball_sum)
	if [ ! -d "$dir" ]; then
		say "unpacking $tarball; this takes about a minute"
		rm -rf "$dir.new"
		mkdir -p "$dir.new"
		tar -xf "$tarball" -C "$dir.new" --strip-components=1
		mv "$dir.new" "$dir"
	fi
	echo "$dir"
}

# Locks the work tree, which only one build at a time may use.
lock_work() {
	mkdir -p "$work"
	exec 9>"$work/lock"
	flock -n 9 || {
		say "waiting for another kernel build to end"
		flock 9
	}
}

# Prints the paths of the files that the series touches, one on each line.
touched() {
	local p
	while IFS= read -r p; do
		sed -nE 's,^\+\+\+ b/([^\t]+).*,\1,p' "$p"
	done < <(patches) | LC_ALL=C sort -u
}

# Applies a patch to the source tree $work/linux.
apply() {
	local log=$work/patch.log
	(cd "$work/linux" && patch -p1 --no-backup-if-mismatch -s -f <"$1") >"$log" 2>&1 || {
		cat "$log" >&2
		die "$1 does not apply to $tarball"
	}
	# Fuzz means that patch guessed the position of a hunk.
	! grep -q fuzz "$log" || say "$(basename "$1"): $(grep fuzz "$log")"
}

# Makes the source tree $work/linux.  The path must not vary, because ccache,
# __FILE__ and the comparison of object files depend on it.  Arguments: patches
# to apply.
lay_source() {
	local from p
	from=$(pristine)
	say "preparing the source with $# patches"
	rm -rf "$work/linux"
	# Hard links suffice: patch writes a new file, and builds use another
	# directory.
	cp -al "$from" "$work/linux"
	for p; do
		apply "$p"
	done
}

compiler() {
	if command -v ccache >/dev/null && [ -z "${UKL_NO_CCACHE:-}" ]; then
		echo "ccache gcc"
	else
		echo gcc
	fi
}

# Runs make in the work tree, reproducibly.
kmake() {
	# Do not inherit flags and jobs of a calling make.
	env -u MAKEFLAGS -u MFLAGS -u MAKELEVEL -u KCONFIG_ALLCONFIG \
		LC_ALL=C \
		KBUILD_BUILD_TIMESTAMP='Thu Jan  1 00:00:00 UTC 1970' \
		KBUILD_BUILD_USER=ukl KBUILD_BUILD_HOST=ukl KBUILD_BUILD_VERSION=1 \
		${KCONFIG_ALLCONFIG_FILE:+KCONFIG_ALLCONFIG="$KCONFIG_ALLCONFIG_FILE"} \
		make -s -j"$jobs" -C "$work/linux" O="$work/build" ARCH=x86_64 \
		CC="$(compiler)" "$@"
}

# Whether the tree has CONFIG_UNIKERNEL_LINUX.
has_ukl() {
	grep -qrs --include=Kconfig\* '^config UNIKERNEL_LINUX$' \
		"$work/linux/arch/x86" "$work/linux/init" "$work/linux/kernel"
}

# Merges fragments: the last line for an option takes effect.
merge() {
	cat "$@" | awk '
		{ line[NR] = $0 }
		match($0, /CONFIG_[A-Za-z0-9_]+/) && /^(# )?CONFIG_[A-Za-z0-9_]+( is not set$|=)/ {
			name[NR] = substr($0, RSTART, RLENGTH)
			last[name[NR]] = NR
		}
		END { for (i = 1; i <= NR; i++) if (!(i in name) || last[name[i]] == i) print line[i] }'
}

# Configures $work/build by allnoconfig with these fragments, and checks that
# every option of them took effect.
configure() {
	configuration=$(basename -s .config -a "$@" | paste -sd+)
	say "configuring: $configuration"
	rm -rf "$work/build"
	mkdir -p "$work/build"
	merge "$@" >"$work/build/fragment"
	KCONFIG_ALLCONFIG_FILE=$work/build/fragment kmake allnoconfig >"$work/config.log" 2>&1 || {
		cat "$work/config.log" >&2
		die "configuration failed"
	}
	check_config "$work/build/fragment" "$work/build/.config"
}

# check_config FRAGMENT .CONFIG: checks that .CONFIG has every option of
# FRAGMENT.
check_config() {
	local line name bad=0
	while IFS= read -r line; do
		case $line in
		'# CONFIG_'*' is not set')
			name=${line#\# }
			name=${name%% *}
			! grep -q "^$name=" "$2" || {
				say "$(grep "^$name=" "$2"), but it should be off"
				bad=1
			}
			;;
		CONFIG_*)
			grep -qxF "$line" "$2" || {
				say "$line is required; the configuration has: $(grep -w "${line%%=*}" "$2" || echo nothing)"
				bad=1
			}
			;;
		esac
	done <"$1"
	[ $bad = 0 ] || die "the configuration lacks options of its fragments"
}

# Builds targets, with the output in a log. On failure, prints the end of the
# log.
build_targets() {
	local log=$work/build.log status=0 reporter
	# The report ends when descriptor 8 is closed, however this script ends.
	# The report must not inherit the lock on the work tree (9), nor make
	# the report's pipe.
	exec 8> >(report_progress "$work/build" "$(expected_objects "$configuration")" 9>&-)
	reporter=$!
	kmake "$@" >"$log" 2>&1 8>&- || status=$?
	exec 8>&-
	wait "$reporter" || true
	[ $status = 0 ] || {
		tail -n 40 "$log" >&2
		die "the build failed; its complete output is in $log"
	}
	check_expected "$configuration" "$work/build"
}
