//! Makes the bootable image: links the compressed payload into the kernel's own decompressor, and
//! puts the kernel's real-mode code before it.
//!
//! At the end of a kernel build, arch/x86/boot/compressed/Makefile, mkpiggy.c, header.S and
//! tools/build.c do the same. Documentation/arch/x86/boot.rst describes the header's fields.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::io::Read as _;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;

use object::Object as _;
use object::ObjectSection as _;
use object::ObjectSymbol as _;
use object::write;
use ukl_common::temp::TempDir;
use ukl_proto::stamp::Stamp;

use crate::ImageError;
use crate::header;
use crate::header::Header;
use crate::header::field;
use crate::lz4::Compressed;
use crate::memory;
use crate::vmlinux::Payload;

/// Room for the guest's files and the gap before them, which suffices for most images.
const ROOM: usize = 32 << 20;

/// The section of the payload.
const PAYLOAD: &str = ".rodata..compressed";

/// The files of the kernel archive that images are made from.
#[derive(Debug)]
pub struct KernelArchive {
    dir: PathBuf,
    setup: Vec<u8>,
    header: Header,
}

impl KernelArchive {
    /// Opens the archive in `dir`.
    pub fn open(dir: &Path) -> Result<Self, ImageError> {
        let path = dir.join("boot/setup.bin");
        let setup = read_piece(&path)?;
        let header = Header::of(&setup)
            .filter(|_| setup[field::BOOT_FLAG..].starts_with(&[0x55, 0xaa]))
            .ok_or_else(|| ImageError::bad(&path, "not the real-mode code of a kernel"))?;
        let version = u16::from_le_bytes([setup[field::VERSION], setup[field::VERSION + 1]]);
        if version < 0x20f {
            return Err(ImageError::bad(
                &path,
                "its boot protocol is older than 2.15",
            ));
        }
        // A kernel that relocates itself needs its relocations after the payload, which this code
        // does not write.
        let config = dir.join("config");
        if let Ok(text) = fs::read_to_string(&config)
            && text.lines().any(|line| line == "CONFIG_RANDOMIZE_BASE=y")
        {
            return Err(ImageError::bad(
                &config,
                "the kernel has CONFIG_RANDOMIZE_BASE, which UKL does not support",
            ));
        }
        Ok(KernelArchive {
            dir: dir.to_path_buf(),
            setup,
            header,
        })
    }

    /// The path of the linked kernel.
    pub fn vmlinux_path(&self) -> PathBuf {
        self.dir.join("vmlinux")
    }

    /// The linked kernel, with room for the guest's files.
    pub fn vmlinux(&self) -> Result<Vec<u8>, ImageError> {
        let path = self.vmlinux_path();
        let read = || {
            let mut file = fs::File::open(&path)?;
            let size = file.metadata()?.len() as usize;
            let mut data = memory::with_capacity(size + ROOM);
            file.read_to_end(&mut data)?;
            Ok(data)
        };
        read().map_err(|error| piece_error(&path, error))
    }

    /// The physical address at which the kernel is loaded.
    pub fn load_address(&self) -> u64 {
        self.header.load_address()
    }

    /// Makes the image of `payload`.
    pub fn bzimage(&self, payload: &Payload, stamp: &Stamp) -> Result<Vec<u8>, ImageError> {
        let compressed = Compressed::of(&payload.elf);
        let linked = self.link(&piggy(compressed.len(), payload.elf.len())?)?;
        let decompressor = Decompressor::read(&linked)
            .map_err(|what| ImageError::bad(&self.dir.join("boot"), what))?;

        let init_size = decompressor.init_size(compressed.len() as u64, payload);
        let setup = header::setup_size(self.setup.len());
        let mut image = memory::zeros(setup + decompressor.size);
        image[..self.setup.len()].copy_from_slice(&self.setup);
        let too_large = |_| ImageError::Spec("the image is too large to boot".into());
        image[field::SETUP_SECTS] = u8::try_from(setup / 512 - 1).map_err(|_| {
            ImageError::bad(
                &self.dir.join("boot/setup.bin"),
                "larger than the boot protocol allows",
            )
        })?;
        for (at, value) in [
            (field::SYSSIZE, decompressor.size as u64 / 16),
            (field::PAYLOAD_OFFSET, decompressor.input_data),
            (field::PAYLOAD_LENGTH, compressed.len() as u64),
            (field::INIT_SIZE, init_size),
            (field::KERNEL_INFO_OFFSET, decompressor.kernel_info),
        ] {
            let value = u32::try_from(value).map_err(too_large)?;
            image[at..at + 4].copy_from_slice(&value.to_le_bytes());
        }
        // The kernel must not be relocated, because the address of the guest's files is fixed.
        image[field::RELOCATABLE_KERNEL] = 0;

        header::put_stamp(&mut image[..setup], stamp);
        decompressor
            .put(&mut image[setup..], &compressed)
            .map_err(|what| ImageError::bad(&self.dir.join("boot"), what))?;
        // The last word is the checksum of everything before it.
        let end = image.len() - 4;
        let mut crc = crc32fast::Hasher::new();
        crc.update(&image[..end]);
        image[end..].copy_from_slice(&(!crc.finalize()).to_le_bytes());
        Ok(image)
    }

    /// Links the decompressor around `piggy`.
    fn link(&self, piggy: &[u8]) -> Result<Vec<u8>, ImageError> {
        let boot = self.dir.join("boot");
        let list = boot.join("objects");
        let script = boot.join("vmlinux.lds");
        let names = String::from_utf8(read_piece(&list)?)
            .map_err(|_| ImageError::bad(&list, "not a list of names"))?;
        let mut objects = Vec::new();
        for path in names.split_whitespace().map(|name| boot.join(name)) {
            if !path.is_file() {
                return Err(ImageError::MissingPiece {
                    path: path.display().to_string(),
                });
            }
            objects.push(path);
        }
        if objects.is_empty() {
            return Err(ImageError::bad(&list, "names no objects"));
        }
        if !script.is_file() {
            return Err(ImageError::MissingPiece {
                path: script.display().to_string(),
            });
        }

        let tmp =
            TempDir::new().map_err(|error| ImageError::write(&std::env::temp_dir(), error))?;
        let input = tmp.path().join("piggy.o");
        let output = tmp.path().join("vmlinux");
        fs::write(&input, piggy).map_err(|error| ImageError::write(&input, error))?;
        let run = |linker: &str| {
            Command::new(linker)
                .args([
                    "-m",
                    "elf_x86_64",
                    "-pie",
                    "--no-dynamic-linker",
                    "-z",
                    "noexecstack",
                ])
                .arg("--no-ld-generated-unwind-info")
                .arg("-T")
                .arg(&script)
                .args(&objects)
                .arg(&input)
                .arg("-o")
                .arg(&output)
                .output()
        };
        // `ld` may be another linker, or ukl-ld, so use GNU ld's full name.
        let result = run("ld.bfd")
            .or_else(|error| match error.kind() {
                io::ErrorKind::NotFound => run("ld"),
                _ => Err(error),
            })
            .map_err(|error| ImageError::Link(format!("{error}; install binutils")))?;
        // The decompressor has a segment that is both writable and executable, about which ld
        // warns.
        if !result.status.success() {
            let text = String::from_utf8_lossy(&result.stderr);
            return Err(ImageError::Link(format!(
                "{}\n{}",
                result.status,
                text.trim_end()
            )));
        }
        fs::read(&output).map_err(|error| ImageError::read(&output, error))
    }
}

/// Reads a file of the kernel archive.
fn read_piece(path: &Path) -> Result<Vec<u8>, ImageError> {
    fs::read(path).map_err(|error| piece_error(path, error))
}

fn piece_error(path: &Path, error: io::Error) -> ImageError {
    match error.kind() {
        io::ErrorKind::NotFound => ImageError::MissingPiece {
            path: path.display().to_string(),
        },
        _ => ImageError::read(path, error),
    }
}

/// Makes the object that mkpiggy.c makes, but with empty space instead of the payload. The payload
/// is copied there after the link, which is faster.
fn piggy(input_len: usize, output_len: usize) -> Result<Vec<u8>, ImageError> {
    let (input_len, output_len) = (input_len as u64, output_len as u64);
    let mut object = write::Object::new(
        object::BinaryFormat::Elf,
        object::Architecture::X86_64,
        object::Endianness::Little,
    );
    let read_only = object::SectionKind::ReadOnlyData;
    let empty = object::SectionKind::UninitializedData;
    let payload = object.add_section(Vec::new(), PAYLOAD.as_bytes().to_vec(), empty);
    object.section_mut(payload).flags = object::SectionFlags::Elf {
        sh_type: object::elf::SHT_NOBITS,
        sh_flags: object::elf::SHF_ALLOC,
    };
    object.append_section_bss(payload, input_len, 1);
    let lengths = object.add_section(Vec::new(), b".rodata".to_vec(), read_only);
    object.append_section_data(lengths, &(input_len as u32).to_le_bytes(), 4);
    object.append_section_data(lengths, &(output_len as u32).to_le_bytes(), 4);
    for (name, section, value) in [
        ("z_input_len", write::SymbolSection::Absolute, input_len),
        ("z_output_len", write::SymbolSection::Absolute, output_len),
        ("input_data", write::SymbolSection::Section(payload), 0),
        (
            "input_data_end",
            write::SymbolSection::Section(payload),
            input_len,
        ),
        ("input_len", write::SymbolSection::Section(lengths), 0),
        ("output_len", write::SymbolSection::Section(lengths), 4),
    ] {
        object.add_symbol(write::Symbol {
            name: name.as_bytes().to_vec(),
            value,
            size: 0,
            kind: object::SymbolKind::Data,
            scope: object::SymbolScope::Dynamic,
            weak: false,
            section,
            flags: object::SymbolFlags::None,
        });
    }
    object
        .write()
        .map_err(|error| ImageError::Link(error.to_string()))
}

/// The linked decompressor, with room for the payload.
#[derive(Debug)]
struct Decompressor<'e> {
    /// The sections with content between `startup_32` and `_edata`.
    sections: Vec<(usize, &'e [u8])>,
    /// Their total size.
    size: usize,
    input_data: u64,
    kernel_info: u64,
    /// The size of the code before the payload.
    head: u64,
    /// The start of the code after the payload.
    text: u64,
    /// The end, including .bss and page tables.
    end: u64,
}

impl<'e> Decompressor<'e> {
    fn read(elf: &'e [u8]) -> Result<Self, String> {
        let file = object::File::parse(elf).map_err(|error| error.to_string())?;
        let symbols: HashMap<&str, u64> = file
            .symbols()
            .filter_map(|symbol| Some((symbol.name().ok()?, symbol.address())))
            .collect();
        let symbol = |name: &str| {
            symbols
                .get(name)
                .copied()
                .ok_or(format!("the decompressor has no symbol `{name}`"))
        };
        if symbol("startup_32")? != 0 {
            return Err("the decompressor's `startup_32` is not at address 0".into());
        }
        let size = symbol("_edata")?;
        if size > u64::from(u32::MAX) || size < 4 {
            return Err("the decompressor is too large".into());
        }
        let mut sections = Vec::new();
        for section in file.sections() {
            let object::SectionFlags::Elf { sh_flags, .. } = section.flags() else {
                continue;
            };
            // The section of the payload is empty.
            if !sh_flags.contains(object::elf::SHF_ALLOC) || section.name() == Ok(PAYLOAD) {
                continue;
            }
            let data = section.data().map_err(|error| error.to_string())?;
            if !data.is_empty() {
                sections.push((section.address() as usize, data));
            }
        }
        Ok(Decompressor {
            sections,
            size: size as usize,
            input_data: symbol("input_data")?,
            kernel_info: symbol("kernel_info")?,
            head: symbol("_ehead")?,
            text: symbol("_text")?,
            end: symbol("_end")?,
        })
    }

    /// Writes its memory image with the payload.
    fn put(&self, image: &mut [u8], payload: &Compressed) -> Result<(), String> {
        for (at, data) in &self.sections {
            let place = at
                .checked_add(data.len())
                .and_then(|end| image.get_mut(*at..end));
            place
                .ok_or("the decompressor has data after `_edata`")?
                .copy_from_slice(data);
        }
        let at = self.input_data as usize;
        let place = at
            .checked_add(payload.len())
            .and_then(|end| image.get_mut(at..end));
        payload.put(place.ok_or("the decompressor has no room for the payload")?);
        Ok(())
    }

    /// How much memory the kernel needs after its load address before it runs: INIT_SIZE of
    /// header.S, with room for the segment of the guest's files.
    fn init_size(&self, input_len: u64, payload: &Payload) -> u64 {
        // The kernel is decompressed in place: the compressed data is moved to the end of that
        // memory, and output must never reach input that has not been read.
        let output_len = payload.elf.len() as u64;
        let extra = (output_len >> 8) + 131_072;
        let extract = extra + output_len.saturating_sub(input_len);
        let in_place = self.end + extract.max(self.head).next_multiple_of(4096);
        // The code that moves the segment of the guest's files into place is at the end of that
        // memory, too, and must not be overwritten. The kernel's own segments end far below.
        let moved = (payload.memory + self.end - self.text).next_multiple_of(4096);
        in_place.max(moved)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_piggy_has_what_the_decompressor_refers_to() {
        let object = piggy(10, 4711).unwrap();
        let file = object::File::parse(object.as_slice()).unwrap();
        let value = |name: &str| file.symbol_by_name(name).unwrap().address();
        assert_eq!((value("z_input_len"), value("z_output_len")), (10, 4711));
        assert_eq!(value("input_data_end") - value("input_data"), 10);
        let lengths = file.section_by_name(".rodata").unwrap().data().unwrap();
        assert_eq!(lengths, [10, 0, 0, 0, 0x67, 0x12, 0, 0]);
    }

    #[test]
    fn memory_covers_decompression_and_the_segment() {
        let decompressor = Decompressor {
            sections: Vec::new(),
            size: 0,
            input_data: 0x1000,
            kernel_info: 0,
            head: 0x1000,
            text: 0x40_1000,
            end: 0x42_0000,
        };
        let small = Payload {
            elf: vec![0; 16 << 20],
            memory: 16 << 20,
        };
        let in_place = decompressor.init_size(4 << 20, &small);
        assert_eq!(in_place, 0x42_0000 + (12 << 20) + (16 << 12) + 131_072);
        let large = Payload {
            elf: vec![0; 16 << 20],
            memory: 64 << 20,
        };
        assert_eq!(
            decompressor.init_size(4 << 20, &large),
            (64 << 20) + 0x1f_000
        );
    }

    #[test]
    fn a_damaged_setup_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("boot")).unwrap();
        fs::write(dir.path().join("boot/setup.bin"), vec![0; 5000]).unwrap();
        let error = KernelArchive::open(dir.path()).unwrap_err().to_string();
        assert!(error.contains("real-mode"), "{error}");
    }
}
