//! Notices when a tool that stands in for another one starts itself over and over, as a wrapper
//! script in PATH can make it do.

use std::env;

/// So often may a tool start itself, by way of wrappers that do as they should.
const LIMIT: u32 = 4;

/// The value for the environment variable `variable` of a command that is about to be started:
/// one more than here. `None` if the limit is reached, and the command leads back here.
pub fn next_depth(variable: &str) -> Option<String> {
    let depth = env::var(variable).ok();
    let depth: u32 = depth.and_then(|depth| depth.parse().ok()).unwrap_or(0);
    (depth < LIMIT).then(|| (depth + 1).to_string())
}
