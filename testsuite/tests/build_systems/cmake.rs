//! CMake, with `share/toolchain.cmake`.

use std::fs;
use std::process::Command;

use anyhow::Result;
use anyhow::ensure;
use testsuite::dirs::scratch;
use testsuite::project;
use testsuite::tools::Tools;

use crate::check;
use crate::share;

/// CMake's probes run on this machine and get no image. Its tests run in a guest.
pub fn builds_and_tests(tools: &Tools) -> Result<()> {
    let dir = scratch(tools, "cmake")?;
    fs::write(
        dir.join("CMakeLists.txt"),
        "cmake_minimum_required(VERSION 3.13)\n\
         project(x C)\n\
         include(CheckCSourceRuns)\n\
         include(CheckIPOSupported)\n\
         enable_testing()\n\
         file(WRITE ${CMAKE_BINARY_DIR}/tried.c \"int main(void) { return 3; }\")\n\
         try_run(ENDED BUILT ${CMAKE_BINARY_DIR} ${CMAKE_BINARY_DIR}/tried.c)\n\
         check_c_source_runs(\"int main(void) { return 0; }\" RUNS)\n\
         check_ipo_supported()\n\
         if(NOT ENDED EQUAL 3 OR NOT RUNS)\n\
         message(FATAL_ERROR \"${ENDED} ${RUNS}\")\n\
         endif()\n\
         add_library(part STATIC part.c)\n\
         add_executable(x x.c)\n\
         target_link_libraries(x part)\n\
         set_target_properties(part x PROPERTIES INTERPROCEDURAL_OPTIMIZATION ON)\n\
         install(TARGETS x)\n\
         add_test(NAME ring COMMAND x)\n",
    )?;
    fs::write(
        dir.join("part.c"),
        "int ring(void) { short cs; __asm__(\"mov %%cs, %0\" : \"=r\"(cs)); return cs & 3; }\n",
    )?;
    fs::write(
        dir.join("x.c"),
        "int ring(void);\nint main(void) { return ring(); }\n",
    )?;
    for step in [
        &format!(
            "cmake -B out -DCMAKE_TOOLCHAIN_FILE={} -DUKL_RUN={}/ukl-run -DCMAKE_INSTALL_PREFIX={}",
            share("toolchain.cmake"),
            tools.boots.dir().display(),
            dir.join("to").display()
        ),
        "cmake --build out",
        "cmake --install out",
    ] {
        check(&mut project::command(tools, &dir, step)?)?;
    }
    ensure!(
        tools.boots.count_at_ring_0()? == 0,
        "something was tried in a guest"
    );
    let images = check(Command::new("find").arg(&dir).args(["-name", "*.ukl"]))?;
    let image = dir.join("out/x.ukl");
    ensure!(images.trim_end() == image.display().to_string(), "{images}");
    let report = check(&mut project::command(
        tools,
        &dir.join("out"),
        "ctest --output-on-failure",
    )?)?;
    ensure!(report.contains("0 tests failed out of 1"), "{report}");
    let boots = tools.boots.count_at_ring_0()?;
    ensure!(boots == 1, "{boots} boots");
    Ok(())
}
