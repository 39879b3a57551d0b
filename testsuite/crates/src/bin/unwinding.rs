//! Panics that unwind, and a backtrace that names who was on the way. Ends with an uncaught one.

use std::backtrace::Backtrace;

/// Says when it is dropped.
struct Guard(&'static str);

impl Drop for Guard {
    fn drop(&mut self) {
        println!("drops {}", self.0);
    }
}

#[inline(never)]
fn innermost(list: &[u32]) -> u32 {
    let _guard = Guard("innermost");
    list[std::hint::black_box(7)]
}

#[inline(never)]
fn between(list: &[u32]) -> u32 {
    let _guard = Guard("between");
    innermost(list) + 1
}

fn main() {
    let trace = |info: &std::panic::PanicHookInfo| {
        println!("{info}");
        let trace = Backtrace::force_capture().to_string();
        for line in trace.lines().filter(|line| line.contains("unwinding::")) {
            println!("{}", line.rsplit(' ').next().unwrap());
        }
    };
    std::panic::set_hook(Box::new(trace));
    println!("{}", std::panic::catch_unwind(|| between(&[])).is_err());
    println!("{}", std::thread::spawn(|| between(&[1])).join().is_err());
    let _guard = Guard("main");
    between(&[2]);
}
