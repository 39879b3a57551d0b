//! Rayon: as many threads as there are processors, each of them in use.

use std::collections::BTreeSet;
use std::time::Duration;
use std::time::Instant;

use rayon::prelude::*;

/// The processors on which the pool's threads find themselves when all are busy.
fn processors() -> BTreeSet<i32> {
    let until = Instant::now() + Duration::from_millis(200);
    let seen = rayon::broadcast(|_| {
        let mut seen = BTreeSet::new();
        while Instant::now() < until {
            seen.insert(unsafe { libc::sched_getcpu() });
        }
        seen
    });
    seen.into_iter().flatten().collect()
}

fn main() {
    let threads = rayon::current_num_threads();
    let start = Instant::now();
    let mut all = processors();
    while all.len() < threads && start.elapsed() < Duration::from_secs(30) {
        all.extend(processors());
    }
    println!("{threads} threads on {} processors", all.len());
    let mut numbers: Vec<u64> = (0..200_000u64)
        .map(|i| i.wrapping_mul(0x9e37_79b9_7f4a_7c15))
        .collect();
    numbers.par_sort();
    assert!(numbers.windows(2).all(|two| two[0] <= two[1]));
    println!("{}", numbers.par_iter().map(|x| x >> 40).sum::<u64>());
    std::panic::set_hook(Box::new(|_| {}));
    let panicked = std::panic::catch_unwind(|| {
        (0..100).into_par_iter().for_each(|i| assert_ne!(i, 50));
    });
    println!("{}", panicked.is_err());
}
