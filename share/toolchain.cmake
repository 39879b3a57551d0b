# CMake: cmake -B build -DCMAKE_TOOLCHAIN_FILE=PREFIX/share/ukl/toolchain.cmake
#
# Programs run on this machine as well as in a guest, so this is no cross build: what the build
# itself runs, generators for instance, runs here.  ctest runs programs in guests, where the source
# and the build tree are where they are here.  More options for ukl-run: -DUKL_RUN_FLAGS="-m;1G"

foreach(_ukl_tool ukl-cc ukl-c++ ukl-run)
	string(TOUPPER "${_ukl_tool}" _ukl_name)
	string(REPLACE "-" "_" _ukl_name "${_ukl_name}")
	string(REPLACE "++" "XX" _ukl_name "${_ukl_name}")
	# Those that were installed with this file; those in PATH; those of the source tree.
	find_program(${_ukl_name} ${_ukl_tool} REQUIRED
		HINTS "${CMAKE_CURRENT_LIST_DIR}/../../bin"
		PATHS "${CMAKE_CURRENT_LIST_DIR}/../target/release")
endforeach()

set(CMAKE_C_COMPILER "${UKL_CC}")
set(CMAKE_CXX_COMPILER "${UKL_CXX}")

# CMake takes `ukl-' for the beginning of the names of all of a cross compiler's tools, and finds none
# of them: those with which it makes archives of intermediate code.  They are the compiler's behind it.
foreach(_ukl_language C CXX)
	foreach(_ukl_tool ar ranlib)
		string(TOUPPER "CMAKE_${_ukl_language}_COMPILER_${_ukl_tool}" _ukl_name)
		execute_process(COMMAND "${CMAKE_${_ukl_language}_COMPILER}" "-print-prog-name=llvm-${_ukl_tool}"
			OUTPUT_VARIABLE _ukl_llvm OUTPUT_STRIP_TRAILING_WHITESPACE)
		# Only clang knows where that is.
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
	# Older versions have this for tests in any build, and for try_run; for the rest it is for cross
	# builds only.
	set(CMAKE_CROSSCOMPILING_EMULATOR sh "${CMAKE_CURRENT_LIST_DIR}/cmake-run.sh" ${_ukl_run})
else()
	set(CMAKE_TEST_LAUNCHER ${_ukl_run})
endif()
