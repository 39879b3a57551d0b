#!/bin/sh
# Called by CMake through toolchain.cmake: sh cmake-run.sh UKL-RUN OPTION... PROGRAM ARGUMENT...
#
# CMake before 3.29 runs try_run() programs with the launcher for tests.  Those programs have no
# images, so this script runs them on the build host.

number=0
for word; do
	case $word in
	*/CMakeFiles/CMakeScratch/* | */CMakeFiles/CMakeTmp/*)
		shift "$number"
		exec "$@"
		;;
	esac
	number=$((number + 1))
done
exec "$@"
