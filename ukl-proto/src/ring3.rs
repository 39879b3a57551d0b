//! The ring-3 variant of a program.
//!
//! A ring-0 program differs from an ordinary one in two respects: the mark in its ELF header, and
//! its thunks, through which its system calls enter the kernel. The code that a thunk executes at
//! ring 3 is elsewhere in the same thunk. To make the ring-3 variant, it is copied to the thunk's
//! entry.
//!
//! A dynamic program at ring 0 may also name an interpreter of its own, whose system calls have been
//! rewritten. The ring-3 variant names the ordinary one again.

use std::ops::Range;

/// The offset of `e_flags` in a 64-bit ELF header (elf(5)).
pub const E_FLAGS: usize = 48;

/// The value of `e_flags` that marks a ring-0 program: UKL_EF of `asm/ukl.h`, "UKL0".
pub const RING0_MARK: u32 = 0x554b_4c30;

/// How many bytes of a thunk differ at ring 3.
pub const PATCH_SIZE: usize = 8;

/// glibc's interpreter: the path in `PT_INTERP` of an ordinary program, and the one at ring 0, which
/// is not longer.
pub const GLIBC: (&str, &str) = ("/lib64/ld-linux-x86-64.so.2", "/usr/lib/ukl/ld-linux.so.2");

/// The same for musl, whose interpreter is its C library.
pub const MUSL: (&str, &str) = ("/lib/ld-musl-x86_64.so.1", "/usr/lib/ukl/ld-musl.so");

/// The interpreters of dynamic programs.
pub const INTERPRETERS: [(&str, &str); 2] = [GLIBC, MUSL];

/// Consecutive thunks in a program's file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ThunkTable {
    /// The offset of the first thunk in the file.
    pub offset: u64,
    /// The number of thunks.
    pub count: u64,
    /// The distance from one thunk to the next.
    pub stride: u64,
    /// The offset, in a thunk, of the bytes for ring 3.
    pub ring3: u64,
    /// The offset, in a thunk, of its entry.
    pub entry: u64,
}

/// The thunks are not inside the program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outside;

impl ThunkTable {
    /// Reads `OFFSET,COUNT,STRIDE,RING3,ENTRY`.
    pub fn parse(text: &str) -> Option<Self> {
        let mut numbers = text.split(',').map(|part| part.parse().ok());
        let mut next = || numbers.next().flatten();
        let table = ThunkTable {
            offset: next()?,
            count: next()?,
            stride: next()?,
            ring3: next()?,
            entry: next()?,
        };
        numbers.next().is_none().then_some(table)
    }

    /// Writes the bytes for ring 3 to the entry of each thunk.
    pub fn patch(&self, program: &mut [u8]) -> Result<(), Outside> {
        let number = |number: u64| usize::try_from(number).map_err(|_| Outside);
        let (stride, ring3, entry) = (
            number(self.stride)?,
            number(self.ring3)?,
            number(self.entry)?,
        );
        // Thunks of no length would be inside the program, however many there are.
        if stride == 0 && self.count > 0 {
            return Err(Outside);
        }
        let mut at = number(self.offset)?;
        for _ in 0..self.count {
            let end = at.checked_add(stride).ok_or(Outside)?;
            let thunk = program.get_mut(at..end).ok_or(Outside)?;
            let bytes: [u8; PATCH_SIZE] = *thunk
                .get(ring3..)
                .and_then(|rest| rest.first_chunk())
                .ok_or(Outside)?;
            *thunk
                .get_mut(entry..)
                .and_then(|rest| rest.first_chunk_mut())
                .ok_or(Outside)? = bytes;
            at = end;
        }
        Ok(())
    }
}

impl std::fmt::Display for ThunkTable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let ThunkTable {
            offset,
            count,
            stride,
            ring3,
            entry,
        } = self;
        write!(f, "{offset},{count},{stride},{ring3},{entry}")
    }
}

/// Whether these are the first bytes of a program that is marked for ring 0.
pub fn is_marked(header: &[u8]) -> bool {
    header.starts_with(b"\x7fELF\x02")
        && header.get(E_FLAGS..E_FLAGS + 4) == Some(&RING0_MARK.to_le_bytes()[..])
}

/// Turns a program into its ring-3 variant: removes the mark and patches the thunks.
pub fn make_ordinary(program: &mut [u8], tables: &[ThunkTable]) -> Result<(), Outside> {
    if program.starts_with(b"\x7fELF\x02") {
        program
            .get_mut(E_FLAGS..E_FLAGS + 4)
            .ok_or(Outside)?
            .fill(0);
        replace_interpreter(
            program,
            INTERPRETERS.map(|(ordinary, ring0)| (ring0, ordinary)),
        );
    }
    tables.iter().try_for_each(|table| table.patch(program))
}

/// Makes a program name the interpreter of ring 0. Returns whether it named one of
/// [`INTERPRETERS`].
pub fn use_ring0_interpreter(program: &mut [u8]) -> bool {
    replace_interpreter(program, INTERPRETERS)
}

fn replace_interpreter(program: &mut [u8], names: [(&str, &str); INTERPRETERS.len()]) -> bool {
    let Some(field) = interpreter(program).and_then(|range| program.get_mut(range)) else {
        return false;
    };
    let end = field.iter().position(|&byte| byte == 0);
    let old = &field[..end.unwrap_or(field.len())];
    let found = names.iter().find(|(from, _)| from.as_bytes() == old);
    match found {
        Some((_, to)) if to.len() < field.len() => {
            field.fill(0);
            field[..to.len()].copy_from_slice(to.as_bytes());
            true
        }
        _ => false,
    }
}

/// The range of a 64-bit ELF file that has the name of its interpreter (elf(5), `Elf64_Phdr`).
/// A malformed file may place it outside.
pub fn interpreter(program: &[u8]) -> Option<Range<usize>> {
    const PT_INTERP: u32 = 3;
    let number = |at: usize| {
        let bytes = program.get(at..)?.first_chunk()?;
        usize::try_from(u64::from_le_bytes(*bytes)).ok()
    };
    let half = |at: usize| Some(u16::from_le_bytes(*program.get(at..)?.first_chunk()?).into());
    let (table, size, count): (usize, usize, usize) = (number(32)?, half(54)?, half(56)?);
    for index in 0..count {
        let header = table.checked_add(index.checked_mul(size)?)?;
        let kind = program.get(header..)?.first_chunk()?;
        if u32::from_le_bytes(*kind) == PT_INTERP {
            let start = number(header.checked_add(8)?)?;
            return Some(start..start.checked_add(number(header.checked_add(32)?)?)?);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_interpreter_of_ring_0_is_replaced_and_restored() {
        let original = std::fs::read("/proc/self/exe").unwrap();
        let mut program = original.clone();
        assert!(use_ring0_interpreter(&mut program));
        let name = |program: &[u8]| program[interpreter(program).unwrap()].to_vec();
        assert!(name(&program).starts_with(INTERPRETERS[0].1.as_bytes()));
        assert_eq!(name(&program).last(), Some(&0));
        assert!(!use_ring0_interpreter(&mut program));
        make_ordinary(&mut program, &[]).unwrap();
        assert_eq!(program, original);
        for (ordinary, ring0) in INTERPRETERS {
            assert!(ring0.len() <= ordinary.len());
        }
    }

    #[test]
    fn a_malformed_program_has_no_interpreter() {
        let program = std::fs::read("/proc/self/exe").unwrap();
        for length in [0, 40, 63, 70, 130] {
            assert_eq!(interpreter(&program[..length]), None);
        }
        let mut wrong = program.clone();
        wrong[32..40].fill(0xff);
        assert_eq!(interpreter(&wrong), None);
    }

    #[test]
    fn the_bytes_for_ring_3_are_copied_to_the_entry() {
        let mut program = b"\x7fELF\x02".to_vec();
        program.resize(256, 0x90);
        program[E_FLAGS..E_FLAGS + 4].copy_from_slice(&RING0_MARK.to_le_bytes());
        assert!(is_marked(&program));
        let table = ThunkTable {
            offset: 128,
            count: 2,
            stride: 64,
            ring3: 32,
            entry: 8,
        };
        for at in [128, 192] {
            program[at + 32..at + 40].copy_from_slice(&[1, 2, 3, 4, 5, 6, 7, 8]);
        }
        make_ordinary(&mut program, &[table]).unwrap();
        assert!(!is_marked(&program));
        assert_eq!(program[E_FLAGS..E_FLAGS + 4], [0; 4]);
        for at in [128, 192] {
            let entered = &program[at + 7..at + 17];
            assert_eq!(entered, [0x90, 1, 2, 3, 4, 5, 6, 7, 8, 0x90]);
        }
    }

    #[test]
    fn thunks_outside_of_the_program_are_an_error() {
        let mut program = vec![0; 64];
        let inside = ThunkTable {
            offset: 0,
            count: 2,
            stride: 32,
            ring3: 0,
            entry: 8,
        };
        assert_eq!(make_ordinary(&mut program, &[inside]), Ok(()));
        for (offset, count, ring3, entry) in [
            (64, 1, 0, 8),
            (0, 3, 0, 8),
            (u64::MAX, 1, 0, 8),
            (0, u64::MAX, 0, 8),
            (0, 1, 25, 8),
            (0, 1, 0, u64::MAX),
        ] {
            let outside = ThunkTable {
                offset,
                count,
                ring3,
                entry,
                ..inside
            };
            let patched = make_ordinary(&mut program, &[outside]);
            assert_eq!(patched, Err(Outside), "{outside:?}");
        }
        let flat = ThunkTable {
            stride: 0,
            count: u64::MAX,
            ..inside
        };
        assert_eq!(make_ordinary(&mut program, &[flat]), Err(Outside));
    }
}
