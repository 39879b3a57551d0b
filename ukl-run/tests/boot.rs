//! What ukl-run does with a guest. These tests boot machines: they need the kernel archive and the
//! guest's init (`make kernel init`), and fail without.
//!
//! All of them boot by [`ukl_run`], whose [`Guest`] scans the kernel's log in the end.

#[path = "../../testsuite/src/kernel_log.rs"]
#[allow(dead_code, reason = "the testsuite needs more of it")]
mod kernel_log;

use std::fs;
use std::fs::File;
use std::io::BufRead as _;
use std::io::BufReader;
use std::io::Read as _;
use std::io::Write as _;
use std::net::TcpListener;
use std::net::TcpStream;
use std::net::UdpSocket;
use std::ops::Deref;
use std::ops::DerefMut;
use std::path::Path;
use std::path::PathBuf;
use std::process::Child;
use std::process::Command;
use std::process::Output;
use std::process::Stdio;
use std::sync::OnceLock;
use std::thread;
use std::time::Duration;
use std::time::Instant;

use ukl_proto::policy::Policy;

/// The image of tests/probe.c.
fn probe() -> &'static Path {
    static IMAGE: OnceLock<PathBuf> = OnceLock::new();
    IMAGE.get_or_init(|| make_image().unwrap_or_else(|error| panic!("no image: {error}")))
}

fn make_image() -> Result<PathBuf, Box<dyn std::error::Error>> {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let there = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let program = there.join("probe");
    let cc = Command::new("cc")
        .args(["-static", "-O1", "-o"])
        .arg(&program)
        .arg(here.join("tests/probe.c"))
        .status()?;
    assert!(cc.success());
    let libdir = std::env::var_os("UKL_LIBDIR")
        .map_or_else(|| here.join("../target/lib/ukl"), PathBuf::from);
    let path = there.join("probe.ukl");
    let spec = ukl_image::ImageSpec {
        init: libdir.join("init"),
        program: fs::read(&program)?,
        name: "probe".into(),
        build_id: Vec::new(),
        thunks: Vec::new(),
        code: None,
        add: [
            "/added/probe.c",
            "/tmp/added/probe.c",
            "/run/probe.c",
            "/dev/probe.c",
            "/dev/shm/probe.c",
        ]
        .map(|guest| (here.join("tests/probe.c"), guest.into()))
        .to_vec(),
        cmdline: None,
        policy: Policy::default(),
        stack_size: None,
        anyone_starts: false,
    };
    fs::write(&path, ukl_image::make(&libdir.join("kernel"), &spec)?)?;
    Ok(path)
}

/// A guest to be started.
struct Boot {
    command: Command,
    logs: tempfile::TempDir,
    provoked: Option<&'static str>,
}

/// ukl-run with a time limit, a few options, and what the probe is to do.
fn ukl_run(options: &[&str], args: &[&str]) -> Boot {
    let logs = tempfile::tempdir().unwrap();
    let log = logs.path().join("log");
    let log = format!("--log={}", log.display());
    boot(logs, &[&[log.as_str()], options].concat(), args)
}

/// The same where ukl-run decides on its own about the log, which it keeps when something is wrong.
fn ukl_run_without_log(options: &[&str], args: &[&str]) -> Boot {
    boot(tempfile::tempdir().unwrap(), options, args)
}

fn boot(logs: tempfile::TempDir, options: &[&str], args: &[&str]) -> Boot {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ukl-run"));
    command
        .args(["--timeout", "600"])
        .args(options)
        .arg(probe())
        .args(args)
        .env("TMPDIR", logs.path())
        .stdin(Stdio::null());
    Boot {
        command,
        logs,
        provoked: None,
    }
}

impl Boot {
    /// The kernel is to complain, with this text.
    fn provokes(mut self, text: &'static str) -> Self {
        self.provoked = Some(text);
        self
    }

    fn stdin(mut self, to: impl Into<Stdio>) -> Self {
        self.command.stdin(to);
        self
    }

    fn stdout(mut self, to: impl Into<Stdio>) -> Self {
        self.command.stdout(to);
        self
    }

    fn stderr(mut self, to: impl Into<Stdio>) -> Self {
        self.command.stderr(to);
        self
    }

    fn spawn(mut self) -> Guest {
        Guest {
            child: Some(self.command.spawn().unwrap()),
            logs: self.logs,
            provoked: self.provoked,
        }
    }

    fn output(self) -> Output {
        let piped = self.stdout(Stdio::piped()).stderr(Stdio::piped());
        piped.spawn().output()
    }
}

/// A ukl-run that was started. When the test is done with it, it is stopped, and the kernel's log is
/// scanned.
struct Guest {
    child: Option<Child>,
    logs: tempfile::TempDir,
    provoked: Option<&'static str>,
}

impl Guest {
    /// Waits for its end. It may be asked for its log then.
    fn output(&mut self) -> Output {
        self.child.take().unwrap().wait_with_output().unwrap()
    }

    /// What the kernel has logged, wherever ukl-run was told to put it.
    fn logged(&self) -> String {
        let files = fs::read_dir(self.logs.path()).unwrap().flatten();
        files
            .filter(|file| file.file_type().is_ok_and(|kind| kind.is_file()))
            .map(|file| String::from_utf8_lossy(&fs::read(file.path()).unwrap()).into_owned())
            .collect()
    }
}

impl Deref for Guest {
    type Target = Child;

    fn deref(&self) -> &Child {
        self.child.as_ref().unwrap()
    }
}

impl DerefMut for Guest {
    fn deref_mut(&mut self) -> &mut Child {
        self.child.as_mut().unwrap()
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            let _ = child.kill();
            let _ = child.wait();
        }
        if thread::panicking() {
            return;
        }
        let log = self.logged();
        let complaint = kernel_log::first_complaint(&log, &[]);
        match (complaint, self.provoked) {
            (None, None) => {}
            (Some(line), Some(wanted)) if line.contains(wanted) => {}
            (Some(line), _) => panic!("the kernel: {}", kernel_log::excerpt(&log, line)),
            (None, Some(wanted)) => panic!("the kernel did not log `{wanted}`:\n{log}"),
        }
    }
}

fn output(options: &[&str], args: &[&str]) -> Output {
    ukl_run(options, args).output()
}

/// The output of a run that succeeds.
fn stdout(options: &[&str], args: &[&str]) -> String {
    let out = output(options, args);
    assert!(out.status.success(), "{args:?}: {out:?}");
    assert_eq!(String::from_utf8_lossy(&out.stderr), "", "{args:?}");
    String::from_utf8(out.stdout).unwrap()
}

/// A run whose first line of output has come: the program is ready.
fn ready(options: &[&str], args: &[&str]) -> (Guest, BufReader<std::process::ChildStdout>) {
    let mut child = ukl_run(options, args)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let mut out = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    out.read_line(&mut line).unwrap();
    assert_eq!(line, "ready\n");
    (child, out)
}

fn signal(child: &Child, signal: i32) {
    // SAFETY: no memory is involved.
    unsafe { libc::kill(child.id() as i32, signal) };
}

/// The QEMU that a ukl-run has started.
fn qemu_of(child: &Child) -> Option<i32> {
    let tasks = fs::read_dir(format!("/proc/{}/task", child.id())).ok()?;
    tasks.flatten().find_map(|task| {
        let children = fs::read_to_string(task.path().join("children")).ok()?;
        children.split_whitespace().next()?.parse().ok()
    })
}

fn is_gone(pid: i32) -> bool {
    let end = Instant::now() + Duration::from_secs(5);
    while Instant::now() < end {
        match fs::read_to_string(format!("/proc/{pid}/stat")) {
            // A zombie is as good as gone, and not ours to bury.
            Ok(stat) if !stat.contains(") Z ") => thread::sleep(Duration::from_millis(10)),
            _ => return true,
        }
    }
    false
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port()
}

#[test]
fn arguments_arrive_as_they_are() {
    let args = ["args", "two words", "", "\"quoted\"", "--flag", "ü\n", "--"];
    let expected = "<two words>\n<>\n<\"quoted\">\n<--flag>\n<ü\n>\n<-->\n";
    assert_eq!(
        stdout(&[], &args),
        format!("</ukl/probe>\n<args>\n{expected}")
    );
}

#[test]
fn the_environment_is_what_was_given_and_little_more() {
    let out = stdout(
        &[
            "-e",
            "A=b c",
            "-e",
            "HOME=/x",
            "-e",
            "NOT_SET_HERE",
            "-e",
            "E=",
        ],
        &["env"],
    );
    let mut lines: Vec<&str> = out.lines().collect();
    lines.sort();
    let path = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:/ukl";
    assert_eq!(lines, ["A=b c", "E=", "HOME=/x", path, "TERM=linux"]);
}

#[test]
fn exit_statuses_are_passed_on() {
    for (args, status) in [
        (["exit", "0"], 0),
        (["exit", "42"], 42),
        (["exit", "255"], 255),
        (["raise", "15"], 128 + 15),
        (["raise", "9"], 128 + 9),
        (["crash", ""], 128 + 11),
    ] {
        let out = output(&[], &args);
        assert_eq!(out.status.code(), Some(status), "{args:?}: {out:?}");
        assert!(
            out.stdout.is_empty() && out.stderr.is_empty(),
            "{args:?}: {out:?}"
        );
    }
}

#[test]
fn ring_3_looks_the_same() {
    for options in [&[][..], &["--ring3"]] {
        assert_eq!(stdout(options, &["self"]), "/ukl/probe\n");
        assert_eq!(stdout(options, &["init"]), "1 1 0\n");
    }
}

#[test]
fn input_goes_through_byte_for_byte_and_ends() {
    let mut data: Vec<u8> = (0..3_000_000u32)
        .map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8)
        .collect();
    data.extend_from_slice(b"\0\x03\x04\r\n\0");
    let mut child = ukl_run(&[], &["cat"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn();
    let mut stdin = child.stdin.take().unwrap();
    let sent = data.clone();
    let writer = thread::spawn(move || stdin.write_all(&sent));
    let out = child.output();
    writer.join().unwrap().unwrap();
    assert!(out.status.success());
    assert_eq!(out.stdout.len(), data.len());
    assert!(out.stdout == data);
}

#[test]
fn no_input_is_the_end_of_it() {
    assert_eq!(stdout(&[], &["cat"]), "");
}

#[test]
fn large_output_is_not_lost_however_slow_the_reader() {
    const SIZE: usize = 20_000_000;
    let mut child = ukl_run(&[], &["big", &SIZE.to_string()])
        .stdout(Stdio::piped())
        .spawn();
    let mut out = child.stdout.take().unwrap();
    let mut buffer = vec![0; 1 << 16];
    let mut total = 0;
    // Late, so that everything on the way is full.
    thread::sleep(Duration::from_secs(4));
    loop {
        let count = out.read(&mut buffer).unwrap();
        if count == 0 {
            break;
        }
        for (at, byte) in buffer[..count].iter().enumerate() {
            assert_eq!(usize::from(*byte), (total + at) % (1 << 16) % 251);
        }
        total += count;
    }
    assert_eq!(total, SIZE);
    assert!(child.wait().unwrap().success());
}

#[test]
fn output_and_errors_are_apart() {
    let out = output(&[], &["both"]);
    assert_eq!(String::from_utf8(out.stdout).unwrap(), "out\n".repeat(50));
    assert_eq!(String::from_utf8(out.stderr).unwrap(), "err\n".repeat(50));
}

#[test]
fn output_and_errors_in_one_file_keep_their_order() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("both");
    let file = File::create(&path).unwrap();
    let status = ukl_run(&[], &["both"])
        .stdout(file.try_clone().unwrap())
        .stderr(file)
        .spawn()
        .wait()
        .unwrap();
    assert!(status.success());
    assert_eq!(fs::read_to_string(path).unwrap(), "out\nerr\n".repeat(50));
}

#[test]
fn a_reader_that_goes_away_ends_the_program() {
    let mut child = ukl_run(&[], &["yes"]).stdout(Stdio::piped()).spawn();
    let mut line = [0; 2];
    child.stdout.take().unwrap().read_exact(&mut line).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(128 + libc::SIGPIPE));
}

#[test]
fn what_the_program_leaves_behind_ends_with_it() {
    let out = output(&[], &["orphan"]);
    assert_eq!(out.status.code(), Some(3));
    assert_eq!(out.stdout, b"child\n");
}

#[test]
fn a_program_that_takes_too_long_is_stopped() {
    // On a busy machine the time may be up before the program starts: try a longer one then.
    for seconds in ["6", "30", "150"] {
        let mut guest = ukl_run_without_log(&["--timeout", seconds], &["spin"])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn();
        let out = guest.output();
        assert_eq!(out.status.code(), Some(124));
        let text = String::from_utf8(out.stderr).unwrap();
        let log = text.rsplit(' ').next().unwrap().trim();
        let log = fs::read_to_string(log).unwrap();
        if out.stdout.is_empty() {
            continue;
        }
        assert_eq!(out.stdout, b"ready\n");
        assert!(log.contains("Linux version"), "{text}");
        return;
    }
    panic!("the program never started");
}

#[test]
fn signals_reach_the_program() {
    for (number, status) in [(libc::SIGTERM, 7), (libc::SIGINT, 8)] {
        let (mut child, mut out) = ready(&[], &["trap"]);
        signal(&child, number);
        let mut rest = String::new();
        out.read_to_string(&mut rest).unwrap();
        assert_eq!(rest, "bye\n");
        assert_eq!(child.wait().unwrap().code(), Some(status));
    }
    let (mut child, _out) = ready(&[], &["spin"]);
    signal(&child, libc::SIGINT);
    assert_eq!(child.wait().unwrap().code(), Some(128 + libc::SIGINT));
}

#[test]
fn an_interrupt_while_the_machine_starts_stops_it() {
    let mut child = ukl_run(&[], &["spin"]).spawn();
    thread::sleep(Duration::from_millis(300));
    let qemu = qemu_of(&child).unwrap();
    signal(&child, libc::SIGINT);
    assert_eq!(child.wait().unwrap().code(), Some(130));
    assert!(is_gone(qemu));
}

#[test]
fn no_machine_outlives_its_ukl_run() {
    let (mut child, _out) = ready(&[], &["spin"]);
    let qemu = qemu_of(&child).unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(is_gone(qemu));
}

#[test]
fn a_guest_that_dies_is_255_with_the_end_of_its_log() {
    let mut child = ukl_run_without_log(&[], &["panic"])
        .provokes("Kernel panic - not syncing: sysrq triggered crash")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let mut line = String::new();
    BufReader::new(child.stdout.as_mut().unwrap())
        .read_line(&mut line)
        .unwrap();
    assert_eq!(line, "before\n");
    child.stdin.as_mut().unwrap().write_all(b"\n").unwrap();
    let out = child.output();
    assert_eq!(out.status.code(), Some(255), "{out:?}");
    let text = String::from_utf8(out.stderr).unwrap();
    assert!(
        text.contains("Kernel panic - not syncing: sysrq triggered crash"),
        "{text}"
    );
    let log = text.trim_end().rsplit(' ').next().unwrap();
    assert!(Path::new(log).is_file(), "{text}");
}

#[test]
fn a_guest_without_init_is_255() {
    let mut guest = ukl_run(&["--append", "rdinit=/nonexistent"], &["exit", "0"])
        .provokes("Kernel panic")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let out = guest.output();
    assert_eq!(out.status.code(), Some(255), "{out:?}");
    assert!(
        String::from_utf8(out.stderr)
            .unwrap()
            .contains("Kernel panic")
    );
    assert!(guest.logged().contains("Kernel panic"));
}

#[test]
fn init_tells_of_its_own_failures() {
    for (options, message) in [
        (["--wrap", "/nonexistent"], "cannot start /nonexistent"),
        (["--workdir", "/nonexistent"], "/nonexistent does not exist"),
        (["--beside", "/nonexistent"], "cannot start /nonexistent"),
    ] {
        let out = output(&options, &["exit", "0"]);
        assert_eq!(out.status.code(), Some(125), "{options:?}: {out:?}");
        let text = String::from_utf8(out.stderr).unwrap();
        assert!(
            text.contains("in the guest") && text.contains(message),
            "{text}"
        );
    }
}

#[test]
fn the_log_is_shown_on_request_only() {
    let out = output(&["--console"], &["exit", "0"]);
    assert!(String::from_utf8_lossy(&out.stderr).contains("Run /init as init process"));
    assert!(out.stdout.is_empty());
}

#[test]
fn volumes_are_read_and_written() {
    let dir = tempfile::tempdir().unwrap();
    let volume = format!("{}:/data", dir.path().display());
    let path = dir.path().join("file");
    fs::write(&path, "one\n").unwrap();
    let read_only = format!("{volume}:ro");
    assert_eq!(stdout(&["-v", &volume], &["read", "/data/file"]), "one\n");
    assert_eq!(stdout(&["-v", &volume], &["mmap", "/data/file"]), "one\n");
    assert_eq!(
        stdout(&["-v", &read_only], &["read", "/data/file"]),
        "one\n"
    );
    stdout(&["-v", &volume], &["write", "/data/file", "two\n"]);
    assert_eq!(fs::read_to_string(&path).unwrap(), "one\ntwo\n");
    let out = output(&["-v", &read_only], &["write", "/data/file", "three\n"]);
    assert_eq!(out.status.code(), Some(99));
    assert_eq!(fs::read_to_string(&path).unwrap(), "one\ntwo\n");
}

#[test]
fn what_was_synced_survives_the_guest() {
    let dir = tempfile::tempdir().unwrap();
    let volume = format!("{}:/data", dir.path().display());
    let out = ukl_run(
        &["-v", &volume],
        &["write", "/data/file", "kept\n", "crash"],
    )
    .provokes("Kernel panic")
    .output();
    assert_eq!(out.status.code(), Some(255), "{out:?}");
    assert_eq!(
        fs::read_to_string(dir.path().join("file")).unwrap(),
        "kept\n"
    );
}

#[test]
fn files_of_the_image_are_there() {
    let source = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/probe.c"));
    // Those below /tmp, /run and /dev would be hidden by what init mounts there.
    let paths = [
        "/added/probe.c",
        "/tmp/added/probe.c",
        "/run/probe.c",
        "/dev/probe.c",
        "/dev/shm/probe.c",
    ];
    let mut args = vec!["read"];
    args.extend(paths);
    assert_eq!(stdout(&[], &args), source.unwrap().repeat(paths.len()));
}

#[test]
fn services_and_the_machines_own_name_are_known() {
    assert_eq!(stdout(&[], &["names"]), "http 80\nudp 17\nukl 0\n");
}

#[test]
fn tcp_ports_are_forwarded() {
    for machine in ["q35", "pc", "microvm"] {
        let port = free_port();
        let forward = format!("{port}:7");
        let (mut child, _out) = ready(&["--machine", machine, "-p", &forward], &["tcp", "7"]);
        let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
        stream.write_all(b"hello over there").unwrap();
        let mut back = [0; 16];
        stream.read_exact(&mut back).unwrap();
        assert_eq!(&back, b"hello over there");
        drop(stream);
        assert!(child.wait().unwrap().success());
    }
}

#[test]
fn udp_ports_are_forwarded() {
    let port = free_port();
    let (mut child, _out) = ready(&["-p", &format!("{port}:7/udp")], &["udp", "7"]);
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket
        .set_read_timeout(Some(Duration::from_secs(10)))
        .unwrap();
    socket.send_to(b"datagram", ("127.0.0.1", port)).unwrap();
    let mut back = [0; 16];
    assert_eq!(socket.recv(&mut back).unwrap(), 8);
    assert!(child.wait().unwrap().success());
}

#[test]
fn a_port_in_use_is_our_failure() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let forward = format!("{}:7", listener.local_addr().unwrap().port());
    let out = output(&["-p", &forward], &["exit", "0"]);
    assert_eq!(out.status.code(), Some(125), "{out:?}");
    assert!(
        String::from_utf8_lossy(&out.stderr).contains("forward"),
        "{out:?}"
    );
}

#[test]
fn the_guest_reaches_the_host() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port().to_string();
    let server = thread::spawn(move || listener.accept().unwrap().0.write_all(b"from the host"));
    assert_eq!(stdout(&[], &["fetch", "10.0.2.2", &port]), "from the host");
    server.join().unwrap().unwrap();
    assert_eq!(
        stdout(&[], &["read", "/etc/resolv.conf"]),
        "nameserver 10.0.2.3\n"
    );
}

#[test]
fn gdb_attaches_and_knows_the_program() {
    let port = free_port().to_string();
    let mut child = ukl_run(&["--gdb", &port], &["exit", "9"])
        .stderr(Stdio::piped())
        .spawn();
    let mut line = String::new();
    BufReader::new(child.stderr.take().unwrap())
        .read_line(&mut line)
        .unwrap();
    let command = line
        .trim_end()
        .strip_prefix("ukl-run: waiting for: ")
        .unwrap();
    let gdb = Command::new("sh")
        .arg("-c")
        .arg(format!(
            "{command} -batch -nx -ex 'hbreak on_term' -ex 'info symbol on_term' -ex detach"
        ))
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&gdb.stdout);
    assert!(text.contains("on_term in section .text"), "{gdb:?}");
    assert_eq!(child.wait().unwrap().code(), Some(9));
}

#[test]
fn a_reader_that_stalls_does_not_keep_us_from_being_stopped() {
    let mut child = ukl_run(&[], &["big", "300000"])
        .stdout(Stdio::piped())
        .spawn();
    // By then the program has ended, and the rest of its output is on its way.
    thread::sleep(Duration::from_secs(8));
    signal(&child, libc::SIGINT);
    assert_eq!(child.wait().unwrap().code(), Some(130));
}

#[test]
fn the_working_directory_and_the_limits() {
    assert_eq!(stdout(&[], &["limits"]), "/ 65536\n");
    assert_eq!(stdout(&["--workdir", "/tmp"], &["limits"]), "/tmp 65536\n");
}

#[test]
fn a_command_in_front_starts_the_program() {
    assert_eq!(
        stdout(&["--wrap", "/ukl/probe run"], &["parent"]),
        "probe\n"
    );
    let out = output(&["--wrap", "/ukl/probe run"], &["exit", "5"]);
    assert_eq!(out.status.code(), Some(5));
}

#[test]
fn a_process_beside_the_program_speaks_on_the_console() {
    let out = output(
        &["--console", "--beside", "/ukl/probe say"],
        &["wait", "/tmp/said"],
    );
    assert!(out.status.success(), "{out:?}");
    assert!(
        String::from_utf8_lossy(&out.stderr).contains("beside: /ukl/probe"),
        "{out:?}"
    );
}

#[test]
fn the_hosts_tools_run_in_the_guest() {
    let wrap = "/bin/sh -c 'set -e; touch /tmp/x; cat /etc/resolv.conf; exec \"$@\"' sh";
    let out = stdout(&["--host-tools", "--wrap", wrap], &["args"]);
    assert_eq!(out, "nameserver 10.0.2.3\n</ukl/probe>\n<args>\n");
}

#[test]
fn several_processors_and_a_counted_clock() {
    let online = ["read", "/sys/devices/system/cpu/online"];
    assert_eq!(stdout(&["--cpus", "2"], &online), "0-1\n");
    assert_eq!(stdout(&["--icount"], &online), "0\n");
}

#[test]
fn a_plain_boot_works_without_ukl_run() {
    let out = Command::new("timeout")
        .args([
            "300",
            "qemu-system-x86_64",
            "-display",
            "none",
            "-no-reboot",
            "-cpu",
            "max",
        ])
        .args(["-nodefaults", "-serial", "stdio", "-netdev", "user,id=n"])
        .args(["-device", "virtio-net-pci,netdev=n", "-kernel"])
        .arg(probe())
        .args([
            "-append",
            "console=ttyS0 panic=-1 no_timer_check FOO=bar -- args \"two words\"",
        ])
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert!(out.status.success(), "{out:?}");
    let text = String::from_utf8_lossy(&out.stdout);
    assert_eq!(kernel_log::first_complaint(&text, &[]), None, "{text}");
    assert!(
        text.contains("</ukl/probe>\r\n<args>\r\n<two words>\r\n"),
        "{text}"
    );
    assert!(text.contains("Power down"), "{text}");
}

#[test]
fn a_plain_boot_gets_its_address_by_dhcp() {
    let out = Command::new("timeout")
        .args([
            "300",
            "qemu-system-x86_64",
            "-display",
            "none",
            "-no-reboot",
            "-cpu",
            "max",
        ])
        .args([
            "-nodefaults",
            "-serial",
            "stdio",
            "-netdev",
            "user,id=n,dns=10.0.2.9",
        ])
        .args(["-device", "virtio-net-pci,netdev=n", "-kernel"])
        .arg(probe())
        .args([
            "-append",
            "console=ttyS0 panic=-1 no_timer_check -- read /etc/resolv.conf",
        ])
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&out.stdout);
    assert_eq!(kernel_log::first_complaint(&text, &[]), None, "{text}");
    assert!(text.contains("nameserver 10.0.2.9"), "{text}");
}

/// ukl-run in a terminal of its own, by way of script(1).
fn in_terminal(args: &str) -> Boot {
    let logs = tempfile::tempdir().unwrap();
    let line = format!(
        "{} --timeout 300 --log {}/log {} {args}; echo status $?",
        env!("CARGO_BIN_EXE_ukl-run"),
        logs.path().display(),
        probe().display()
    );
    let mut command = Command::new("script");
    command.args(["-qc", &line, "/dev/null"]);
    Boot {
        command,
        logs,
        provoked: None,
    }
}

#[test]
fn in_a_terminal_the_program_has_one() {
    let out = in_terminal("tty").stdin(Stdio::null()).output();
    let text = String::from_utf8_lossy(&out.stdout);
    assert!(text.contains("111\r\n"), "{text}");
    assert!(text.contains("status 0"), "{text}");
}

#[test]
fn in_a_terminal_ctrl_c_is_the_guests() {
    let mut child = in_terminal("tty cat")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn();
    let mut out = BufReader::new(child.stdout.take().unwrap());
    let mut keys = child.stdin.take().unwrap();
    let mut line = String::new();
    while line.trim() != "111" {
        line.clear();
        assert_ne!(out.read_line(&mut line).unwrap(), 0);
    }
    keys.write_all(b"typed\r").unwrap();
    // Once by the terminal's echo, once by the program.
    for _ in 0..2 {
        line.clear();
        out.read_line(&mut line).unwrap();
        assert_eq!(line.trim(), "typed");
    }
    keys.write_all(b"\x03").unwrap();
    let mut rest = String::new();
    out.read_to_string(&mut rest).unwrap();
    assert!(rest.contains("status 130"), "{rest}");
    child.wait().unwrap();
}
