//! The search of a kernel's log for what a healthy kernel does not say. The tests of `ukl-run` and
//! `ukl-ld` include this file, too.
//!
//! The log is the guest's console. Names of programs and files appear in it, and so may the output of
//! programs. Therefore each pattern is the kernel's own wording, and has to stand where the kernel
//! puts it: at the beginning of a message.

/// How the messages of a broken kernel begin. The comments name the kernel's source files.
const BEGINNINGS: &[&str] = &[
    // WARN() and BUG() (include/asm-generic/bug.h), and their ends (kernel/panic.c).
    "------------[ cut here ]------------",
    "---[ end trace ",
    "kernel BUG at ",
    // Page faults, lockdep, SLUB, KASAN, and most checks of the memory management.
    "BUG: ",
    "BUG ",
    "[ BUG: ",
    "WARNING: ",
    // arch/x86/kernel/dumpstack.c. Every die() prints both.
    "Oops: ",
    "Call Trace:",
    // arch/x86/mm/extable.c, arch/x86/kernel/traps.c.
    "PANIC: ",
    "traps: PANIC: ",
    "unchecked MSR access error: ",
    // kernel/panic.c, kernel/exit.c.
    "Kernel panic - not syncing",
    "---[ end Kernel panic",
    "Fixing recursive fault",
    // lib/list_debug.c, lib/ubsan.c, lib/debugobjects.c, arch/x86/kernel/check.c.
    "list_add corruption",
    "list_del corruption",
    "UBSAN: ",
    "ODEBUG: ",
    "Corrupted low memory at ",
    // kernel/locking/lockdep.c.
    "INFO: trying to register non-static key",
    "turning off the locking correctness validator",
    // kernel/watchdog.c.
    "watchdog: BUG: ",
    // fs/ext4/super.c.
    "EXT4-fs error ",
];

/// Messages in which a name or a number comes before the decisive words: the beginning and those
/// words.
const PARTS: &[(&str, &str)] = &[
    // kernel/rcu/tree_stall.h, tree_exp.h, tasks.h.
    ("rcu: INFO: ", " detected stall"),
    ("rcu: INFO: ", " detected expedited stalls"),
    ("rcu: INFO: ", " self-detected stall on CPU"),
    ("rcu: ", " kthread starved for "),
    ("rcu: ", " kthread timer wakeup didn't happen for "),
    ("INFO: rcu_tasks", " detected stalls"),
    // kernel/watchdog.c, kernel/hung_task.c, kernel/workqueue.c.
    ("watchdog: ", "Watchdog detected hard LOCKUP on cpu "),
    ("INFO: task ", " blocked for more than "),
];

/// A kernel that runs out of memory, as in some tests, reports what asked for more
/// (mm/oom_kill.c, mm/page_alloc.c). A call trace belongs to the report.
const MEMORY: &[&str] = &[" invoked oom-killer: ", ": page allocation failure: order:"];

/// What a program's request for backtraces of all CPUs logs (drivers/tty/sysrq.c).
const REQUEST: &str = "sysrq: Show backtrace of all active CPUs";

/// The beginning of one CPU's backtrace (lib/nmi_backtrace.c). The number of the CPU follows.
const BACKTRACE: &str = "NMI backtrace for cpu ";

/// The call trace of a report follows its first line after at most so many lines. Other processors
/// may log in between.
const BELOW: usize = 20;

/// The same for the backtrace of a CPU. An NMI may interrupt it, and print the whole of another one in
/// between.
const BELOW_BACKTRACE: usize = 200;

/// Returns the first line that a healthy kernel would not have written, or that contains one of the
/// texts in `also`.
pub fn first_complaint<'a>(log: &'a str, also: &[String]) -> Option<&'a str> {
    // The kernel writes the time in front of each message. What has none is a program's output,
    // unless nothing in the log has.
    let has_times = log.lines().any(|line| behind_time(line).is_some());
    let mut traces = Traces::default();
    log.lines().enumerate().find_map(|(number, line)| {
        let text = behind_time(line).unwrap_or(if has_times { "" } else { line });
        let text = text.trim();
        let is_excused = traces.excuse(number, text);
        let is_sick = is_complaint(text) && !is_excused;
        (is_sick || also.iter().any(|bad| line.contains(bad.as_str()))).then_some(line)
    })
}

/// Whether a message, without the time and the white space around it, is one of a broken kernel.
fn is_complaint(text: &str) -> bool {
    let has_part = |(beginning, part): &(&str, &str)| {
        let rest = text.strip_prefix(beginning);
        rest.is_some_and(|rest| rest.contains(part))
    };
    BEGINNINGS.iter().any(|begin| text.starts_with(begin)) || PARTS.iter().any(has_part)
}

/// The call traces that belong to reports of a healthy kernel.
#[derive(Default)]
struct Traces {
    /// For each report whose call trace has not come yet, the line before which it has to begin.
    due: Vec<usize>,
    /// The CPUs that have answered the last request for backtraces, in that order. Nothing if there
    /// was no request.
    answers: Option<Vec<u32>>,
}

impl Traces {
    /// Takes note of the next message, and returns whether it begins a call trace that belongs to
    /// one of these reports.
    fn excuse(&mut self, number: usize, text: &str) -> bool {
        if text == REQUEST {
            self.answers = Some(Vec::new());
        } else if MEMORY.iter().any(|report| text.contains(report)) {
            self.due.push(number + BELOW);
        } else if self.is_answer(text) {
            self.due.push(number + BELOW_BACKTRACE);
        } else if text == "Call Trace:" {
            self.due.retain(|&last| number < last);
            return self.due.pop().is_some();
        }
        false
    }

    /// Whether this begins a backtrace that a program has asked for. The kernel also prints such
    /// backtraces when it finds a stall, but then it complains first.
    ///
    /// A CPU answers a request once. The one that got the request does so outside of an NMI, so an
    /// NMI that comes then makes it answer once more.
    fn is_answer(&mut self, text: &str) -> bool {
        let cpu = text.strip_prefix(BACKTRACE).map(str::parse::<u32>);
        let (Some(answers), Some(Ok(cpu))) = (&mut self.answers, cpu) else {
            return false;
        };
        answers.push(cpu);
        answers.iter().filter(|&&other| other == cpu).count() <= 2
    }
}

/// Whether this is the log of a machine whose program runs at ring 0. To the kernel, a start at ring 0
/// is the load of a module, and LoadPin logs which file the first one was.
pub fn is_at_ring_0(log: &str) -> bool {
    log.lines()
        .any(|line| message(line).starts_with("LoadPin: kernel-module pinned obj=\"/"))
}

/// Whether the log ends in a fault of QEMU's emulation: the kernel is stopped by a breakpoint in its
/// own text that is not there any more. While the kernel patches its code, a breakpoint marks the
/// place. If several CPUs are emulated, one of them may go on executing what it has translated from
/// the breakpoint. Unpatched kernels die of it as well, and one emulated by a single thread never
/// does (docs/bugs.md). On a real processor such an end would be a bug of ours.
pub fn is_emulation_fault(log: &str) -> bool {
    is_stale_breakpoint(log) && is_emulated()
}

fn is_stale_breakpoint(log: &str) -> bool {
    let first = first_complaint(log, &[]).map(message);
    first.is_some_and(|line| line.starts_with("Oops: int3: 0000"))
        && place_of_oops(log).is_some_and(is_kernel_text)
        && byte_before_oops(log).is_some_and(|byte| byte != BREAKPOINT)
}

/// The instruction INT3, as the kernel prints it.
const BREAKPOINT: &str = "cc";

/// The byte in memory before the place of the oops. Of the bytes of code in an oops, the one at the
/// instruction pointer is in angle brackets. A breakpoint leaves the pointer behind itself.
fn byte_before_oops(log: &str) -> Option<&str> {
    let code = after_complaint(log, "Code: ")?;
    code.split_once(" <")?.0.rsplit(' ').next()
}

/// The place of the first thing that a kernel complained about: what follows `RIP: `.
pub fn place_of_oops(log: &str) -> Option<&str> {
    after_complaint(log, "RIP: ")
}

/// The rest of the first message after the first complaint that begins with this.
fn after_complaint<'a>(log: &'a str, beginning: &str) -> Option<&'a str> {
    let complaint = first_complaint(log, &[])?;
    let mut lines = log.lines().skip_while(|line| *line != complaint);
    lines.find_map(|line| message(line).strip_prefix(beginning))
}

/// Whether a place is in a function of the kernel itself. The kernel names no other addresses than
/// those of its code; a module's has the module's name behind it, and a program's is a number.
fn is_kernel_text(place: &str) -> bool {
    let Some(name) = place.strip_prefix("0010:") else {
        return false;
    };
    let is_symbol = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    is_symbol && name.contains("+0x") && !name.contains(' ')
}

/// Whether this machine has no virtualisation hardware, so that guests are emulated.
fn is_emulated() -> bool {
    let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    !info
        .split_whitespace()
        .any(|word| word == "vmx" || word == "svm")
}

/// The complaint with the lines around it.
pub fn excerpt(log: &str, complaint: &str) -> String {
    let lines: Vec<&str> = log.lines().collect();
    let at = lines
        .iter()
        .position(|line| *line == complaint)
        .unwrap_or_default();
    let from = at.saturating_sub(5);
    let to = (at + 60).min(lines.len());
    lines[from..to].join("\n")
}

/// A line without the time in front, and without what a program has written on the same line of the
/// console before.
pub fn message(line: &str) -> &str {
    let line = line.trim_end_matches('\r');
    behind_time(line).unwrap_or(line)
}

/// What follows the time of a kernel message, `[    3.141592] `; nothing if the line has no time.
fn behind_time(line: &str) -> Option<&str> {
    line.match_indices('[').find_map(|(at, _)| {
        let (time, rest) = line[at + 1..].split_once("] ")?;
        let (seconds, fraction) = time.trim_start().split_once('.')?;
        let is_number = |text: &str| !text.is_empty() && text.bytes().all(|c| c.is_ascii_digit());
        (is_number(seconds) && is_number(fraction)).then_some(rest)
    })
}

/// The part of a shared boot's log that belongs to one program: between the driver's marks. What
/// comes before the first mark belongs to the first program.
pub fn part_of<'a>(log: &'a str, name: &str) -> &'a str {
    let begin = format!("battery: begin {name}");
    let mut from = None;
    let mut first = true;
    let mut at = 0;
    for line in log.split_inclusive('\n') {
        let text = message(line.trim_end());
        if text.starts_with("battery: begin ") {
            if let Some(from) = from {
                return &log[from..at];
            }
            if text == begin {
                from = Some(if first { 0 } else { at });
            }
            first = false;
        }
        at += line.len();
    }
    from.map_or("", |from| &log[from..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_may_fault_and_the_kernel_may_not() {
        let user = "[    3.1] traps: x[77] general protection fault ip:401136 sp:7ffc error:0 in x[401000+1000]\n";
        assert_eq!(first_complaint(user, &[]), None);
        let kernel = "[    3.1] Oops: general protection fault, probably for non-canonical address 0xdead: 0000 [#1]\n";
        assert!(first_complaint(kernel, &[]).is_some());
        assert!(first_complaint("[ 1.0] WARNING: CPU: 0 PID: 1 at x.c:1\r\n", &[]).is_some());
        assert!(first_complaint("[ 1.0] all is well\n", &["is well".into()]).is_some());
    }

    #[test]
    fn lack_of_memory_is_reported_with_a_call_trace() {
        let report =
            "[ 5.0] x invoked oom-killer: gfp_mask=0x140cca, order=0\n[ 5.0] CPU: 1 PID: 70\n";
        let trace = "[ 5.0] Call Trace:\r\n";
        assert_eq!(first_complaint(&[report, trace].concat(), &[]), None);
        assert!(first_complaint(trace, &[]).is_some());
        assert!(first_complaint(&[report, trace, trace].concat(), &[]).is_some());
        let later = [report, &"[ 6.0] x\n".repeat(BELOW), trace].concat();
        assert!(first_complaint(&later, &[]).is_some());
        let sick = [report, "[ 5.0] BUG: x\n"].concat();
        assert!(first_complaint(&sick, &[]).is_some());
    }

    /// A log of the stress test, shortened.
    const ASKED_FOR: &str = "\
[    3.929467] hrtimer: interrupt took 1968461 ns
[    4.086310] Uhhuh. NMI received for unknown reason 20 on CPU 0.
[    4.086314] Dazed and confused, but trying to continue
[    5.931319] sysrq: Show backtrace of all active CPUs
[    5.931927] NMI backtrace for cpu 1
[    5.932506] CPU: 1 UID: 0 PID: 49 Comm: storm Not tainted 6.12.117-ukl #1
[    5.932921] Call Trace:
[    5.939101]  <TASK>
[    5.939567]  dump_stack_lvl+0x4f/0x70
[    5.956690] Sending NMI from CPU 1 to CPUs 0:
[    5.956697] NMI backtrace for cpu 0
[    5.957377] CPU: 0 UID: 0 PID: 68 Comm: rseq Not tainted 6.12.117-ukl #1
[    5.962162] RIP: 0010:0x40ded6
[    5.966163] FS:  00007fc9fbab66c0 GS:  0000000000000000
[    5.966170] Call Trace:
[    5.972151] INFO: NMI handler (nmi_cpu_backtrace_handler) took too long to run: 31.211 msecs
";

    #[test]
    fn a_program_may_ask_for_backtraces() {
        assert_eq!(first_complaint(ASKED_FOR, &[]), None);
        assert_eq!(first_complaint(&ASKED_FOR.repeat(3), &[]), None);
    }

    /// The same from a request that an NMI interrupts.
    #[test]
    fn a_backtrace_may_be_within_another() {
        let registers = "[    7.1] R13: 0000000000000001 R14: 0000000000000001\n".repeat(50);
        let begin = "[    7.0] sysrq: Show backtrace of all active CPUs\n[    7.0] NMI backtrace for cpu 0\n";
        let within =
            format!("[    7.1] NMI backtrace for cpu 0\n{registers}[    7.2] Call Trace:\n");
        let end = "[    7.3] Hardware name: x\n[    7.3] Call Trace:\n[    7.3]  </TASK>\n";
        let log = [ASKED_FOR, begin, &within, &registers, end].concat();
        assert_eq!(first_complaint(&log, &[]), None);
        let log = [&log, end].concat();
        assert_eq!(first_complaint(&log, &[]), end.lines().nth(1));
    }

    #[test]
    fn other_call_traces_are_complaints_beside_those() {
        let trace = "[    6.0] Call Trace:\n";
        let backtrace = "[    6.0] NMI backtrace for cpu 0\n[    6.0] Call Trace:\n";
        // One from an NMI that came while the CPU was answering.
        let twice = [ASKED_FOR, backtrace].concat();
        assert_eq!(first_complaint(&twice, &[]), None);
        for more in [trace, backtrace] {
            let log = [&twice, more].concat();
            assert_eq!(first_complaint(&log, &[]), more.lines().last());
        }
        // A backtrace that nobody has asked for.
        assert!(first_complaint(backtrace, &[]).is_some());
    }

    #[test]
    fn a_broken_kernel_is_found_among_backtraces() {
        for sick in [
            "BUG: kernel NULL pointer dereference, address: 0000000000000008",
            "WARNING: CPU: 0 PID: 70 at kernel/sched/core.c:1 x+0x1/0x2",
            "rcu: INFO: rcu_sched detected stalls on CPUs/tasks:",
            "rcu: INFO: rcu_sched self-detected stall on CPU",
            "watchdog: BUG: soft lockup - CPU#0 stuck for 22s! [storm:49]",
            "watchdog: CPU0: Watchdog detected hard LOCKUP on cpu 1",
            "Oops: int3: 0000 [#1] SMP NOPTI",
        ] {
            let lines: Vec<&str> = ASKED_FOR.lines().collect();
            for at in 0..=lines.len() {
                let bad = format!("[    5.0] {sick}");
                let mut lines = lines.clone();
                lines.insert(at, &bad);
                assert_eq!(first_complaint(&lines.join("\n"), &[]), Some(&*bad));
            }
        }
    }

    #[test]
    fn what_the_kernel_says_of_itself_is_a_complaint() {
        for text in [
            "------------[ cut here ]------------",
            "kernel BUG at mm/slub.c:550!",
            "BUG: unable to handle page fault for address: ffffc90000000000",
            "BUG: scheduling while atomic: x/70/0x00000002",
            "BUG: sleeping function called from invalid context at mm/x.c:1",
            "BUG: Bad page state in process x  pfn:12345",
            "BUG: Bad rss-counter state mm:00000000deadbeef type:MM_FILEPAGES val:1",
            "BUG: TASK stack guard page was hit at 00000000deadbeef (stack is 1..2)",
            "BUG: workqueue lockup - pool cpus=0 node=0 flags=0x0 nice=0 stuck for 30s!",
            "BUG kmalloc-64 (Not tainted): Poison overwritten",
            "[ BUG: Invalid wait context ]",
            "WARNING: possible circular locking dependency detected",
            "traps: PANIC: double fault, error_code: 0x0",
            "Oops: general protection fault, probably for non-canonical address 0xdead: 0000 [#1]",
            "Kernel panic - not syncing: corrupted stack end detected inside scheduler",
            "list_del corruption. prev->next should be 1, but was 2. (prev=3)",
            "unchecked MSR access error: RDMSR from 0x1 at rIP: 0xffffffff81000000 (x+0x1/0x2)",
            "UBSAN: array-index-out-of-bounds in x.c:1:2",
            "turning off the locking correctness validator.",
            "EXT4-fs error (device vda): ext4_lookup:1: inode #2: comm x: corrupted",
            "rcu: INFO: rcu_preempt detected expedited stalls on CPUs/tasks: { 1-... }",
            "rcu: rcu_preempt kthread starved for 5250 jiffies! g1",
            "INFO: rcu_tasks detected stalls on tasks:",
            "INFO: task x:70 blocked for more than 120 seconds.",
            "INFO: trying to register non-static key.",
            " Call Trace:",
        ] {
            for line in [text.to_owned(), format!("[   12.345678] {text}\r")] {
                assert_eq!(first_complaint(&line, &[]), Some(&*line));
            }
            // The kernel does not wait for the end of a program's line.
            let mixed = format!("[    1.0] boot\nfrom a program[   12.345678] {text}");
            assert!(first_complaint(&mixed, &[]).is_some(), "{mixed}");
        }
    }

    #[test]
    fn names_and_output_of_programs_are_none() {
        for line in [
            "[    2.8] LoadPin: kernel-module pinned obj=\"/ukl/corruption_test\" pid=39 cmdline=\"/init\"",
            "[    2.8] LoadPin: kernel-module pinned obj=\"/ukl/x\" pid=39 cmdline=\"x BUG: WARNING: \"",
            "[    3.0] battery: begin Oops: ",
            "[    3.0] Out of memory: Killed process 70 (BUG: ) total-vm:1kB, anon-rss:2kB",
            "[    3.0] corruption_test[70]: segfault at 8 ip 401136 sp 7ffc error 6 in corruption_test",
            "[    3.0] traps: WARNING: [70] trap invalid opcode ip:401136 sp:7ffc error:0",
            "[    3.0] CPU: 1 UID: 0 PID: 49 Comm: Call Trace: Not tainted 6.12.117-ukl #1",
            "[    0.0] rcu: \tRCU CPU stall warnings timeout set to 60 (rcu_cpu_stall_timeout).",
            "[    0.0] watchdog: Delayed init of the lockup detector failed: -19",
            "[    0.0] Scanning 1 areas for low memory corruption",
            "[    0.0] Warning: Processor Platform Limit event detected, but not handled.",
            "BUG: the output of a program",
            "Call Trace:",
        ] {
            let log = format!("[    1.0] boot\n{line}\n");
            assert_eq!(first_complaint(&log, &[]), None);
        }
    }

    fn stopped_at(rip: &str) -> String {
        format!(
            "[    3.1] boot\n[    3.2] Oops: int3: 0000 [#1] PREEMPT SMP NOPTI\r\n\
             [    3.2] CPU: 1 UID: 0 PID: 70 Comm: x\n[    3.2] RIP: {rip}\r\n\
             [    3.2] Code: c3 cc cc 66 <90> c3 cc\n[    3.2] RIP: 0010:do_idle+0x5/0x10\n"
        )
    }

    #[test]
    fn a_breakpoint_in_the_kernels_text_may_be_a_stale_one() {
        assert!(is_stale_breakpoint(&stopped_at("0010:do_idle+0x5/0x10")));
        assert!(is_stale_breakpoint(&stopped_at(
            "0010:__x64_sys_read+0x5/0x10"
        )));
    }

    #[test]
    fn a_breakpoint_elsewhere_is_not_the_emulations() {
        for rip in [
            "0010:0x401136",
            "0010:0xffffc90000123456",
            "0033:0x401136",
            "0010:main+0x5/0x10 [ukl_code]",
        ] {
            assert!(!is_stale_breakpoint(&stopped_at(rip)), "{rip}");
        }
        assert!(!is_stale_breakpoint("[ 3.2] Oops: int3: 0000 [#1]\n"));
    }

    #[test]
    fn a_breakpoint_that_is_there_is_not_the_emulations() {
        let log = stopped_at("0010:do_idle+0x5/0x10");
        for code in ["c3 cc cc cc <90> c3 cc", "<90> c3", "Bad RIP value."] {
            let log = log.replace("c3 cc cc 66 <90> c3 cc", code);
            assert!(!is_stale_breakpoint(&log), "{code}");
        }
    }

    #[test]
    fn another_oops_in_front_is_not_the_emulations() {
        let log = format!(
            "[ 3.0] WARNING: CPU: 0\n{}",
            stopped_at("0010:do_idle+0x5/0x10")
        );
        assert!(!is_stale_breakpoint(&log));
    }

    #[test]
    fn the_first_program_at_ring_0_is_in_the_log() {
        let ready = "[    0.3] LoadPin: ready to pin (currently not enforcing)\n";
        let pinned = "[    1.5] LoadPin: kernel-module pinned obj=\"/ukl/x\" pid=45\r\n";
        assert!(!is_at_ring_0(ready));
        assert!(is_at_ring_0(&[ready, pinned].concat()));
    }

    #[test]
    fn a_log_is_parted_at_the_marks() {
        let log = "boot\n[ 1.0] battery: begin a\r\nfrom a\n[ 2.0] battery: begin b\nfrom b\n";
        assert_eq!(
            part_of(log, "a"),
            "boot\n[ 1.0] battery: begin a\r\nfrom a\n"
        );
        assert_eq!(part_of(log, "b"), "[ 2.0] battery: begin b\nfrom b\n");
        assert_eq!(part_of(log, "c"), "");
    }
}
