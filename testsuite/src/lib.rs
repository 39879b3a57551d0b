//! The tests that boot images: small programs, each for one behaviour, and whole projects.
//!
//! A program of the battery is one file, `programs/NAME.c`, `NAME.cc` or `NAME.S`. It is compiled
//! once with `ukl-cc` and then run with the same expectations everywhere: its host output on this
//! machine (`host/NAME`), the image's program at ring 3 in the guest (`ring3/NAME`) and at ring 0
//! with each policy (`base/NAME`, `bypass/NAME`, `bypass-ret-shared/NAME`, ...). The program itself
//! checks that it is at the ring that `UKL_EXPECT_RING` names (`programs/common.h`).
//!
//! After each boot, the kernel's log is searched for messages that a healthy kernel does not print
//! ([`kernel_log`]). A test cannot boot without that: see [`boots`].
//!
//! # Directives
//!
//! Comments of the form `//#Key: value`, anywhere in the file:
//!
//! | directive | meaning |
//! |---|---|
//! | `Expect-stdout: LINE` | a line of the standard output; the output is these lines and nothing else |
//! | `Stdout-contains: TEXT` | the output contains these texts in this order (instead of `Expect-stdout`) |
//! | `Exit: N` | the exit status, 42 if not given, so that nobody passes by returning 0 |
//! | `Signal: NAME` | it is killed by this signal (`SEGV`, `ABRT`, ...) |
//! | `Args: WORDS` | its arguments, quoted as in a shell |
//! | `Env: NAME=VALUE` | a variable of its environment |
//! | `CFlags: WORDS` | for the compiler, before the source |
//! | `Libs: WORDS` | for the compiler, behind the source |
//! | `Helper: NAME` | needs `programs/helpers/NAME.c`, an ordinary static program, in `$UKL_HELPERS` |
//! | `Cpus: N`, `Mem: SIZE` | of the guest, 2 and 512M if not given |
//! | `Timeout: SECONDS` | 60 if not given; see below |
//! | `Run-args: WORDS` | options for `ukl-run`; such a program gets a boot of its own |
//! | `Alone: REASON` | it gets a boot of its own |
//! | `Calm: REASON` | it does not take part in the stress test |
//! | `Skip-host: REASON`, `Skip-ring3`, `Skip-ring0` | it does not run there |
//! | `Log-must-not-contain: TEXT` | one more thing that must not be in the kernel's log |
//!
//! # Boots
//!
//! A boot takes seconds without virtualisation hardware, so programs that need the same kind of
//! machine share one: the image's program is then `driver/battery-driver.c`, which carries the others
//! as files and starts them one after another ([`batch`]). Programs that follow one that broke the
//! kernel are run again in a new boot. When a filter selects only a few programs, each gets its own
//! image and its own boot; `UKL_TEST_SINGLE=1` and `0` force one or the other.
//!
//! Programs that make the kernel patch its own text (watchpoints, tracepoints, probes) ask for one
//! CPU: QEMU 7.2 may execute stale translations of code that another emulated CPU changes, and the
//! kernel then dies of a breakpoint of its own, with the patches of this project or without. A boot
//! that dies of this all the same is repeated ([`emulation`]).
//!
//! # Time limits
//!
//! A limit says how long something takes on a machine that does nothing else. On a busy machine it
//! is compared with the processor time that was used, not with the time that has passed ([`process`]);
//! the driver does the same inside the guest. No test asserts how long anything takes.
//!
//! # Environment
//!
//! - `UKL_BIN`: the directory of `ukl-cc` and `ukl-run`; `target/release` if not set.
//! - `UKL_TEST_SINGLE`: see above.
//! - `UKL_TEST_PATIENCE`: multiplies every time limit.
//! - `UKL_TEST_MEMORY`: MiB to add to the memory of each guest of the battery.
//! - `UKL_TEST_CPUS`: processors of a guest whose program does not say, 2 if not set.
//! - `UKL_TEST_NO_SKIPS`: with 1, a test that cannot run here fails ([`skip`]).
//! - `UKL_TEST_RUN`: a directory that all processes of one run share: the turns of tests ([`turns`]),
//!   the count of repeated boots, and the logs of failures. `testsuite/run` sets it.
//! - `UKL_STRESS_SECONDS`: how long `tests/stress.rs` goes on, 60 if not set.

pub mod batch;
pub mod boots;
pub mod compile;
pub mod debugger;
pub mod directives;
pub mod dirs;
pub mod emulation;
pub mod guest;
pub mod harness;
pub mod http;
pub mod kernel_log;
pub mod process;
pub mod project;
pub mod qmp;
pub mod redis;
pub mod relay;
pub mod server;
pub mod skip;
pub mod tools;
pub mod turns;
pub mod verdict;
