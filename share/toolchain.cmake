# CMake: cmake -B build -DCMAKE_TOOLCHAIN_FILE=PREFIX/share/ukl/toolchain.cmake
#
# Programs run on the build host as well as in a guest, so this is not a cross build: programs that
# the build itself runs, such as generators, run on the build host.  ctest runs tests in guests, which
# see the source and build trees at the same paths.  Further options of ukl-run:
# -DUKL_RUN_FLAGS="-m;1G"

foreach(_ukl_tool ukl-cc ukl-c++ ukl-run)
	string(TOUPPER "${_ukl_tool}" _ukl_name)
	string(REPLACE "-" "_" _ukl_name "${_ukl_name}")
	string(REPLACE "++" "XX" _ukl_name "${_ukl_name}")
	# The tools installed with this file, then those in PATH, then those of the source tree.
	find_program(${_ukl_name} ${_ukl_tool} REQUIRED
		HINTS "${CMAKE_CURRENT_LIST_DIR}/../../bin"
		PATHS "${CMAKE_CURRENT_LIST_DIR}/../target/release")
endforeach()

set(CMAKE_C_COMPILER "${UKL_CC}")
set(CMAKE_CXX_COMPILER "${UKL_CXX}")

# CMake takes `ukl-' for the prefix of a cross toolchain, and looks for ukl-gcc-ar and ukl-gcc-ranlib
# to make archives of intermediate code.  Name the tools of the real compiler instead.
foreach(_ukl_language C CXX)
	foreach(_ukl_tool ar ranlib)
		string(TOUPPER "CMAKE_${_ukl_language}_COMPILER_${_ukl_tool}" _ukl_name)
		execute_process(COMMAND "${CMAKE_${_ukl_language}_COMPILER}" "-print-prog-name=llvm-${_ukl_tool}"
			OUTPUT_VARIABLE _ukl_llvm OUTPUT_STRIP_TRAILING_WHITESPACE)
		# clang prints a path; gcc has no such tool and prints the bare name.
		if(IS_ABSOLUTE "${_ukl_llvm}")
			set(${_ukl_name} "${_ukl_llvm}" CACHE FILEPATH "")
		else()
			find_program(${_ukl_name} "gcc-${_ukl_tool}")
		endif()
	endforeach()
endforeach()

set(_ukl_run "${UKL_RUN}" ${UKL_RUN_FLAGS}
	-v "${CMAKE_SOURCE_DIR}:${CMAKE_SOURCE_DIR}"
	-v "${CMAKE_BINARY_DIR}:${CMAKE_BINARY_DIR}"
	-w "${CMAKE_BINARY_DIR}")
if(CMAKE_VERSION VERSION_LESS 3.29)
	# CMake before 3.29 uses the emulator for tests and try_run() in any build, later versions in cross
	# builds only.
	set(CMAKE_CROSSCOMPILING_EMULATOR sh "${CMAKE_CURRENT_LIST_DIR}/cmake-run.sh" ${_ukl_run})
else()
	set(CMAKE_TEST_LAUNCHER ${_ukl_run})
endif()
