//! The report on an input: its sites, how they were rewritten, and why some were not.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use crate::thunk::Thunk;

/// Why a rewritten site keeps its `syscall`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum SkipReason {
    /// The number is unknown.
    UnknownNumber,
    /// The call returns twice, or does not return to this program.
    WholeFrame,
    /// A branch leads to the `syscall`, or may do so.
    Entered,
    /// A symbol, a relocation or a signal handler refers to an address next to the `syscall`.
    AddressTaken,
    /// A `munmap` that may free the stack.
    StackGone,
    /// The function changes the direction flag, or all flags.
    Direction,
}

impl fmt::Display for SkipReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            SkipReason::UnknownNumber => "the number is unknown",
            SkipReason::WholeFrame => "the call returns twice, or in another program",
            SkipReason::Entered => "a branch may enter at the syscall",
            SkipReason::AddressTaken => "other code may refer to the addresses around it",
            SkipReason::StackGone => "the call may free the stack",
            SkipReason::Direction => "the function changes the direction flag",
        })
    }
}

/// Why a site was not rewritten.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Reason {
    /// `rt_sigreturn`: unwinders recognise the bytes of the site.
    SignalReturn,
    /// The arithmetic flags are read after the site, or may be.
    FlagsLive,
    /// The bytes may not be code.
    NotCode,
    /// The function uses the red zone, and the call returns with another stack pointer.
    RedZone,
    /// No neighbour can move to make room for a jump.
    NoRoom,
    /// It follows a `munmap` that may have freed the stack.
    StackGone,
    /// It ends a thread, whose stack may already belong to another thread.
    ThreadExit,
    /// The site has relocations, or the section's have a form that cannot be changed.
    Relocations,
    /// A signal handler compares addresses with those of the code around the site.
    CancellationRange,
    /// The section falls through to the next one.
    FallsOnward,
    /// The function jumps to computed addresses that no relocation names.
    ComputedJump,
    /// The function has landing pads, which are looked up by the site's address.
    LandingPads,
    /// The frame description contains something that cannot be moved.
    Frame,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Reason::SignalReturn => "rt_sigreturn, whose bytes unwinders recognise",
            Reason::FlagsLive => "the flags may be read after it",
            Reason::NotCode => "it may not be code",
            Reason::RedZone => "the red zone is in use, and the call changes the stack pointer",
            Reason::StackGone => "it follows a munmap that may have freed the stack",
            Reason::ThreadExit => {
                "the end of a thread, whose stack may already belong to another one"
            }
            Reason::Relocations => "it has relocations, or the section's cannot be changed",
            Reason::CancellationRange => "a signal handler compares the addresses around it",
            Reason::FallsOnward => "the section falls through to the next one",
            Reason::ComputedJump => "the function jumps to computed addresses",
            Reason::LandingPads => "the function has landing pads",
            Reason::Frame => "the frame description cannot be moved",
            Reason::NoRoom => "no neighbour can move to make room for a jump",
        })
    }
}

/// A site that was not rewritten.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeftSite {
    /// `archive.a(member.o):.text+0x1c`.
    pub where_: String,
    /// The reason.
    pub reason: Reason,
}

/// The instructions that fault at ring 3 but not at ring 0 (`hlt`), and how they were replaced.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Privileged {
    /// Their number.
    pub found: usize,
    /// Those that were replaced in place by the same fault at any ring.
    pub in_place: usize,
    /// Those that were replaced by the same fault in a trampoline.
    pub trampoline: usize,
    /// Those that were replaced by an undefined instruction, because there was no room.
    pub one_byte: usize,
    /// Those that were not replaced, because they may not be code. They are named as in
    /// [`LeftSite`].
    pub left: Vec<String>,
}

/// Something that the user of a file should know.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Note {
    /// The file is LLVM bitcode and was copied, with its names and its system calls.
    Bitcode(String),
    /// The object contains GCC's link-time bytecode, whose names and system calls did not change.
    GccBytecode(String),
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Note::Bitcode(place) => {
                write!(
                    f,
                    "{place}: LLVM bitcode is copied unchanged; compile without -flto"
                )
            }
            Note::GccBytecode(place) => {
                write!(
                    f,
                    "{place}: GCC bytecode is copied unchanged; compile without -flto"
                )
            }
        }
    }
}

/// The report on an input.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Report {
    /// Rewritten ELF objects.
    pub objects: usize,
    /// Files other than ELF objects that were copied, mostly members of archives.
    pub copied: usize,
    /// Symbols that got the prefix, counted once in each object.
    pub renamed: usize,
    /// `syscall` instructions.
    pub sites: usize,
    /// Sites rewritten in place.
    pub in_place: usize,
    /// Sites rewritten by a trampoline.
    pub trampoline: usize,
    /// Trampolines without a frame description, because the code they came from has none.
    pub undescribed: usize,
    /// Sites in call form, by the preserved argument registers, as in [`Thunk::Call`].
    pub preserved: BTreeMap<u8, usize>,
    /// Sites in skip form, by the reason. Empty if the call form was not requested.
    pub skipped: BTreeMap<SkipReason, usize>,
    /// Sites that were not rewritten.
    pub left: Vec<LeftSite>,
    /// The report on privileged instructions.
    pub privileged: Privileged,
    /// The thunks that the output calls.
    pub thunks: BTreeSet<Thunk>,
    /// Notes for the user.
    pub notes: Vec<Note>,
}

impl Report {
    /// Adds the report on another part of the input.
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

/// The names of the preserved registers.
fn registers(preserved: u8) -> String {
    let names = ["rdi", "rsi", "rdx", "r10", "r8", "r9"];
    let preserved: Vec<&str> = (0..names.len())
        .filter(|bit| preserved & 1 << bit != 0)
        .map(|bit| names[bit])
        .collect();
    match preserved.len() {
        0 => "no register".to_string(),
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
                "  {:4}  without a frame description, because the code has none",
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
        writeln!(f, "privileged  {:6}", self.found)?;
        for (count, what) in [
            (self.in_place, "a fault at any ring, in place"),
            (self.trampoline, "a fault at any ring, by trampoline"),
            (self.one_byte, "an undefined instruction, for lack of room"),
            (self.left.len(), "left: they may not be code"),
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
