//! Unwind information: frame descriptions for code that has moved.
//!
//! The code of a trampoline is a part of a function at another address. So its description replays
//! the function's description: first every call frame instruction up to the original address, then
//! the rest as the moved code reaches them. It is a copy, so it cannot differ from the compiler's
//! description.

use gimli::{BaseAddresses, EhFrame, LittleEndian, UnwindSection as _};

use crate::error::Result;
use crate::read::elf::{Object, Reloc, STB_LOCAL};
use crate::read::frames::{Cfa, Frame};
use crate::write::emit::{AddedFrame, Plan};

const DW_CFA_ADVANCE_LOC: u8 = 0x40;
const DW_CFA_OFFSET: u8 = 0x80;
const DW_CFA_RESTORE: u8 = 0xc0;
const DW_CFA_NOP: u8 = 0;
const DW_CFA_DEF_CFA_OFFSET: u8 = 0x0e;

/// A frame description, split into its call frame instructions.
pub(crate) struct Script {
    /// The call frame instructions with the addresses at which they take effect. Those that advance
    /// the address are left out.
    steps: Vec<(u64, Vec<u8>)>,
    /// The width of the fields for address and length.
    width: usize,
    /// The size of the augmentation data, if the entry has any.
    augmentation: Option<usize>,
}

/// A part of a trampoline, and the address in the function that has the same frame.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Moved {
    /// The address in the function.
    pub from: u64,
    /// The offset of the part in the trampoline.
    pub at: u64,
    /// The distance of the stack pointer below the function's.
    pub lowered: i64,
}

impl Script {
    /// Reads a description. `None` if it contains something that cannot be moved.
    pub fn read(object: &Object<'_>, frame: &Frame) -> Result<Option<Script>> {
        let content = object.content(frame.section);
        let address = object.sections[frame.section].addr;
        let mut section = EhFrame::new(content, LittleEndian);
        section.set_address_size(8);
        let bases = BaseAddresses::default()
            .set_eh_frame(address)
            .set_text(0)
            .set_got(0);
        let Ok(fde) =
            section.fde_from_offset(&bases, frame.offset.into(), EhFrame::cie_from_offset)
        else {
            return Ok(None);
        };
        let encoding = fde
            .cie()
            .fde_address_encoding()
            .map_or(0, |encoding| encoding.0);
        let width = match encoding & 0x0f {
            0x03 | 0x0b => 4,
            0x00 | 0x04 | 0x0c => 8,
            _ => return Ok(None),
        };
        let can_be_added = match frame.reloc {
            Some(reloc) => {
                content.len().is_multiple_of(4)
                    && ends_with_entry(content)
                    && object.symbol(reloc.symbol as usize)?.bind == STB_LOCAL
                    && object.relocs_for(frame.section)?.is_some()
            }
            None => object.image.is_some(),
        };
        let movable = can_be_added && fde.cie().code_alignment_factor() == 1;
        if !movable {
            return Ok(None);
        }
        let end = frame.offset + 4 + fde.entry_len();
        let mut bytes = Bytes {
            data: content,
            at: frame.offset + 8 + 2 * width,
            end,
        };
        let mut augmentation = None;
        if fde.cie().augmentation().is_some() {
            let Some(size) = bytes.uleb() else {
                return Ok(None);
            };
            if bytes.skip(size as usize).is_none() {
                return Ok(None);
            }
            augmentation = Some(size as usize);
        }
        Ok(read_steps(&mut bytes, frame.start).map(|steps| Script {
            steps,
            width,
            augmentation,
        }))
    }

    /// Whether the description changes at an address within a range.
    pub fn changes_in(&self, range: std::ops::Range<u64>) -> bool {
        self.steps.iter().any(|(at, _)| range.contains(at))
    }

    /// Adds the description of a trampoline to the plan.
    ///
    /// The trampoline begins at address `start` of the section that the frame is for, and is `len`
    /// bytes long. `parts` are in its order. `cfa` is the frame's address in the parts that run with a
    /// lowered stack pointer.
    pub fn describe(
        &self,
        object: &Object<'_>,
        plan: &mut Plan,
        frame: &Frame,
        (start, len): (u64, u64),
        parts: &[Moved],
        cfa: Option<Cfa>,
    ) -> Result<()> {
        let mut script = Vec::new();
        let mut steps = self.steps.iter().peekable();
        let mut at = 0;
        let mut lowered = 0;
        for part in parts {
            let mut due = Vec::new();
            while let Some((_, step)) = steps.next_if(|(addr, _)| *addr <= part.from) {
                due.extend_from_slice(step);
            }
            if part.lowered != lowered {
                lowered = part.lowered;
                if let Some(Cfa::StackPointer(offset)) = cfa {
                    due.push(DW_CFA_DEF_CFA_OFFSET);
                    uleb(&mut due, offset.wrapping_add(lowered) as u64);
                }
            }
            if !due.is_empty() {
                advance(&mut script, part.at - at);
                at = part.at;
                script.extend_from_slice(&due);
            }
        }

        if let Some(added) = &mut plan.added {
            added.frames.push(AddedFrame {
                start,
                len,
                cie: frame.cie,
                script,
            });
            return Ok(());
        }
        let Some(reloc) = frame.reloc else {
            return Ok(());
        };
        let content = plan.content(object, frame.section);
        let offset = content.len();
        let mut entry = vec![0; 4];
        entry.extend_from_slice(&((offset + 4 - frame.cie) as u32).to_le_bytes());
        entry.extend_from_slice(&[0; 8][..self.width]);
        entry.extend_from_slice(&len.to_le_bytes()[..self.width]);
        if let Some(size) = self.augmentation {
            uleb(&mut entry, size as u64);
            entry.resize(entry.len() + size, 0);
        }
        entry.extend_from_slice(&script);
        entry.resize(entry.len().next_multiple_of(8), DW_CFA_NOP);
        let size = (entry.len() - 4) as u32;
        entry[..4].copy_from_slice(&size.to_le_bytes());
        content.extend_from_slice(&entry);

        let relocs = match plan.relocs.entry(frame.section) {
            std::collections::btree_map::Entry::Occupied(entry) => entry.into_mut(),
            std::collections::btree_map::Entry::Vacant(entry) => {
                entry.insert(object.relocs_for(frame.section)?.unwrap_or_default())
            }
        };
        relocs.push(Reloc {
            offset: offset as u64 + 8,
            addend: reloc
                .addend
                .wrapping_add(start.wrapping_sub(frame.start) as i64),
            ..reloc
        });
        Ok(())
    }
}

/// Whether an `.eh_frame` ends with an entry, not with a terminator.
fn ends_with_entry(content: &[u8]) -> bool {
    let mut at = 0;
    while let Some(length) = content.get(at..at + 4) {
        let length = u32::from_le_bytes([length[0], length[1], length[2], length[3]]);
        if length == 0 || length == u32::MAX {
            return false;
        }
        at += 4 + length as usize;
        if at > content.len() {
            return false;
        }
    }
    at == content.len()
}

fn advance(script: &mut Vec<u8>, by: u64) {
    match by {
        0 => {}
        1..0x40 => script.push(DW_CFA_ADVANCE_LOC | by as u8),
        0x40..0x100 => script.extend_from_slice(&[2, by as u8]),
        0x100..0x1_0000 => {
            script.push(3);
            script.extend_from_slice(&(by as u16).to_le_bytes());
        }
        _ => {
            script.push(4);
            script.extend_from_slice(&(by as u32).to_le_bytes());
        }
    }
}

fn uleb(out: &mut Vec<u8>, mut value: u64) {
    loop {
        let byte = (value & 0x7f) as u8;
        value >>= 7;
        if value == 0 {
            out.push(byte);
            return;
        }
        out.push(byte | 0x80);
    }
}

struct Bytes<'d> {
    data: &'d [u8],
    at: usize,
    end: usize,
}

impl Bytes<'_> {
    fn skip(&mut self, count: usize) -> Option<()> {
        self.at = self.at.checked_add(count).filter(|&at| at <= self.end)?;
        Some(())
    }

    fn number(&mut self, width: usize) -> Option<u64> {
        let from = self.at;
        self.skip(width)?;
        let mut bytes = [0; 8];
        bytes[..width].copy_from_slice(&self.data[from..from + width]);
        Some(u64::from_le_bytes(bytes))
    }

    /// An unsigned LEB128 number. A signed one is skipped correctly.
    fn uleb(&mut self) -> Option<u64> {
        let mut value = 0u64;
        let mut shift = 0;
        loop {
            let byte = self.number(1)?;
            value |= (byte & 0x7f).checked_shl(shift).unwrap_or(0);
            shift += 7;
            if byte & 0x80 == 0 {
                return Some(value);
            }
        }
    }
}

/// Splits the call frame instructions of a description. `None` if one is unknown.
fn read_steps(bytes: &mut Bytes<'_>, start: u64) -> Option<Vec<(u64, Vec<u8>)>> {
    let mut steps = Vec::new();
    let mut addr = start;
    while bytes.at < bytes.end {
        let from = bytes.at;
        let op = bytes.number(1)? as u8;
        match op & 0xc0 {
            DW_CFA_ADVANCE_LOC => {
                addr = addr.wrapping_add(u64::from(op & 0x3f));
                continue;
            }
            DW_CFA_OFFSET => {
                bytes.uleb()?;
            }
            DW_CFA_RESTORE => {}
            _ => match op {
                DW_CFA_NOP => continue,
                // advance_loc1, 2, 4
                0x02..=0x04 => {
                    addr = addr.wrapping_add(bytes.number(1 << (op - 2))?);
                    continue;
                }
                // restore_extended, undefined, same_value, def_cfa_register, def_cfa_offset,
                // def_cfa_offset_sf, GNU_args_size
                0x06..=0x08 | 0x0d | 0x0e | 0x13 | 0x2e => {
                    bytes.uleb()?;
                }
                // offset_extended, register, def_cfa, offset_extended_sf, def_cfa_sf, val_offset,
                // val_offset_sf, GNU_negative_offset_extended
                0x05 | 0x09 | 0x0c | 0x11 | 0x12 | 0x14 | 0x15 | 0x2f => {
                    bytes.uleb()?;
                    bytes.uleb()?;
                }
                // remember_state, restore_state
                0x0a | 0x0b => {}
                // def_cfa_expression
                0x0f => {
                    let size = bytes.uleb()?;
                    bytes.skip(size as usize)?;
                }
                // expression, val_expression
                0x10 | 0x16 => {
                    bytes.uleb()?;
                    let size = bytes.uleb()?;
                    bytes.skip(size as usize)?;
                }
                _ => return None,
            },
        }
        steps.push((addr, bytes.data[from..bytes.at].to_vec()));
    }
    Some(steps)
}
