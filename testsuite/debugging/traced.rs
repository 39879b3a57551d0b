//! The program that gdb inspects from outside the machine, in Rust. A comment marks the lines at which it stops.

use std::io::Write as _;

struct Point {
    x: i64,
    y: i64,
}

#[inline(never)]
fn add(left: i64, right: i64) -> i64 {
    let sum = left + right;
    sum // mark: sum
}

#[inline(never)]
fn report(point: &Point, what: &str) {
    let total = add(point.x, point.y);
    let line = format!("{what} is {total}\n");
    std::io::stdout().write_all(line.as_bytes()).unwrap(); // mark: write
}

fn main() {
    let here = Point { x: 40, y: 2 };
    report(&here, "the sum"); // mark: report
    if let Some(index) = std::env::args().nth(1) {
        let index: usize = index.parse().unwrap();
        println!("{}", [1, 2, 3][index]); // mark: panic
    }
    std::process::exit(add(here.x, here.y) as i32);
}
