//! What ukl-run does before it starts a guest.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::Command;
use std::process::Output;
use std::process::Stdio;

use tempfile::TempDir;
use ukl_proto::stamp::Stamp;

fn ukl_run(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_ukl-run"))
        .args(args)
        .output()
        .unwrap()
}

/// A file with the header of an image, whose real-mode code is one sector long.
fn image() -> (TempDir, String) {
    let dir = tempfile::tempdir().unwrap();
    let path: PathBuf = dir.path().join("prog.ukl");
    let mut data = vec![0; 0x400];
    data[0x202..0x206].copy_from_slice(b"HdrS");
    // Loaded at 16 MiB, where it needs 24 MiB.
    data[0x258..0x260].copy_from_slice(&(16u64 << 20).to_le_bytes());
    data[0x260..0x264].copy_from_slice(&(24u32 << 20).to_le_bytes());
    fs::write(&path, data).unwrap();
    let path = path.to_str().unwrap().to_owned();
    (dir, path)
}

fn dry_run(args: &[&str]) -> String {
    let (_dir, image) = image();
    let mut all = vec!["--dry-run"];
    all.extend(args);
    all.push(&image);
    let out = ukl_run(&all);
    assert!(out.status.success(), "{out:?}");
    String::from_utf8(out.stdout).unwrap()
}

fn fails(args: &[&str]) -> String {
    let out = ukl_run(args);
    assert_eq!(out.status.code(), Some(125), "{args:?}: {out:?}");
    assert!(out.stdout.is_empty(), "{args:?}");
    String::from_utf8(out.stderr).unwrap()
}

#[test]
fn a_dry_run_prints_one_line_and_runs_nothing() {
    let line = dry_run(&["--no-kvm"]);
    assert_eq!(line.lines().count(), 1);
    assert!(line.starts_with("qemu-system-x86_64 "), "{line}");
    for part in [
        "-no-reboot",
        "-accel tcg -cpu max",
        "-machine q35",
        "panic=-1",
        "prog.ukl",
    ] {
        assert!(line.contains(part), "{part}: {line}");
    }
    // Arguments do not go by way of the kernel.
    assert!(!line.contains(" -- "), "{line}");
}

#[test]
fn options_reach_qemu() {
    for (args, part) in [
        (&["-m", "1G"][..], "-m 1048576k"),
        (&["--cpus", "2"], "-smp 2"),
        (&["-p", "8080:80"], "hostfwd=tcp:127.0.0.1:8080-:80"),
        (
            &["-p", "0.0.0.0:53:5353/udp"],
            "hostfwd=udp:0.0.0.0:53-:5353",
        ),
        (
            &["-v", "/tmp:/data:ro"],
            "readonly=on,multidevs=remap,path=/tmp",
        ),
        (&["--append", "quiet"], " quiet'"),
        (&["--gdb", "4321"], "-gdb tcp:127.0.0.1:4321 -S"),
        (&["--gdb"], "-gdb tcp:127.0.0.1:1234 -S"),
        (&["--icount"], "-icount shift=0"),
        (&["--machine", "microvm"], "virtio-serial-device"),
        (&["--machine", "pc"], "-machine pc"),
        (&["--qemu-arg", "-trace", "--qemu-arg", "x"], "-trace x"),
        (&["--host-tools"], "path=/usr"),
    ] {
        let line = dry_run(args);
        assert!(line.contains(part), "{part}: {line}");
    }
    assert!(!dry_run(&["--no-net"]).contains("netdev"));
}

#[test]
fn the_programs_arguments_are_not_ours() {
    let (_dir, image) = image();
    let out = ukl_run(&["--dry-run", &image, "--version", "-m", "nonsense"]);
    assert!(out.status.success(), "{out:?}");
}

#[test]
fn our_own_failures_are_125() {
    let (dir, image) = image();
    let elf = dir.path().join("elf");
    fs::write(&elf, b"\x7fELF").unwrap();
    let elf = elf.to_str().unwrap();
    for (args, message) in [
        (&[][..], "PROG"),
        (&["--nonsense", &image], "--nonsense"),
        (&["-m", "lots", &image], "512M"),
        (&["-m", "39M", &image], "more than 40M"),
        (&["-p", "80", &image], "HOST:GUEST"),
        (&["-v", "/tmp", &image], "HOSTDIR:GUESTDIR"),
        (&["-v", "/nonexistent:/data", &image], "/nonexistent"),
        (&["-v", "/etc/passwd:/data", &image], "not a directory"),
        (&["-e", "=x", &image], "needs a name"),
        (&["--icount", "--cpus", "2", &image], "one processor"),
        (&["/nonexistent/prog"], "CC=ukl-cc"),
        (&[elf], "not an image"),
        (&["/tmp"], "no image"),
    ] {
        let text = fails(args);
        assert!(text.contains(message), "{args:?}: {text}");
    }
}

#[test]
fn a_missing_qemu_is_told_of() {
    let (_dir, image) = image();
    let out = Command::new(env!("CARGO_BIN_EXE_ukl-run"))
        .env("UKL_QEMU", "/nonexistent/qemu")
        .arg(image)
        .output()
        .unwrap();
    assert_eq!(out.status.code(), Some(125));
    let text = String::from_utf8(out.stderr).unwrap();
    assert!(
        text.contains("/nonexistent/qemu") && text.contains("qemu-system-x86"),
        "{text}"
    );
}

#[test]
fn what_qemu_complains_of_is_passed_on() {
    let (_dir, image) = image();
    let text = fails(&["--qemu-arg", "-nonsense", &image]);
    assert!(
        text.contains("QEMU failed") && text.contains("nonsense"),
        "{text}"
    );
}

#[test]
fn help_and_version_succeed() {
    for flag in ["--help", "--version"] {
        let out = ukl_run(&[flag]);
        assert!(out.status.success());
        assert!(!out.stdout.is_empty());
    }
    let version = String::from_utf8(ukl_run(&["--version"]).stdout).unwrap();
    assert!(version.starts_with("ukl-run "), "{version}");
    assert!(version.contains("\nkernel archive: "), "{version}");
}

/// The records that ukl-run gives to the init of this image.
fn records(dir: &TempDir, image: &str, args: &[&str]) -> String {
    let (qemu, copy) = (dir.path().join("qemu"), dir.path().join("records"));
    // The word behind -fw_cfg is name=NAME,file=/proc/self/fd/N.
    let script = format!(
        "#!/bin/sh\nfor word; do case $word in name=opt/*) cat \"${{word##*file=}}\" >{};; esac; done\n",
        copy.display()
    );
    fs::write(&qemu, script).unwrap();
    fs::set_permissions(&qemu, fs::Permissions::from_mode(0o755)).unwrap();
    let out = Command::new(env!("CARGO_BIN_EXE_ukl-run"))
        .env("UKL_QEMU", &qemu)
        .args(args)
        .arg(image)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    // This machine ends without an exit status.
    assert_eq!(out.status.code(), Some(255), "{out:?}");
    fs::read_to_string(copy).unwrap()
}

#[test]
fn records_are_of_the_images_version() {
    let (dir, image) = image();
    let args = ["--return=jump", "--stack=kernel", "--wrap=strace -f"];
    let old = records(&dir, &image, &args);
    assert!(old.contains("\0return=ret\0stack=own\0"), "{old:?}");
    assert!(!old.contains("protocol"), "{old:?}");
    let mut data = fs::read(&image).unwrap();
    let stamp = Stamp::new(&[]).encode();
    data[0x200 - stamp.len()..0x200].copy_from_slice(&stamp);
    fs::write(&image, data).unwrap();
    let new = records(&dir, &image, &args);
    assert!(new.starts_with("protocol=1\0"), "{new:?}");
    assert!(new.contains("\0return=jump\0stack=kernel\0"), "{new:?}");
    assert!(new.contains("\0wrap=strace -f\0"), "{new:?}");
}

#[test]
fn an_image_of_another_build_is_refused() {
    let (dir, image) = image();
    let (source, program) = (dir.path().join("main.c"), dir.path().join("prog"));
    fs::write(&source, "int main(void) { return 0; }").unwrap();
    let built = Command::new("cc")
        .args(["-Wl,--build-id=0x0123abcd", "-o"])
        .args([&program, &source])
        .status();
    assert!(built.unwrap().success());
    let run = |id: &[u8]| {
        let mut data = fs::read(&image).unwrap();
        let stamp = Stamp::new(id).encode();
        data[0x200 - stamp.len()..0x200].copy_from_slice(&stamp);
        fs::write(&image, data).unwrap();
        Command::new(env!("CARGO_BIN_EXE_ukl-run"))
            .env("XDG_CACHE_HOME", dir.path())
            .arg("--dry-run")
            .arg(&program)
            .output()
            .unwrap()
    };
    assert!(run(&[1, 0x23, 0xab, 0xcd]).status.success());
    let out = run(&[1, 0x23, 0xab, 0xce]);
    assert_eq!(out.status.code(), Some(125), "{out:?}");
    let text = String::from_utf8(out.stderr).unwrap();
    assert!(text.contains("link the program again"), "{text}");

    // The registry may know where the right image is.
    let other = dir.path().join("other.ukl");
    let mut data = fs::read(&image).unwrap();
    let stamp = Stamp::new(&[1, 0x23, 0xab, 0xcd]).encode();
    data[0x200 - stamp.len()..0x200].copy_from_slice(&stamp);
    fs::write(&other, data).unwrap();
    let images = dir.path().join("ukl/images");
    fs::create_dir_all(&images).unwrap();
    std::os::unix::fs::symlink(&other, images.join("0123abcd")).unwrap();
    let out = run(&[1, 0x23, 0xab, 0xce]);
    let line = String::from_utf8(out.stdout).unwrap();
    assert!(line.contains("other.ukl"), "{line}");
}

#[test]
fn a_copied_program_finds_its_image_by_build_id() {
    let (dir, image) = image();
    let program = dir.path().join("installed");
    let source = dir.path().join("main.c");
    fs::write(&source, "int main(void) { return 0; }").unwrap();
    let built = Command::new("cc")
        .args(["-Wl,--build-id=0x0123abcd", "-o"])
        .args([&program, &source])
        .status();
    assert!(built.unwrap().success());
    let images = dir.path().join("ukl/images");
    fs::create_dir_all(&images).unwrap();
    std::os::unix::fs::symlink(&image, images.join("0123abcd")).unwrap();
    let out = Command::new(env!("CARGO_BIN_EXE_ukl-run"))
        .env("XDG_CACHE_HOME", dir.path())
        .arg("--dry-run")
        .arg(&program)
        .output()
        .unwrap();
    let line = String::from_utf8(out.stdout).unwrap();
    assert!(line.contains("prog.ukl"), "{line}");
}
