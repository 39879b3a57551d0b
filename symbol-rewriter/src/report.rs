//! Report: how many sites there were, what became of them, and why.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use crate::thunk::Thunk;

/// Why a rewritten site still has its `syscall`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum SkipReason {
    /// The number is not known.
    UnknownNumber,
    /// A call that comes back twice, or to another program.
    WholeFrame,
    /// A branch enters at the `syscall`, or may.
    Entered,
    /// Something knows the address behind the `syscall`, or a signal handler those around it.
    AddressTaken,
    /// A `munmap` that may free the stack.
    StackGone,
    /// The function changes the direction flag, or all flags.
    Direction,
}

impl fmt::Display for SkipReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            SkipReason::UnknownNumber => "the number is not known",
            SkipReason::WholeFrame => "the call comes back twice, or to another program",
            SkipReason::Entered => "a branch may enter at the syscall",
            SkipReason::AddressTaken => "something may look at the addresses around it",
            SkipReason::StackGone => "the call may free the stack",
            SkipReason::Direction => "the function changes flags that outlive it",
        })
    }
}

/// Why a site is still a plain `syscall`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Reason {
    /// `rt_sigreturn`: unwinders know the bytes of the site.
    SignalReturn,
    /// The arithmetic flags are, or may be, used behind the site.
    FlagsLive,
    /// The decoder cannot be sure that this is code.
    NotCode,
    /// Data in the red zone, and a call that comes back with another stack pointer.
    RedZone,
    /// No neighbour can be moved to make room for a jump.
    NoRoom,
    /// It follows a `munmap` that may have freed the stack.
    StackGone,
    /// It ends a thread, whose stack another one may have been told it can have.
    ThreadExit,
    /// Relocations on the site, or in a form that cannot be changed.
    Relocations,
    /// A signal handler compares addresses with those around the site.
    CancellationRange,
    /// The section's code goes on into the next section's.
    FallsOnward,
    /// The function jumps to computed addresses that no relocation shows.
    ComputedJump,
    /// The function has landing pads, which are found by the site's address.
    LandingPads,
    /// The frame description has something in it that cannot be moved.
    Frame,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Reason::SignalReturn => "rt_sigreturn, whose bytes unwinders look for",
            Reason::FlagsLive => "the flags may be used behind it",
            Reason::NotCode => "not certainly code",
            Reason::RedZone => "data in the red zone, and a call that changes the stack pointer",
            Reason::StackGone => "behind a munmap that may have freed the stack",
            Reason::ThreadExit => "the end of a thread, whose stack another one may have by now",
            Reason::Relocations => "relocations on it, or in a form that cannot be changed",
            Reason::CancellationRange => "a signal handler looks at the addresses around it",
            Reason::FallsOnward => "the code goes on into the next section",
            Reason::ComputedJump => "the function jumps to computed addresses",
            Reason::LandingPads => "the function has landing pads",
            Reason::Frame => "the frame description cannot be moved",
            Reason::NoRoom => "no neighbour can be moved to make room for a jump",
        })
    }
}

/// A site that is still a plain `syscall`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeftSite {
    /// `archive.a(member.o):.text+0x1c`.
    pub where_: String,
    /// Why.
    pub reason: Reason,
}

/// What became of the `hlt` instructions, which kill a program at ring 3 and would not at ring 0.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Privileged {
    /// How many there were.
    pub found: usize,
    /// Those that are the same fault at any ring now, where they stood.
    pub in_place: usize,
    /// The same, by a trampoline.
    pub trampoline: usize,
    /// Those that had no room, and are an illegal instruction now.
    pub one_byte: usize,
    /// Those left as they are, as they are not certainly code: named as in [`LeftSite`].
    pub left: Vec<String>,
}

/// Something about a file that its user should know.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Note {
    /// LLVM bitcode was copied: its names and its system calls are what they were.
    Bitcode(String),
    /// GCC's link-time bytecode is in the object: its names and system calls are what they were.
    GccBytecode(String),
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Note::Bitcode(place) => {
                write!(
                    f,
                    "{place}: LLVM bitcode, copied as it is; compile without -flto"
                )
            }
            Note::GccBytecode(place) => {
                write!(
                    f,
                    "{place}: GCC bytecode, copied as it is; compile without -flto"
                )
            }
        }
    }
}

/// What became of an input.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Report {
    /// ELF objects rewritten.
    pub objects: usize,
    /// Files, members of an archive mostly, that are no ELF objects and were copied.
    pub copied: usize,
    /// Symbols that got the prefix, each counted once in each object.
    pub renamed: usize,
    /// `syscall` instructions found.
    pub sites: usize,
    /// Sites rewritten in place.
    pub in_place: usize,
    /// Sites rewritten by a trampoline.
    pub trampoline: usize,
    /// Trampolines, of sites and of traps, without a frame description, as the code they came from has none.
    pub undescribed: usize,
    /// Sites of the call form, by the registers that preserved on behind them, as in [`Thunk::Call`].
    pub preserved: BTreeMap<u8, usize>,
    /// Rewritten sites of the other form, and why; only where the call form was asked for.
    pub skipped: BTreeMap<SkipReason, usize>,
    /// Sites left as they are.
    pub left: Vec<LeftSite>,
    /// What became of `hlt`.
    pub privileged: Privileged,
    /// The thunks that the output calls.
    pub thunks: BTreeSet<Thunk>,
    /// What else there is to know.
    pub notes: Vec<Note>,
}

impl Report {
    /// Adds the report on another part of the same input.
    pub fn add(&mut self, other: &Report) {
        self.objects += other.objects;
        self.copied += other.copied;
        self.renamed += other.renamed;
        self.sites += other.sites;
        self.in_place += other.in_place;
        self.trampoline += other.trampoline;
        self.undescribed += other.undescribed;
        for (&preserved, count) in &other.preserved {
            *self.preserved.entry(preserved).or_default() += count;
        }
        for (&reason, count) in &other.skipped {
            *self.skipped.entry(reason).or_default() += count;
        }
        self.left.extend_from_slice(&other.left);
        self.privileged.found += other.privileged.found;
        self.privileged.in_place += other.privileged.in_place;
        self.privileged.trampoline += other.privileged.trampoline;
        self.privileged.one_byte += other.privileged.one_byte;
        self.privileged
            .left
            .extend_from_slice(&other.privileged.left);
        self.thunks.extend(&other.thunks);
        self.notes.extend_from_slice(&other.notes);
    }
}

/// What has to be saved for these registers.
fn registers(preserved: u8) -> String {
    let names = ["rdi", "rsi", "rdx", "r10", "r8", "r9"];
    let preserved: Vec<&str> = (0..names.len())
        .filter(|bit| preserved & 1 << bit != 0)
        .map(|bit| names[bit])
        .collect();
    match preserved.len() {
        0 => "no register lives on".to_string(),
        _ => preserved.join(" "),
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "objects     {:6}", self.objects)?;
        writeln!(f, "copied      {:6}", self.copied)?;
        writeln!(f, "renamed     {:6}", self.renamed)?;
        if self.privileged.found > 0 {
            write!(f, "{}", self.privileged)?;
        }
        writeln!(f, "sites       {:6}", self.sites)?;
        writeln!(f, "in place    {:6}", self.in_place)?;
        writeln!(f, "trampoline  {:6}", self.trampoline)?;
        if self.undescribed > 0 {
            writeln!(
                f,
                "  {:4}  without a frame description, as there was none",
                self.undescribed
            )?;
        }
        if !(self.preserved.is_empty() && self.skipped.is_empty()) {
            writeln!(
                f,
                "call form   {:6}",
                self.preserved.values().sum::<usize>()
            )?;
            for (&preserved, count) in &self.preserved {
                writeln!(f, "  {count:4}  {preserved:02x}: {}", registers(preserved))?;
            }
            writeln!(f, "skip form   {:6}", self.skipped.values().sum::<usize>())?;
            for (reason, count) in &self.skipped {
                writeln!(f, "  {count:4}  {reason}")?;
            }
        }
        writeln!(f, "left        {:6}", self.left.len())?;
        let mut reasons: BTreeMap<Reason, Vec<&str>> = BTreeMap::new();
        for site in &self.left {
            reasons.entry(site.reason).or_default().push(&site.where_);
        }
        for (reason, places) in reasons {
            writeln!(f, "  {:4}  {reason}", places.len())?;
            for place in places {
                writeln!(f, "        {place}")?;
            }
        }
        for note in &self.notes {
            writeln!(f, "note: {note}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Privileged {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "hlt         {:6}", self.found)?;
        for (count, what) in [
            (self.in_place, "a fault at any ring, in place"),
            (self.trampoline, "a fault at any ring, by trampoline"),
            (self.one_byte, "an illegal instruction, for want of room"),
            (self.left.len(), "left, not certainly code"),
        ] {
            if count > 0 {
                writeln!(f, "  {count:4}  {what}")?;
            }
        }
        for place in &self.left {
            writeln!(f, "        {place}")?;
        }
        Ok(())
    }
}
