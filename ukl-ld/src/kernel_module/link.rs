//! Kernel code that comes with the program: objects of `ukl-cc --ukl-kernel-code`.
//!
//! A section marks these objects among the inputs. They are removed from the inputs; the host link
//! and the image's link of the program get an object with placeholders instead
//! ([`crate::kernel_module::placeholder`]). For the image, the objects are linked into one kernel
//! module, which init loads before it starts the program. The kernel's module loader handles
//! everything that kernel code needs: alternatives, jump labels, static calls, exception tables,
//! unwinding, symbols. It resolves exported symbols only, so each undefined symbol of the module is
//! made absolute here, with its address in the archive's kernel.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;

use memchr::memmem;
use object::Endianness;
use object::Object;
use object::ObjectSection;
use object::ObjectSymbol;
use object::elf;
use object::read::archive::ArchiveFile;
use object::read::elf::ElfFile64;
use object::read::elf::FileHeader;
use object::read::elf::SectionHeader;
use object::read::elf::Sym;
use ukl_common::temp::TempDir;

use crate::args::Args;
use crate::args::Kind;
use crate::error::At;
use crate::error::Error;
use crate::error::Result;
use crate::files::Files;
use crate::kernel::symbols;
use crate::kernel_module::placeholder;

/// The section that marks an object of kernel code.
const MARK: &[u8] = b".ukl.kernel_code";

/// The prefixes of the names of functions that come with UKL.
const OWN: [&[u8]; 2] = [b"__ukl_shortcut_", b"ukl_run_to_completion"];

/// Functions that only the kernel calls, when it loads and unloads the module
/// (kernel/module/ukl_code.c).
const OF_THE_FRAME: [&str; 3] = ["init_module", "cleanup_module", "ukl_code_init"];

/// The module's path in the guest.
pub const GUEST_PATH: &str = "ukl/kernel-code.ko";

/// The kernel code among the inputs of a link.
#[derive(Debug)]
pub struct KernelCode {
    /// The command line without the kernel code.
    pub args: Args,
    /// Its objects.
    objects: Vec<PathBuf>,
    /// Whether the objects include the kernel code that comes with UKL.
    pub shortcuts: bool,
    /// The directory of temporary files.
    temp: TempDir,
}

/// The finished module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Module {
    /// The file.
    pub data: Vec<u8>,
    /// Its functions, each with its section and the offset there.
    pub functions: BTreeMap<String, (String, u64)>,
}

impl KernelCode {
    /// Finds kernel code among the inputs, and references to the kernel code that comes with UKL.
    /// `wanted`: an option requires the latter. Returns `None` if the link has no kernel code.
    pub fn find(
        args: &Args,
        libdir: &Path,
        wanted: bool,
        files: &Files,
    ) -> Result<Option<KernelCode>> {
        let mut taken = BTreeSet::new();
        let mut members = Vec::new();
        let mut shortcuts = wanted;
        for path in args.inputs() {
            let path = Path::new(path);
            // The host link reports inputs that cannot be read.
            let Ok(data) = files.read(path) else {
                continue;
            };
            shortcuts |= OWN.iter().any(|own| memmem::find(&data, own).is_some());
            if memmem::find(&data, MARK).is_none() {
                continue;
            }
            if is_kernel_code(&data) {
                taken.insert(path.to_owned());
            } else {
                members.extend(kernel_members(path, &data));
            }
        }
        if taken.is_empty() && members.is_empty() && !shortcuts {
            return Ok(None);
        }
        let temp = TempDir::new().at(&std::env::temp_dir())?;
        let mut objects: Vec<PathBuf> = taken.iter().cloned().collect();
        for (index, member) in members.iter().enumerate() {
            let path = temp.path().join(format!("member-{index}.o"));
            fs::write(&path, member).at(&path)?;
            objects.push(path);
        }
        let mut functions = BTreeSet::new();
        for path in &objects {
            functions.extend(functions_in(&files.read(path)?)?.into_keys());
        }
        let host = temp.path().join("kernel-code.o");
        fs::write(&host, placeholder::make(&functions)?).at(&host)?;

        let is_taken =
            |kind: &Kind| matches!(kind, Kind::Input(path) if taken.contains(Path::new(path)));
        let mut args = args.clone();
        args.list.retain(|arg| !is_taken(&arg.kind));
        // It comes first, so that no archive member is linked to define the same functions.
        args.insert_input(0, host);
        if shortcuts {
            let own = installed(libdir, "shortcuts")?;
            for entry in fs::read_dir(&own).at(&own)? {
                let path = entry.at(&own)?.path();
                if path.extension().is_some_and(|extension| extension == "o") {
                    objects.push(path);
                }
            }
            args.push_input(installed(libdir, "libukl.a")?);
        }
        objects.sort();
        Ok(Some(KernelCode {
            args,
            objects,
            shortcuts,
            temp,
        }))
    }

    /// Links the module. `ld` is GNU ld, `kernel` the kernel archive.
    pub fn module(&self, ld: &Path, kernel: &Path, files: &Files) -> Result<Module> {
        let parts = installed(kernel, "module")?;
        compiled_for(&self.objects, &parts, files)?;
        let output = self.temp.path().join("module.ko");
        let mut command = Command::new(ld);
        command
            .args(["-r", "-m", "elf_x86_64", "-T"])
            .arg(parts.join("module.lds"))
            .arg("-o")
            .arg(&output)
            .arg(parts.join("frame.o"))
            .args(&self.objects);
        let result = command.output().map_err(|source| Error::Run {
            program: ld.to_owned(),
            source,
        })?;
        if !result.status.success() {
            return Err(Error::KernelCode(
                String::from_utf8_lossy(&result.stderr)
                    .trim_end()
                    .to_owned(),
            ));
        }
        let mut data = fs::read(&output).at(&output)?;
        bind(&mut data, &kernel.join("vmlinux"), files)?;
        let functions = functions_in(&data)?;
        Ok(Module { data, functions })
    }
}

/// Checks that all objects were compiled for the kernel archive with this `module` directory. The
/// kernel's inline functions and structures depend on its configuration, so an object for another
/// archive may lack symbols, or link and then misbehave.
fn compiled_for(objects: &[PathBuf], parts: &Path, files: &Files) -> Result<()> {
    // Archives of older versions do not have this file, and objects compiled for them contain no
    // name, so both are empty.
    let archive = fs::read_to_string(parts.join("archive")).unwrap_or_default();
    for path in objects {
        if archive_of(&files.read(path)?)? != archive.trim_end() {
            return Err(Error::KernelCode(format!(
                "{}: compiled for another kernel archive; compile it again with `ukl-cc \
                 --ukl-kernel-code`, or with `make` if it comes with UKL",
                path.display()
            )));
        }
    }
    Ok(())
}

/// The kernel archive that an object of kernel code was compiled for, from the section that marks it.
fn archive_of(data: &[u8]) -> Result<String> {
    let file = parse(data)?;
    let section = file.section_by_name_bytes(MARK);
    let content = section.map_or(Ok(&[][..]), |section| section.data());
    let content = content.map_err(|error| Error::KernelCode(error.to_string()))?;
    let name = content.split(|&byte| byte == 0).next().unwrap_or_default();
    Ok(String::from_utf8_lossy(name).into_owned())
}

fn installed(dir: &Path, name: &'static str) -> Result<PathBuf> {
    let path = dir.join(name);
    match path.exists() {
        true => Ok(path),
        false => Err(Error::NotInstalled {
            path,
            target: "all",
        }),
    }
}

fn is_kernel_code(data: &[u8]) -> bool {
    let file = ElfFile64::<Endianness>::parse(data);
    file.is_ok_and(|file| {
        file.elf_header().e_type(file.endian()) == elf::ET_REL
            && file.section_by_name_bytes(MARK).is_some()
    })
}

/// The members of an archive that are kernel code.
fn kernel_members(path: &Path, data: &[u8]) -> Vec<Vec<u8>> {
    let Ok(archive) = ArchiveFile::parse(data) else {
        return Vec::new();
    };
    let members = archive.members().flatten().filter_map(|member| {
        let content = match member.is_thin() {
            true => {
                let name = String::from_utf8_lossy(member.name()).into_owned();
                fs::read(path.parent().unwrap_or(Path::new("")).join(name)).ok()?
            }
            false => member.data(data).ok()?.to_vec(),
        };
        is_kernel_code(&content).then_some(content)
    });
    members.collect()
}

fn parse(data: &[u8]) -> Result<ElfFile64<'_, Endianness>> {
    ElfFile64::parse(data).map_err(|error| Error::KernelCode(error.to_string()))
}

/// The global functions of an object.
fn functions_in(data: &[u8]) -> Result<BTreeMap<String, (String, u64)>> {
    let file = parse(data)?;
    let functions = file.symbols().filter_map(|symbol| {
        let wanted = symbol.is_definition()
            && symbol.is_global()
            && symbol.kind() == object::SymbolKind::Text;
        let section = file.section_by_index(symbol.section_index()?).ok()?;
        let place = (section.name().ok()?.to_owned(), symbol.address());
        let name = symbol.name().ok()?;
        (wanted && !OF_THE_FRAME.contains(&name)).then_some((name.to_owned(), place))
    });
    Ok(functions.collect())
}

/// Resolves each undefined symbol of the module to its address in the kernel.
fn bind(module: &mut [u8], vmlinux: &Path, files: &Files) -> Result<()> {
    let mut open = Vec::new();
    {
        let file = parse(module)?;
        let table = file.elf_symbol_table();
        let endian = file.endian();
        let malformed = |error: object::Error| Error::KernelCode(error.to_string());
        let section = file.elf_section_table().section(table.section());
        let start = section.map_err(malformed)?.sh_offset(endian) as usize;
        for (index, symbol) in table.iter().enumerate().skip(1) {
            let name = table.symbol_name(endian, symbol).map_err(malformed)?;
            if symbol.is_undefined(endian) && !name.is_empty() {
                let weak = symbol.st_bind() == elf::STB_WEAK;
                let name = String::from_utf8_lossy(name).into_owned();
                open.push((name, start + index * size_of_val(symbol), weak));
            }
        }
    }
    let names: BTreeSet<&str> = open.iter().map(|(name, ..)| name.as_str()).collect();
    let kernel = symbols::find(vmlinux, &files.read(vmlinux)?, &names)?;
    let mut missing = BTreeSet::new();
    for (name, at, weak) in &open {
        let address = match kernel.get(name.as_str()) {
            Some(Ok(symbol)) => symbol.address,
            Some(Err(why)) => {
                missing.insert(format!("{name}: {why}"));
                continue;
            }
            None if *weak => 0,
            None => {
                missing.insert(format!("{name}: the kernel has no such symbol"));
                continue;
            }
        };
        let entry = module.get_mut(*at..*at + 16);
        let entry = entry
            .ok_or_else(|| Error::KernelCode("a symbol is beyond the end of the file".into()))?;
        entry[6..8].copy_from_slice(&elf::SHN_ABS.0.to_le_bytes());
        entry[8..16].copy_from_slice(&address.to_le_bytes());
    }
    match missing.is_empty() {
        true => Ok(()),
        false => Err(Error::KernelCode(
            missing.into_iter().collect::<Vec<_>>().join("\n"),
        )),
    }
}

#[cfg(test)]
mod tests {
    use object::BinaryFormat;
    use object::SectionKind;
    use object::SymbolFlags;
    use object::SymbolKind;
    use object::SymbolScope;
    use object::write;
    use object::write::SymbolSection;

    use super::*;

    /// An object with these symbols: name, address (none: undefined), file-local, in which section.
    fn elf(symbols: &[(&str, Option<u64>, bool, &str)]) -> Vec<u8> {
        let mut object = write::Object::new(
            BinaryFormat::Elf,
            object::Architecture::X86_64,
            Endianness::Little,
        );
        let mut sections = BTreeMap::new();
        for &(name, address, local, section) in symbols {
            let section = *sections.entry(section).or_insert_with(|| {
                let id = object.add_section(vec![], section.into(), SectionKind::Text);
                object.append_section_data(id, &[0; 64], 1);
                id
            });
            object.add_symbol(write::Symbol {
                name: name.into(),
                value: address.unwrap_or(0),
                size: 0,
                kind: SymbolKind::Text,
                scope: match local {
                    true => SymbolScope::Compilation,
                    false => SymbolScope::Dynamic,
                },
                weak: false,
                section: match address {
                    Some(_) => SymbolSection::Section(section),
                    None => SymbolSection::Undefined,
                },
                flags: SymbolFlags::None,
            });
        }
        object.write().unwrap()
    }

    fn bound(wanted: &[&str]) -> Result<Vec<u8>> {
        let dir = tempfile::tempdir().unwrap();
        let vmlinux = dir.path().join("vmlinux");
        let kernel = elf(&[
            ("exported", Some(16), false, ".text"),
            ("hidden", Some(32), true, ".text"),
            ("both", Some(40), true, ".text"),
            ("both", Some(48), false, ".text"),
            ("many", Some(1), true, ".text"),
            ("many", Some(2), true, ".text"),
            ("early", Some(8), false, ".init.text"),
        ]);
        fs::write(&vmlinux, kernel).unwrap();
        let open: Vec<_> = wanted
            .iter()
            .map(|name| (*name, None, false, ".text"))
            .collect();
        let mut module = elf(&open);
        bind(&mut module, &vmlinux, &Files::default()).map(|()| module)
    }

    #[test]
    fn open_symbols_become_addresses() {
        let module = bound(&["exported", "hidden", "both"]).unwrap();
        let file = parse(&module).unwrap();
        for (name, address) in [("exported", 16), ("hidden", 32), ("both", 48)] {
            let symbol = file.symbols().find(|symbol| symbol.name() == Ok(name));
            let symbol = symbol.unwrap();
            assert_eq!(symbol.address(), address, "{name}");
            assert_eq!(symbol.section(), object::SymbolSection::Absolute, "{name}");
        }
    }

    #[test]
    fn objects_for_another_archive_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let mut object = write::Object::new(
            BinaryFormat::Elf,
            object::Architecture::X86_64,
            Endianness::Little,
        );
        let mark = object.add_section(vec![], MARK.into(), SectionKind::Other);
        object.append_section_data(mark, b"abc\0", 1);
        let path = dir.path().join("k.o");
        fs::write(&path, object.write().unwrap()).unwrap();
        let objects = [path];
        fs::write(dir.path().join("archive"), "abc\n").unwrap();
        compiled_for(&objects, dir.path(), &Files::default()).unwrap();
        fs::write(dir.path().join("archive"), "abd\n").unwrap();
        let error = compiled_for(&objects, dir.path(), &Files::default())
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("k.o: compiled for another kernel archive"),
            "{error}"
        );
    }

    #[test]
    fn what_cannot_be_bound_is_named() {
        let error = bound(&["exported", "none", "many", "early"]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "kernel code: early: it is in an init section, which the kernel frees after boot\n\
             many: several kernel source files define a static symbol of this name\n\
             none: the kernel has no such symbol"
        );
    }

    #[test]
    fn functions_are_found_by_section_and_offset() {
        let module = elf(&[
            ("f", Some(4), false, ".text"),
            ("g", Some(8), true, ".text"),
            ("h", Some(12), false, ".text.unlikely"),
        ]);
        let functions: Vec<_> = functions_in(&module).unwrap().into_iter().collect();
        assert_eq!(
            functions,
            [
                ("f".to_owned(), (".text".to_owned(), 4)),
                ("h".to_owned(), (".text.unlikely".to_owned(), 12)),
            ]
        );
    }
}
