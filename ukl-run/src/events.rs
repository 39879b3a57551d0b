//! What happens while a machine runs.

use ukl_proto::status::Output;
use ukl_proto::status::Report;

/// Something that happens to a machine. Every thread sends its own to the one that waits.
#[derive(Debug)]
pub enum Event {
    /// Init sent a report.
    Report(Report),
    /// All of an output has been passed on.
    Passed,
    /// Nobody reads this output any more.
    Unwanted(Output),
    /// We got a signal.
    Signal(i32),
    /// The user insists that the machine stops at once.
    Stop,
    /// QEMU has ended.
    Gone,
}
