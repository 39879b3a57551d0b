//! What happens while a machine runs.

use ukl_proto::status::Output;
use ukl_proto::status::Report;

/// Something that happens to a machine. Each thread sends its events to the main thread.
#[derive(Debug)]
pub enum Event {
    /// Init sent a report.
    Report(Report),
    /// All of an output has been passed on.
    Passed,
    /// The reader of this output has closed it.
    Unwanted(Output),
    /// ukl-run received a signal.
    Signal(i32),
    /// The user requested that the machine stops immediately.
    Stop,
    /// QEMU has ended.
    Gone,
}
