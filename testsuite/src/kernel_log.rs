//! What a healthy kernel never says. The tests of `ukl-run` have this file, too.

/// Texts that mean a broken kernel, wherever they stand in a line.
const SICK: &[&str] = &[
    "BUG:",
    "Oops",
    "WARNING:",
    "Call Trace:",
    "general protection",
    "double fault",
    "detected stall",
    "self-detected stall",
    "kthread starved",
    "soft lockup",
    "hard LOCKUP",
    "scheduling while atomic",
    "sleeping function called",
    "Kernel panic",
    "kernel BUG at",
    "Unable to handle kernel",
    "bad page",
    "Bad page",
    "Bad rss-counter",
    "blocked for more than",
    "corrupted",
    "corruption",
    "unchecked MSR access",
    "stack guard page was hit",
    "PANIC:",
    "UBSAN:",
    "ODEBUG:",
    "non-static key",
    "turning off the locking correctness validator",
    "[#1]",
];

/// A kernel that runs out of memory, as some tests have it do, reports what asked for more, with a
/// call trace a few lines below.
const MEMORY: &[&str] = &["invoked oom-killer:", "page allocation failure:"];

/// How far below at most: other processors may log meanwhile.
const BELOW: usize = 20;

/// The first line that a healthy kernel would not have written.
pub fn first_complaint<'a>(log: &'a str, also: &[String]) -> Option<&'a str> {
    let mut excused = 0..0;
    log.lines().enumerate().find_map(|(number, line)| {
        let text = message(line);
        if MEMORY.iter().any(|report| text.contains(report)) {
            excused = number..number + BELOW;
        }
        let is_reported = text == "Call Trace:" && excused.contains(&number);
        let is_excused = is_of_a_program(text) || is_reported;
        let is_sick = !is_excused && SICK.iter().any(|bad| line.contains(bad));
        (is_sick || also.iter().any(|bad| line.contains(bad.as_str()))).then_some(line)
    })
}

/// The report of a fault in an ordinary program, which a test may well provoke:
/// `traps: NAME[PID] general protection fault ip:... sp:... error:0 in ...`.
fn is_of_a_program(text: &str) -> bool {
    text.starts_with("traps: ") && text.contains(" ip:")
}

/// Whether this is the log of a machine whose program runs at ring 0. Who asks for that is taken by
/// the kernel for somebody who loads a module, and the first time that happens, LoadPin tells which
/// file it was.
pub fn is_at_ring_0(log: &str) -> bool {
    log.lines()
        .any(|line| message(line).starts_with("LoadPin: kernel-module pinned obj=\"/ukl/"))
}

/// Whether the log ends in a fault of QEMU's emulation: the kernel is stopped by a breakpoint that
/// it had long taken out of its own code. The emulation of several CPUs may keep what it has
/// translated from a byte that another CPU is changing; unpatched kernels die of it as well, and
/// one emulated by a single thread never does. On real processors such an end would be a bug of
/// ours, and so would a breakpoint anywhere but in the kernel's own text.
pub fn is_emulation_fault(log: &str) -> bool {
    is_stale_breakpoint(log) && is_emulated()
}

fn is_stale_breakpoint(log: &str) -> bool {
    let first = first_complaint(log, &[]).map(message);
    first.is_some_and(|line| line.starts_with("Oops: int3: 0000"))
        && place_of_oops(log).is_some_and(is_kernel_text)
}

/// Where the first thing that a kernel complained about happened, by its own word: what stands behind
/// `RIP: `.
pub fn place_of_oops(log: &str) -> Option<&str> {
    let complaint = first_complaint(log, &[])?;
    let mut lines = log.lines().skip_while(|line| *line != complaint);
    lines.find_map(|line| message(line).strip_prefix("RIP: "))
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

/// A line without the time in front.
pub fn message(line: &str) -> &str {
    let line = line.trim_end_matches('\r');
    match line
        .strip_prefix('[')
        .and_then(|rest| rest.split_once("] "))
    {
        Some((time, rest)) if time.trim_start().starts_with(|c: char| c.is_ascii_digit()) => rest,
        _ => line,
    }
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
        let later = [report, &"[ 6.0] x\n".repeat(BELOW), trace].concat();
        assert!(first_complaint(&later, &[]).is_some());
        let sick = [report, "[ 5.0] BUG: x\n"].concat();
        assert!(first_complaint(&sick, &[]).is_some());
    }

    #[test]
    fn stalls_and_lockups_are_complaints() {
        for line in [
            "rcu: INFO: rcu_preempt detected stalls on CPUs/tasks:",
            "rcu: INFO: rcu_sched self-detected stall on CPU",
            "rcu: rcu_preempt kthread starved for 5250 jiffies! g1",
            "watchdog: BUG: soft lockup - CPU#0 stuck for 22s! [x:70]",
            "watchdog: CPU0: Watchdog detected hard LOCKUP on cpu 1",
            "INFO: task x:70 blocked for more than 120 seconds.",
            "INFO: trying to register non-static key.",
            " Call Trace:",
        ] {
            assert!(first_complaint(line, &[]).is_some(), "{line}");
        }
    }

    fn stopped_at(rip: &str) -> String {
        format!(
            "[    3.1] boot\n[    3.2] Oops: int3: 0000 [#1] PREEMPT SMP NOPTI\r\n\
             [    3.2] CPU: 1 UID: 0 PID: 70 Comm: x\n[    3.2] RIP: {rip}\r\n\
             [    3.2] Code: cc\n[    3.2] RIP: 0010:do_idle+0x5/0x10\n"
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
