//! zstd, built with CMake.

use std::fs;
use std::process::Command;
use std::time::Duration;

use anyhow::Result;
use anyhow::ensure;
use testsuite::directives::End;
use testsuite::dirs::scratch;
use testsuite::dirs::volume;
use testsuite::guest;
use testsuite::process;
use testsuite::process::words;
use testsuite::project::Project;
use testsuite::tools::Tools;

use crate::at_ring0;

/// zstd: CMake identifies the compiler. The guest compresses with two threads, and this machine
/// decompresses.
pub fn builds_and_runs(tools: &Tools) -> Result<()> {
    let dir = Project {
        name: "zstd",
        package: "libzstd",
        files: &[],
        steps: &[
            "cmake -S build/cmake -B out -DCMAKE_BUILD_TYPE=Release -DCMAKE_C_COMPILER=ukl-cc \
             -DCMAKE_CXX_COMPILER=ukl-c++ -DZSTD_BUILD_SHARED=OFF -DZSTD_BUILD_TESTS=OFF",
            "cmake --build out -j2",
        ],
        product: "out/programs/zstd",
    }
    .build(tools)?;
    let image = dir.join("out/programs/zstd.ukl");
    at_ring0(
        tools,
        "zstd",
        "ZSTD_createCCtx",
        &words(&[&image, &"-b1", &"-i0"]),
    )?;
    let data = scratch(tools, "zstd")?;
    let mut text = Vec::new();
    let mut seed = 1u32;
    while text.len() < 6 << 20 {
        seed = seed.wrapping_mul(1_103_515_245).wrapping_add(12345);
        text.extend_from_slice(format!("line {} of {}\n", seed >> 20, seed % 1000).as_bytes());
    }
    fs::write(data.join("text"), &text)?;
    let packed = guest::run(
        tools,
        "zstd.log",
        &words(&[
            &"--cpus",
            &"2",
            &"-v",
            &volume(&data),
            &image,
            &"-q",
            &"-T2",
            &"-5",
            &"/data/text",
        ]),
        b"",
    )?;
    ensure!(packed.end == Some(End::Exit(0)), "{packed:?}");
    let back = process::run(
        Command::new(dir.join("out/programs/zstd"))
            .arg("-dc")
            .arg(data.join("text.zst")),
        Duration::from_secs(60),
    )?;
    ensure!(
        back.stdout == text,
        "what the guest packed is not what comes out here"
    );
    fs::remove_file(data.join("text"))?;
    let unpacked = guest::run(
        tools,
        "zstd-d.log",
        &words(&[
            &"-v",
            &volume(&data),
            &image,
            &"-q",
            &"-d",
            &"/data/text.zst",
        ]),
        b"",
    )?;
    ensure!(unpacked.end == Some(End::Exit(0)), "{unpacked:?}");
    ensure!(
        fs::read(data.join("text"))? == text,
        "what the guest unpacked differs"
    );
    Ok(())
}
