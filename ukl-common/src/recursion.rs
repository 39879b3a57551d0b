//! Detects endless recursion: a wrapper script in PATH can make ukl-ld or ukl-cc start itself again
//! and again.

use std::env;

/// How often a tool may start itself through wrappers before this counts as endless recursion.
const LIMIT: u32 = 4;

/// The value of the environment variable `variable` for a command that is about to be started: the
/// depth of this process plus one. `None` if that exceeds the limit.
pub fn next_depth(variable: &str) -> Option<String> {
    let depth = env::var(variable).ok();
    let depth: u32 = depth.and_then(|depth| depth.parse().ok()).unwrap_or(0);
    (depth < LIMIT).then(|| (depth + 1).to_string())
}
