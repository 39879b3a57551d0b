//! Adds the guest's files to the kernel: appends a loadable segment, and sets the kernel's
//! variables with its address and size.

use std::path::Path;
use std::path::PathBuf;

use object::LittleEndian as LE;
use object::elf;
use object::read::elf::FileHeader as _;
use object::read::elf::Sym as _;

use crate::ImageError;
use crate::elf::Segment;
use crate::elf::segments;

/// The kernel maps itself with 2 MiB pages, and its decompressor requires that alignment.
const SEGMENT_ALIGN: u64 = 2 << 20;
/// The size of the kernel's mapping of itself. The decompressor rejects a larger kernel.
const KERNEL_IMAGE_SIZE: u64 = 512 << 20;
const PHDR_SIZE: usize = 56;

/// A kernel with the guest's files, ready to be compressed.
#[derive(Debug)]
pub struct Payload {
    /// The ELF file.
    pub elf: Vec<u8>,
    /// The size in memory, from the kernel's load address to the end of its last segment.
    pub memory: u64,
}

/// A linked kernel.
#[derive(Debug)]
pub struct Vmlinux {
    path: PathBuf,
    data: Vec<u8>,
    loads: Vec<Segment>,
    symbols: Symbols,
}

#[derive(Debug, Default)]
struct Symbols {
    end: Option<u64>,
    initrd_start: Option<u64>,
    initrd_size: Option<u64>,
    cmdline: Option<(u64, u64)>,
}

impl Vmlinux {
    /// Reads the program headers and the symbols that are needed here.
    pub fn parse(path: &Path, data: Vec<u8>) -> Result<Self, ImageError> {
        let bad = |what: String| ImageError::bad(path, what);
        let elf_error = |error: object::read::Error| bad(format!("not a linked kernel: {error}"));
        let bytes = data.as_slice();
        let header = elf::FileHeader64::<LE>::parse(bytes).map_err(elf_error)?;
        let endian = header.endian().map_err(elf_error)?;
        let mut loads = segments(bytes).map_err(elf_error)?;
        loads.retain(|segment| segment.kind == elf::PT_LOAD);
        if loads
            .iter()
            .any(|load| load.data(bytes).is_none() || load.paddr.checked_add(load.memsz).is_none())
        {
            return Err(bad("a segment reaches beyond the end of the file".into()));
        }
        if loads.is_empty() {
            return Err(bad("not a linked kernel: it has no loadable segment".into()));
        }

        let mut symbols = Symbols::default();
        let sections = header.sections(endian, bytes).map_err(elf_error)?;
        let table = sections
            .symbols(endian, bytes, elf::SHT_SYMTAB)
            .map_err(elf_error)?;
        for symbol in table.iter() {
            let value = symbol.st_value(endian);
            match table.symbol_name(endian, symbol).map_err(elf_error)? {
                b"_end" => symbols.end = Some(value),
                b"phys_initrd_start" => symbols.initrd_start = Some(value),
                b"phys_initrd_size" => symbols.initrd_size = Some(value),
                b"builtin_cmdline" => symbols.cmdline = Some((value, symbol.st_size(endian))),
                _ => {}
            }
        }
        Ok(Vmlinux {
            path: path.to_path_buf(),
            data,
            loads,
            symbols,
        })
    }

    /// Adds `files`, a cpio archive, after the end of the kernel, which is loaded at
    /// `load_address`, and sets the built-in command line to `cmdline`.
    pub fn with_initramfs(
        mut self,
        files: &[u8],
        load_address: u64,
        cmdline: Option<&str>,
    ) -> Result<Payload, ImageError> {
        let bad = |what: &str| ImageError::bad(&self.path, what);
        let first = self.loads[0];
        let virtual_offset = first.vaddr.wrapping_sub(first.paddr);
        let mut kernel_end = self
            .loads
            .iter()
            .map(|l| l.paddr + l.memsz)
            .max()
            .unwrap_or(0);
        let end = self
            .symbols
            .end
            .ok_or_else(|| bad("it has no symbol `_end`"))?;
        kernel_end = kernel_end.max(end.wrapping_sub(virtual_offset));
        let too_large = || {
            ImageError::Spec(format!(
                "the program and its files ({} MiB) are too large for an image; pass large files \
                 to the guest with `ukl-run -v`",
                files.len() >> 20
            ))
        };
        // All sums below stay within KERNEL_IMAGE_SIZE, so none overflows.
        if load_address >= KERNEL_IMAGE_SIZE
            || kernel_end >= KERNEL_IMAGE_SIZE
            || self.loads.iter().any(|l| l.paddr < load_address)
        {
            return Err(bad(
                "it is not linked for the address at which its boot code loads it",
            ));
        }
        let physical = kernel_end.next_multiple_of(SEGMENT_ALIGN);

        // The decompressor moves the segments into place one after the other, within the buffer
        // into which it decompressed the file. So no segment may be moved onto the source of a
        // later one. The segment of the guest's files is the last.
        let file_end = self
            .loads
            .iter()
            .map(|l| l.offset + l.filesz)
            .max()
            .unwrap_or(0);
        let moved_end = self
            .loads
            .iter()
            .map(|l| l.paddr - load_address + l.filesz)
            .max()
            .unwrap_or(0);
        let offset = file_end.max(moved_end).next_multiple_of(SEGMENT_ALIGN);
        let size = files.len() as u64;
        let memory = physical - load_address + size;
        if load_address + memory.max(offset + size) + SEGMENT_ALIGN > KERNEL_IMAGE_SIZE {
            return Err(too_large());
        }

        self.patch(
            self.symbols.initrd_start,
            "phys_initrd_start",
            &physical.to_le_bytes(),
        )?;
        self.patch(
            self.symbols.initrd_size,
            "phys_initrd_size",
            &size.to_le_bytes(),
        )?;
        if let Some(cmdline) = cmdline {
            self.build_in(cmdline)?;
        }

        // The image contains nothing that is not loaded: no symbols and no section headers.
        self.data.truncate(file_end as usize);
        self.data.resize(offset as usize, 0);
        self.data.extend_from_slice(files);
        self.add_program_header(Segment {
            kind: elf::PT_LOAD,
            // It is writable because the kernel frees the memory later.
            flags: elf::PF_R | elf::PF_W,
            offset,
            vaddr: physical.wrapping_add(virtual_offset),
            paddr: physical,
            filesz: size,
            memsz: size,
        })?;
        Ok(Payload {
            elf: self.data,
            memory,
        })
    }

    /// Writes `bytes` over the kernel's variable at `address`.
    fn patch(&mut self, address: Option<u64>, name: &str, bytes: &[u8]) -> Result<(), ImageError> {
        let bad = |what: &str| ImageError::bad(&self.path, format!("the variable `{name}` {what}"));
        let address = address.ok_or_else(|| {
            bad("is missing (check CONFIG_BLK_DEV_INITRD, and that vmlinux has a symbol table)")
        })?;
        let at = self
            .loads
            .iter()
            .find(|l| address >= l.vaddr && address - l.vaddr < l.filesz)
            .map(|l| (address - l.vaddr + l.offset) as usize)
            .ok_or_else(|| bad("is not in the kernel's initialised data"))?;
        self.data
            .get_mut(at..at + bytes.len())
            .ok_or_else(|| ImageError::bad(&self.path, "ends within a variable"))?
            .copy_from_slice(bytes);
        Ok(())
    }

    fn build_in(&mut self, cmdline: &str) -> Result<(), ImageError> {
        let Some((address, size)) = self.symbols.cmdline else {
            return Err(ImageError::Spec(
                "this kernel has no built-in command line (CONFIG_CMDLINE_BOOL is off); pass it \
                 with `ukl-run --append`"
                    .into(),
            ));
        };
        let mut bytes = cmdline.as_bytes().to_vec();
        bytes.push(0);
        if bytes.len() as u64 > size || cmdline.contains('\0') {
            return Err(ImageError::Spec(format!(
                "the built-in command line is too long: it has {} bytes, the limit is {}",
                cmdline.len(),
                size.saturating_sub(1)
            )));
        }
        self.patch(Some(address), "builtin_cmdline", &bytes)
    }

    /// Adds the program header of `segment`. It follows the other headers if there is room;
    /// otherwise the whole table moves to the end of the file.
    fn add_program_header(&mut self, segment: Segment) -> Result<(), ImageError> {
        let malformed = || ImageError::bad(&self.path, "its program headers are malformed");
        let table = u64_at(&self.data, 32).ok_or_else(malformed)? as usize;
        let count = u16_at(&self.data, 56).ok_or_else(malformed)?;
        if usize::from(u16_at(&self.data, 54).ok_or_else(malformed)?) != PHDR_SIZE {
            return Err(malformed());
        }
        let table_end = table
            .checked_add(usize::from(count) * PHDR_SIZE)
            .filter(|end| *end <= self.data.len())
            .ok_or_else(malformed)?;
        let new_count = count.checked_add(1).ok_or_else(malformed)?;

        let mut header = Vec::with_capacity(PHDR_SIZE);
        header.extend_from_slice(&segment.kind.0.to_le_bytes());
        header.extend_from_slice(&segment.flags.0.to_le_bytes());
        for field in [
            segment.offset,
            segment.vaddr,
            segment.paddr,
            segment.filesz,
            segment.memsz,
            SEGMENT_ALIGN,
        ] {
            header.extend_from_slice(&field.to_le_bytes());
        }

        let content = self
            .loads
            .iter()
            .filter(|l| l.filesz > 0)
            .map(|l| l.offset as usize);
        let room = content
            .filter(|at| *at >= table_end)
            .min()
            .unwrap_or(self.data.len());
        let table = if table_end + PHDR_SIZE <= room {
            self.data[table_end..table_end + PHDR_SIZE].copy_from_slice(&header);
            table
        } else {
            let old = self.data[table..table_end].to_vec();
            let at = self.data.len().next_multiple_of(8);
            self.data.resize(at, 0);
            self.data.extend_from_slice(&old);
            self.data.extend_from_slice(&header);
            at
        };
        self.data[32..40].copy_from_slice(&(table as u64).to_le_bytes());
        self.data[40..48].fill(0); // no section headers any more
        self.data[56..58].copy_from_slice(&new_count.to_le_bytes());
        self.data[60..64].fill(0);
        Ok(())
    }
}

fn u64_at(data: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(data.get(at..at + 8)?.try_into().ok()?))
}

fn u16_at(data: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_le_bytes(data.get(at..at + 2)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use object::Object as _;
    use object::ObjectSegment as _;

    use super::*;

    const LOAD: u64 = 0x100_0000;
    const MAP: u64 = 0xffff_ffff_8000_0000;

    fn put(out: &mut Vec<u8>, fields: &[(u64, usize)]) {
        for (value, size) in fields {
            out.extend_from_slice(&value.to_le_bytes()[..*size]);
        }
    }

    /// A small kernel with a text segment, a segment with the variables, and a symbol table.
    /// `first` is the file offset at which the contents begin.
    fn kernel(first: u64) -> Vec<u8> {
        let mut strings = b"\0.symtab\0.strtab\0".to_vec();
        let mut symbols = vec![0; 24];
        for (name, value) in [
            ("_end", 0x7000),
            ("phys_initrd_start", 0x1008),
            ("phys_initrd_size", 0x1010),
            ("builtin_cmdline", 0x1100),
        ] {
            let (name_at, absolute) = (strings.len() as u64, 0xfff1);
            strings.extend_from_slice(name.as_bytes());
            strings.push(0);
            let value = MAP + LOAD + value;
            put(
                &mut symbols,
                &[(name_at, 4), (0, 2), (absolute, 2), (value, 8), (16, 8)],
            );
        }
        let symbols_at = first + 0x2000;
        let strings_at = symbols_at + symbols.len() as u64;
        let sections_at = strings_at + strings.len() as u64;

        let mut out = b"\x7fELF\x02\x01\x01".to_vec();
        out.resize(16, 0);
        put(
            &mut out,
            &[
                (2, 2),
                (62, 2),
                (1, 4),
                (LOAD, 8),
                (64, 8),
                (sections_at, 8),
                (0, 4),
            ],
        );
        put(
            &mut out,
            &[(64, 2), (56, 2), (2, 2), (64, 2), (3, 2), (2, 2)],
        );
        for (at, memory) in [(0u64, 0x1000), (0x1000, 0x5000)] {
            put(
                &mut out,
                &[(1, 4), (4, 4), (first + at, 8), (MAP + LOAD + at, 8)],
            );
            put(
                &mut out,
                &[(LOAD + at, 8), (0x1000, 8), (memory, 8), (0x1000, 8)],
            );
        }
        out.resize(first as usize, 0);
        out.resize(out.len() + 0x1000, 0xcc);
        out.resize(out.len() + 0x1000, 0);
        out.extend_from_slice(&symbols);
        out.extend_from_slice(&strings);
        out.resize(out.len() + 64, 0);
        for (name, kind, at, size, link, entry) in [
            (1, 2, symbols_at, symbols.len(), 2, 24),
            (9, 3, strings_at, strings.len(), 0, 0),
        ] {
            put(
                &mut out,
                &[
                    (name, 4),
                    (kind, 4),
                    (0, 8),
                    (0, 8),
                    (at, 8),
                    (size as u64, 8),
                ],
            );
            put(&mut out, &[(link, 4), (1, 4), (1, 8), (entry, 8)]);
        }
        out
    }

    fn with_files(first: u64, files: &[u8]) -> Payload {
        let vmlinux = Vmlinux::parse(Path::new("vmlinux"), kernel(first)).unwrap();
        vmlinux.with_initramfs(files, LOAD, Some("quiet")).unwrap()
    }

    #[test]
    fn the_files_are_one_more_segment() {
        // Once with room after the program headers, once without.
        for first in [0x1000, 64 + 2 * 56] {
            let payload = with_files(first, b"070701 files");
            let file = object::File::parse(payload.elf.as_slice()).unwrap();
            let segments: Vec<_> = file.segments().collect();
            assert_eq!(segments.len(), 3);
            assert_eq!(segments[0].data().unwrap(), [0xcc; 0x1000]);
            assert_eq!(segments[2].address(), MAP + LOAD + 0x20_0000);
            assert_eq!(segments[2].data().unwrap(), b"070701 files");
            assert_eq!(payload.memory, 0x20_0000 + 12);
            let data = segments[1].data().unwrap();
            assert_eq!(u64_at(data, 8), Some(LOAD + 0x20_0000));
            assert_eq!(u64_at(data, 16), Some(12));
            assert_eq!(&data[0x100..0x106], b"quiet\0");
        }
    }

    #[test]
    fn too_much_is_refused() {
        let make = |cmdline: Option<&str>, size: usize| {
            let vmlinux = Vmlinux::parse(Path::new("vmlinux"), kernel(0x1000)).unwrap();
            vmlinux
                .with_initramfs(&vec![0; size], LOAD, cmdline)
                .unwrap_err()
                .to_string()
        };
        assert!(make(Some("longer than sixteen"), 1).contains("too long"));
        assert!(make(None, 600 << 20).contains("too large"));
    }

    #[test]
    fn damaged_kernels_are_errors() {
        let good = kernel(0x1000);
        for length in (0..good.len()).step_by(97) {
            let parsed = Vmlinux::parse(Path::new("vmlinux"), good[..length].to_vec());
            assert!(
                parsed
                    .and_then(|v| v.with_initramfs(b"x", LOAD, None))
                    .is_err(),
                "{length}"
            );
        }
    }
}
