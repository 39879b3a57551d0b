#!/bin/sh
# CMake, by way of toolchain.cmake: sh cmake-run.sh UKL-RUN OPTION... PROGRAM ARGUMENT...
#
# CMake before 3.29 runs what it only tries out (try_run) in the way of tests.  Those programs have
# no images, and run on this machine.

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
