//! Makes the root file system of the guest.

use std::io;
use std::path::Path;
use std::path::PathBuf;

use ukl_proto::image_conf::Binding;
use ukl_proto::image_conf::ImageConf;
use ukl_proto::image_conf::KernelCode;
use ukl_proto::names;
use ukl_proto::policy::Policy;
use ukl_proto::ring3::ThunkTable;
use ukl_proto::stamp::Stamp;

use crate::ImageError;
use crate::cpio;

/// The contents of an image, except the kernel.
#[derive(Debug, Clone)]
pub struct ImageSpec {
    /// The guest's init, a static ELF.
    pub init: PathBuf,
    /// The linked program.
    pub program: Vec<u8>,
    /// The program's name in the guest, without a directory.
    pub name: String,
    /// The build ID of the host program that the image belongs to. Empty if it has none.
    pub build_id: Vec<u8>,
    /// The program's thunks.
    pub thunks: Vec<ThunkTable>,
    /// The module of the program's kernel code, and the calls that need addresses in it.
    pub code: Option<(Vec<u8>, Vec<Binding>)>,
    /// Files and trees to add, each with its path on the host and in the guest.
    pub add: Vec<(PathBuf, String)>,
    /// The kernel's built-in command line.
    pub cmdline: Option<String>,
    /// The policy: how the program enters the kernel.
    pub policy: Policy,
    /// How much of each thread's stack is shared, in bytes.
    pub stack_size: Option<u32>,
    /// Whether processes without CAP_SYS_MODULE may start the program at ring 0.
    pub anyone_starts: bool,
}

impl ImageSpec {
    /// The image's stamp.
    pub fn stamp(&self) -> Stamp {
        Stamp::new(&self.build_id)
    }

    /// The image's configuration, which init reads.
    fn conf(&self) -> ImageConf {
        ImageConf {
            program: format!("{}/{}", names::PROGRAM_DIR, self.name),
            thunks: self.thunks.clone(),
            kernel_code: self.code.as_ref().map(|(_, bindings)| KernelCode {
                module: names::KERNEL_MODULE.into(),
                bindings: bindings.clone(),
            }),
            policy: self.policy,
            stack_size: self.stack_size,
            anyone_starts: self.anyone_starts,
            ..ImageConf::default()
        }
    }
}

/// A path's name in the archive, which the kernel unpacks in the root directory.
fn relative(path: &str) -> &str {
    path.trim_start_matches('/')
}

/// The files of the guest.
pub fn files(spec: &ImageSpec) -> Result<cpio::Tree<'_>, ImageError> {
    let name = &spec.name;
    if name.is_empty() || name == "." || name == ".." || name.contains(['/', '\n', '\r', '\0']) {
        return Err(ImageError::Spec(format!(
            "`{name}` cannot be a program's name in the guest"
        )));
    }
    let conf = spec.conf();
    let mut tree = cpio::Tree::new();
    for (from, to) in &spec.add {
        tree.add_host("--ukl-add", from, to)?;
    }
    add_defaults(&mut tree);
    tree.file(relative(&conf.program), 0o755, spec.program.as_slice());
    if let Some((module, _)) = &spec.code {
        tree.file(relative(names::KERNEL_MODULE), 0o644, module.as_slice());
    }
    add_init(&mut tree, &spec.init, &conf)?;
    Ok(tree)
}

/// Adds what every guest needs, and what is not there: the directories that init mounts file
/// systems on, and files in /etc.
pub fn add_defaults(tree: &mut cpio::Tree<'_>) {
    let dirs = [
        "dev", "proc", "sys", "etc", "run", "mnt", "ukl", "var", "var/tmp", "root", "tmp",
    ];
    for dir in dirs {
        if tree.resolve(dir.as_bytes()).is_none() {
            let permissions = match dir {
                "root" => 0o700,
                "tmp" | "var/tmp" => 0o1777,
                _ => 0o755,
            };
            tree.dir(dir, permissions);
        }
    }
    tree.char_device("dev/console", 0o600, 5, 1);
    for (path, data) in [
        ("etc/passwd", PASSWD),
        ("etc/group", GROUP),
        ("etc/hosts", HOSTS),
        ("etc/nsswitch.conf", NSSWITCH),
        ("etc/protocols", PROTOCOLS),
        ("etc/resolv.conf", b""),
        ("etc/services", SERVICES),
    ] {
        if tree.resolve(path.as_bytes()).is_none() {
            tree.file(path, 0o644, data);
        }
    }
}

/// Adds the guest's init and its configuration. They come last, so that no added file can replace
/// them.
pub fn add_init(
    tree: &mut cpio::Tree<'_>,
    init: &Path,
    conf: &ImageConf,
) -> Result<(), ImageError> {
    let program = std::fs::read(init).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => ImageError::MissingInit {
            path: init.display().to_string(),
        },
        _ => ImageError::read(init, error),
    })?;
    let text = conf
        .encode()
        .map_err(|error| ImageError::Spec(error.to_string()))?;
    tree.file("init", 0o755, program);
    tree.file(relative(names::IMAGE_CONF), 0o644, text.into_bytes());
    Ok(())
}

const PASSWD: &[u8] = include_bytes!("../etc/passwd");
const GROUP: &[u8] = include_bytes!("../etc/group");
const HOSTS: &[u8] = include_bytes!("../etc/hosts");
const NSSWITCH: &[u8] = include_bytes!("../etc/nsswitch.conf");
const PROTOCOLS: &[u8] = include_bytes!("../etc/protocols");
const SERVICES: &[u8] = include_bytes!("../etc/services");

#[cfg(test)]
pub(crate) mod tests {
    use ukl_proto::policy::Transition;

    use super::*;

    pub(crate) fn spec(dir: &Path) -> ImageSpec {
        let init = dir.join("init");
        std::fs::write(&init, b"\x7fELF init").unwrap();
        ImageSpec {
            init,
            program: b"\x7fELF program".to_vec(),
            name: "hello".into(),
            build_id: vec![0xab, 0xcd],
            thunks: vec![ThunkTable {
                offset: 4096,
                count: 7,
                stride: 128,
                ring3: 0,
                entry: 8,
            }],
            code: None,
            add: Vec::new(),
            cmdline: None,
            policy: Policy {
                transition: Some(Transition::Bypass),
                ..Policy::default()
            },
            stack_size: None,
            anyone_starts: false,
        }
    }

    fn conf(spec: &ImageSpec) -> String {
        let archive = files(spec).unwrap().write();
        let text = cpio::find(&archive, b"ukl/image.conf").unwrap();
        String::from_utf8(text.to_vec()).unwrap()
    }

    #[test]
    fn the_configuration_names_the_thunks() {
        let dir = tempfile::tempdir().unwrap();
        let mut spec = spec(dir.path());
        assert_eq!(
            conf(&spec),
            "protocol=1\nprogram=/ukl/hello\nslots=4096,7,128,0,8\ntransition=bypass\n"
        );
        spec.thunks.clear();
        spec.policy = Policy::default();
        assert_eq!(conf(&spec), "protocol=1\nprogram=/ukl/hello\n");
    }

    #[test]
    fn the_configuration_names_kernel_code() {
        let dir = tempfile::tempdir().unwrap();
        let mut spec = spec(dir.path());
        spec.thunks = vec![ThunkTable {
            offset: 128,
            count: 1,
            stride: 128,
            ring3: 112,
            entry: 8,
        }];
        let binding = Binding {
            operand: 172,
            next: 0x40_00b0,
            section: ".text".into(),
            offset: 16,
        };
        spec.code = Some((b"\x7fELF module".to_vec(), vec![binding]));
        assert_eq!(
            conf(&spec),
            "protocol=1\nprogram=/ukl/hello\nslots=128,1,128,112,8\n\
             kernel-code=/ukl/kernel-code.ko\nbind=172,4194480,.text,16\ntransition=bypass\n"
        );
    }

    #[test]
    fn the_guest_knows_services_and_its_own_name() {
        let text = |file: &[u8]| String::from_utf8(file.to_vec()).unwrap();
        assert!(text(HOSTS).lines().any(|line| line.ends_with(" ukl")));
        // services(5): every line has a name and PORT/PROTOCOL.
        for line in text(SERVICES).lines().filter(|line| !line.starts_with('#')) {
            let port = line.split_whitespace().nth(1).unwrap();
            let (port, protocol) = port.split_once('/').unwrap();
            assert!(
                port.parse::<u16>().is_ok() && ["tcp", "udp"].contains(&protocol),
                "{line}"
            );
        }
        assert!(text(SERVICES).contains("\nhttp "));
        for line in text(PROTOCOLS)
            .lines()
            .filter(|line| !line.starts_with('#'))
        {
            let number = line.split_whitespace().nth(1).unwrap();
            assert!(number.parse::<u8>().is_ok(), "{line}");
        }
    }

    #[test]
    fn a_name_with_a_directory_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["", "a/b", "..", "a\nb"] {
            let spec = ImageSpec {
                name: name.into(),
                ..spec(dir.path())
            };
            assert!(matches!(files(&spec), Err(ImageError::Spec(_))), "{name:?}");
        }
    }

    #[test]
    fn a_missing_init_says_how_to_make_it() {
        let dir = tempfile::tempdir().unwrap();
        let spec = ImageSpec {
            init: dir.path().join("none"),
            ..spec(dir.path())
        };
        let error = files(&spec).err().unwrap().to_string();
        assert!(error.contains("make init"), "{error}");
    }
}
