//! Images of programs that were never linked here (`ukl-pack`): Debian's own binaries, a root
//! directory, a container image, and a package, each at ring 0 and at ring 3 with equal output.

use std::ffi::OsStr;
use std::fs;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Result;
use anyhow::ensure;
use testsuite::directives::End;
use testsuite::dirs::scratch;
use testsuite::dirs::volume;
use testsuite::guest;
use testsuite::harness;
use testsuite::http;
use testsuite::process;
use testsuite::process::words;
use testsuite::redis::Redis;
use testsuite::server::Server;
use testsuite::tools;
use testsuite::tools::Tools;
use testsuite::tools::patient;

fn main() -> ExitCode {
    harness::run(
        "pack",
        &[
            ("libraries", libraries),
            ("bash", bash),
            ("python", python),
            ("perl", perl),
            ("redis", redis),
            ("rootfs", rootfs),
            ("container", container),
            ("package", package),
            ("nginx", nginx),
        ],
    )
}

/// Makes an image. `words` are the options, the program and its arguments.
fn pack(tools: &Tools, name: &str, words: &[&OsStr]) -> Result<PathBuf> {
    let image = scratch(tools, name)?.join("image.ukl");
    let mut command = Command::new(tools.tool("ukl-pack"));
    command.arg("-o").arg(&image).args(words);
    process::check(&mut command, patient(Duration::from_secs(120)))?;
    Ok(image)
}

/// Runs an image at ring 0 and at ring 3 and returns the outputs.
fn at_both(
    tools: &Tools,
    image: &Path,
    options: &[&str],
    args: &[&str],
    code: i32,
) -> Result<[String; 2]> {
    let run = |ring: Option<&str>| {
        let log = format!("{}.log", ring.unwrap_or("ring0").trim_start_matches('-'));
        let before = ring.iter().chain(options).map(OsStr::new);
        let after = args.iter().map(OsStr::new);
        let words: Vec<&OsStr> = before.chain([image.as_os_str()]).chain(after).collect();
        let output = guest::run(tools, &log, &words, b"")?;
        ensure!(
            output.end == Some(End::Exit(code)),
            "{ring:?}: {:?}: {}{}",
            output.end,
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
        Ok(String::from_utf8(output.stdout)?)
    };
    Ok([run(None)?, run(Some("--ring3"))?])
}

/// The same, for a program whose output has to be equal and to contain these texts.
fn equal(
    tools: &Tools,
    image: &Path,
    options: &[&str],
    args: &[&str],
    code: i32,
    contained: &[&str],
) -> Result<()> {
    let [ring0, ring3] = at_both(tools, image, options, args, code)?;
    ensure!(ring0 == ring3, "ring 0:\n{ring0}\nring 3:\n{ring3}");
    for text in contained {
        ensure!(ring0.contains(text), "no `{text}' in:\n{ring0}");
    }
    Ok(())
}

/// A program at ring 0 runs on rewritten libraries; its child at ring 3 and the same program at ring
/// 3 do not.
fn libraries(tools: &Tools) -> Result<()> {
    let script = r#"echo "$(< /proc/$$/maps)"; echo ---; cat /proc/self/maps"#;
    let image = pack(
        tools,
        "pack-libraries",
        &words(&[&"--add", &"/usr/bin/cat", &"/usr/bin/bash", &"-c", &script]),
    )?;
    let outputs = at_both(tools, &image, &[], &[], 0)?;
    for (output, at_ring0) in outputs.iter().zip([true, false]) {
        let parts = output.split_once("---");
        let Some((program, child)) = parts else {
            anyhow::bail!("no child in:\n{output}");
        };
        for (maps, is_rewritten) in [(program, at_ring0), (child, false)] {
            for (rewritten, name) in [
                (true, "/usr/lib/ukl/libc.so.6"),
                (true, "/usr/lib/ukl/ld-linux.so.2"),
                (false, "-gnu/libc.so.6"),
                (false, "-gnu/ld-linux-x86-64.so.2"),
            ] {
                ensure!(
                    maps.contains(name) == (rewritten == is_rewritten),
                    "{name} in:\n{maps}"
                );
            }
        }
    }
    Ok(())
}

const BASH: &str = r#"
set -eu
declare -A squares
for i in {1..20}; do squares[$i]=$((i * i)); done
echo "sum $(( ${squares[3]} + ${squares[4]} ))"
# Subshells are forked at ring 0, cat and sh are ordinary processes.
for i in 1 2 3; do ( echo "subshell $i"; exit "$i" ) || echo "status $?"; done
printf '%s\n' c a b | cat | while read -r line; do echo "line $line"; done
sh -c 'echo "from sh: $1"; kill -TERM $$' x "an argument" || echo "status $?"
trap 'echo "trapped"' USR1
kill -USR1 $$
sleep_until() { read -r -t "$1" _ <> <(:) || true; }
sleep_until 0.05
coproc { while read -r x; do echo "got $x"; done; }
echo hello >&"${COPROC[1]}"; read -r answer <&"${COPROC[0]}"; echo "$answer"
cat <<< "here" > /tmp/file; echo "$(< /tmp/file)"
LC_ALL=C.UTF-8; text='grün'; echo "${#text} ${text^^}"
exit 7
"#;

fn bash(tools: &Tools) -> Result<()> {
    let image = pack(
        tools,
        "pack-bash",
        &words(&[
            &"--add",
            &"/bin/cat",
            &"--add",
            &"/bin/sh",
            &"/bin/bash",
            &"-c",
            &BASH,
        ]),
    )?;
    equal(
        tools,
        &image,
        &[],
        &[],
        7,
        &[
            "sum 25\n",
            "subshell 3\nstatus 3\n",
            "line c\nline a\nline b\n",
            "from sh: an argument\nstatus 143\n",
            "trapped\n",
            "got hello\n",
            "here\n",
            "4 GRÜN\n",
        ],
    )
}

const PYTHON: &str = r#"
import ctypes, hashlib, json, locale, multiprocessing, signal, socket, ssl, subprocess
import sys, threading
print(sys.version_info[0], ssl.OPENSSL_VERSION.split()[0], sys.argv[1:])
locale.setlocale(locale.LC_ALL, "C.UTF-8")
print(sys.getfilesystemencoding(), socket.getservbyname("https"))
total = []
threads = [threading.Thread(target=lambda n=n: total.append(sum(range(n)))) for n in range(50)]
for thread in threads: thread.start()
for thread in threads: thread.join()
print("threads", sum(total))
print(subprocess.run(["cat"], input=b"through cat", capture_output=True).stdout)
print(subprocess.check_output("echo $((6 * 7))", shell=True))
server = socket.create_server(("127.0.0.1", 0))
def serve():
    connection, _ = server.accept()
    connection.sendall(connection.recv(100).upper())
    connection.close()
thread = threading.Thread(target=serve); thread.start()
client = socket.create_connection(server.getsockname()); client.sendall(b"hello")
print(client.recv(100)); thread.join()
with multiprocessing.get_context("fork").Pool(2) as pool: print(pool.map(abs, range(-5, 0)))
signal.signal(signal.SIGALRM, lambda *_: print("alarm"))
signal.setitimer(signal.ITIMER_REAL, 0.01); signal.pause()
print(ctypes.CDLL("libc.so.6").abs(-3), hashlib.sha256(b"x").hexdigest()[:8])
print(json.dumps({"certificates": len(ssl.create_default_context().get_ca_certs()) > 0}))
sys.exit(9)
"#;

fn python(tools: &Tools) -> Result<()> {
    let library = process::check(
        Command::new("/usr/bin/python3").args([
            "-c",
            "import sysconfig; print(sysconfig.get_path('stdlib'))",
        ]),
        patient(Duration::from_secs(60)),
    )?;
    let library = String::from_utf8(library)?;
    let image = pack(
        tools,
        "pack-python",
        &words(&[
            &"--add",
            &library.trim(),
            &"--add",
            &"/bin/cat",
            &"--add",
            &"/bin/sh",
            &"/usr/bin/python3",
            &"-c",
            &PYTHON,
        ]),
    )?;
    equal(
        tools,
        &image,
        &["-m", "1G"],
        &["one", "two"],
        9,
        &[
            "3 OpenSSL ['one', 'two']\nutf-8 443\nthreads 19600\n",
            "b'through cat'\nb'42\\n'\nb'HELLO'\n[5, 4, 3, 2, 1]\nalarm\n",
            "3 2d711642\n{\"certificates\": true}\n",
        ],
    )
}

const PERL: &str = r#"
use strict; use warnings;
use POSIX qw(strftime floor); use List::Util qw(sum); use Encode; use Socket; use IO::Handle;
print "sum ", sum(1 .. 100), " ", strftime("%Y-%m-%d", gmtime(86400 * 365)), "\n";
my %count; $count{$_}++ for split //, "mississippi";
print join(",", map { "$_$count{$_}" } sort keys %count), "\n";
pipe(my $read, my $write); $write->autoflush(1);
if (my $child = fork) { print "child says: ", scalar <$read>; waitpid $child, 0; print $? >> 8, "\n" }
else { print $write "hello\n"; POSIX::_exit(5) }
print length(decode("UTF-8", "gr\xc3\xbcn")), " ", scalar(reverse "abc"), "\n";
local $SIG{ALRM} = sub { die "alarm\n" }; eval { alarm 1; select undef, undef, undef, 30 }; print $@;
print `cat /etc/nsswitch.conf` =~ /files/ ? "cat ran\n" : "cat did not run\n";
socketpair(my $a, my $b, AF_UNIX, SOCK_STREAM, PF_UNSPEC); syswrite $a, "socket"; sysread $b, my $text, 10;
print "$text @ARGV\n"; exit 11;
"#;

fn perl(tools: &Tools) -> Result<()> {
    let dirs = process::check(
        Command::new("/usr/bin/perl").args(["-e", "print map { \"$_\\n\" } grep { -d } @INC"]),
        patient(Duration::from_secs(60)),
    )?;
    let dirs = String::from_utf8(dirs)?;
    let mut options: Vec<&OsStr> = Vec::new();
    for dir in dirs.lines().filter(|dir| !dir.starts_with("/usr/local")) {
        options.extend([OsStr::new("--add"), OsStr::new(dir)]);
    }
    options.extend(words(&[&"--add", &"/bin/cat", &"--add", &"/bin/sh"]));
    options.extend(words(&[&"/usr/bin/perl", &"-e", &PERL]));
    let image = pack(tools, "pack-perl", &options)?;
    equal(
        tools,
        &image,
        &["-m", "1G"],
        &["an", "argument"],
        11,
        &[
            "sum 5050 1971-01-01\ni4,m1,p2,s4\n",
            "child says: hello\n5\n4 cba\nalarm\ncat ran\nsocket an argument\n",
        ],
    )
}

fn redis(tools: &Tools) -> Result<()> {
    let image = pack(
        tools,
        "pack-redis",
        &words(&[
            &"/usr/bin/redis-server",
            &"--protected-mode",
            &"no",
            &"--save",
            &"",
        ]),
    )?;
    let run = |ring: Option<&str>| -> Result<Vec<String>> {
        let name = format!("pack-redis{}", ring.unwrap_or("--ring0"));
        let data = scratch(tools, &name)?;
        let (log, data_volume) = (format!("{name}.log"), volume(&data));
        let mut options: Vec<&OsStr> = ring.iter().map(OsStr::new).collect();
        options.extend(["--cpus", "2", "-v", &data_volume].map(OsStr::new));
        options.push(image.as_os_str());
        options.extend(["--dir", "/data", "--io-threads", "2"].map(OsStr::new));
        let mut server = Server::start(tools, &log, 6379, &options)?;
        let mut redis = server.wait_for(Redis::connect)?;
        let mut said = Vec::new();
        for i in 0..300 {
            let set = redis.command(&["SET", &format!("key:{i}"), &format!("value {i}")])?;
            said.push(set);
        }
        // A fork, which writes the file.
        said.push(redis.command(&["BGSAVE"])?);
        for i in (0..300).step_by(7) {
            said.push(redis.command(&["GET", &format!("key:{i}")])?);
        }
        let script = "local s = 0 for i = 1, 1000 do s = s + i end return s";
        said.push(redis.command(&["EVAL", script, "0"])?);
        said.push(redis.command(&["DBSIZE"])?);
        redis.send(&["SHUTDOWN", "SAVE"])?;
        server.ends_with(0)?;
        ensure!(fs::metadata(data.join("dump.rdb"))?.len() > 3000);
        Ok(said)
    };
    let (ring0, ring3) = (run(None)?, run(Some("--ring3"))?);
    ensure!(ring0 == ring3, "ring 0: {ring0:?}\nring 3: {ring3:?}");
    ensure!(
        ring0.ends_with(&["500500".into(), "300".into()]),
        "{ring0:?}"
    );
    Ok(())
}

/// Compiles `testsuite/pack/report.c` to a static program.
fn report(program: &Path) -> Result<()> {
    if let Some(dir) = program.parent() {
        fs::create_dir_all(dir)?;
    }
    let source = tools::testsuite().join("pack/report.c");
    let mut command = Command::new("cc");
    command
        .args(["-static", "-O2", "-o"])
        .arg(program)
        .arg(source);
    process::check(&mut command, patient(Duration::from_secs(60)))?;
    Ok(())
}

fn tar(dir: &Path, options: &[&str], archive: &Path) -> Result<()> {
    let mut command = Command::new("tar");
    command
        .arg("-C")
        .arg(dir)
        .args(options)
        .arg("-cf")
        .arg(archive)
        .arg(".");
    process::check(&mut command, patient(Duration::from_secs(60)))?;
    Ok(())
}

/// A root directory in an archive: the program at ring 0 starts others at ring 0 and at ring 3, by
/// a script, too.
fn rootfs(tools: &Tools) -> Result<()> {
    let dir = scratch(tools, "pack-rootfs-files")?;
    report(&dir.join("bin/first"))?;
    fs::copy(dir.join("bin/first"), dir.join("bin/second"))?;
    fs::copy(dir.join("bin/first"), dir.join("bin/ordinary"))?;
    let script = dir.join("script");
    fs::write(&script, "#!/bin/second of script\n")?;
    process::check(
        Command::new("chmod").arg("755").arg(&script),
        patient(Duration::from_secs(60)),
    )?;
    let archive = scratch(tools, "pack-rootfs-archive")?.join("root.tar.xz");
    tar(&dir, &["--xz"], &archive)?;
    let image = pack(
        tools,
        "pack-rootfs",
        &words(&[
            &"--rootfs",
            &archive,
            &"--entry",
            &"first run",
            &"--ring0",
            &"/bin/sec*",
            &"-e",
            &"A=b c",
            &"-w",
            &"/work",
        ]),
    )?;
    for (args, second, code) in [
        (&["/bin/second", "x"][..], "ring 0: /bin/second x\n", 42),
        (&["/bin/ordinary"], "ring 3: /bin/ordinary\n", 42),
        (&["/script"], "ring 0: /bin/second of script /script\n", 42),
    ] {
        let [ring0, ring3] = at_both(tools, &image, &[], args, code)?;
        let place = "/work 0:0 A=b c HOME=/root\n";
        let first = format!("ring 0: /bin/first run {}\n", args.join(" "));
        ensure!(ring0 == format!("{first}{place}{second}{place}"), "{ring0}");
        ensure!(ring3 == ring0.replace("ring 0", "ring 3"), "{ring3}");
    }
    Ok(())
}

/// A container image: layers with a whiteout, and a program that runs as another user.
fn container(tools: &Tools) -> Result<()> {
    let dir = scratch(tools, "pack-container-files")?;
    let (one, two, save) = (dir.join("one"), dir.join("two"), dir.join("save"));
    report(&one.join("usr/bin/report"))?;
    for dir in [
        &one.join("etc"),
        &two.join("usr/bin"),
        &save.join("1"),
        &save.join("2"),
    ] {
        fs::create_dir_all(dir)?;
    }
    fs::write(one.join("etc/passwd"), "www:x:33:34::/srv/www:/bin/sh\n")?;
    fs::write(one.join("etc/group"), "www:x:34:\nlog:x:4:www\n")?;
    fs::copy(one.join("usr/bin/report"), one.join("usr/bin/removed"))?;
    fs::write(two.join("usr/bin/.wh.removed"), "")?;
    fs::write(
        save.join("config.json"),
        r#"{"architecture": "amd64", "os": "linux", "config": {
            "Entrypoint": ["report", "run"], "Cmd": ["/usr/bin/removed"],
            "Env": ["PATH=/usr/bin", "A=from the image"], "WorkingDir": "/srv/data",
            "User": "www", "ExposedPorts": {"8080/tcp": {}}}}"#,
    )?;
    fs::write(
        save.join("manifest.json"),
        r#"[{"Config": "config.json", "RepoTags": ["report:latest"],
            "Layers": ["1/layer.tar", "2/layer.tar"]}]"#,
    )?;
    tar(
        &one,
        &["--owner=0", "--group=0", "--gzip"],
        &save.join("1/layer.tar"),
    )?;
    tar(&two, &["--owner=0", "--group=0"], &save.join("2/layer.tar"))?;
    let archive = dir.join("saved.tar");
    tar(&save, &[], &archive)?;
    let image = pack(tools, "pack-container", &words(&[&"--rootfs", &archive]))?;

    let place = "/srv/data 33:34,4 A=from the image HOME=/srv/www\n";
    // The default argument is a program that the second layer removes.
    let [ring0, ring3] = at_both(tools, &image, &[], &[], 126)?;
    ensure!(
        ring0 == format!("ring 0: /usr/bin/report run /usr/bin/removed\n{place}"),
        "{ring0}"
    );
    ensure!(ring3 == ring0.replace("ring 0", "ring 3"), "{ring3}");
    // Arguments of ukl-run take its place. The user has no privilege, but may start the program.
    let [ring0, ring3] = at_both(tools, &image, &["-e", "A=z"], &["/usr/bin/report"], 42)?;
    let place = place.replace("from the image", "z");
    let expected = format!(
        "ring 0: /usr/bin/report run /usr/bin/report\n{place}ring 0: /usr/bin/report\n{place}"
    );
    ensure!(ring0 == expected, "{ring0}");
    ensure!(ring3 == ring0.replace("ring 0", "ring 3"), "{ring3}");

    // A volume with another program at the same path is noticed.
    let hiding = scratch(tools, "pack-container-volume")?;
    report(&hiding.join("report"))?;
    let hiding = format!("{}:/usr/bin", hiding.display());
    let output = guest::run_unchecked(tools, "hidden.log", &words(&[&"-v", &hiding, &image]), b"")?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    ensure!(output.end == Some(End::Exit(125)), "{said}");
    ensure!(
        said.contains("/usr/bin/report: a volume hides the image's program"),
        "{said}"
    );

    let mut command = Command::new(tools.bin.join("ukl-run"));
    command.args(["--dry-run", "-P"]).arg(&image);
    let shown = process::check(&mut command, patient(Duration::from_secs(60)))?;
    let shown = String::from_utf8_lossy(&shown).into_owned();
    ensure!(
        shown.contains("hostfwd=tcp:127.0.0.1:8080-:8080"),
        "{shown}"
    );
    Ok(())
}

/// A Debian package that is not installed here, with the packages that it depends on.
fn package(tools: &Tools) -> Result<()> {
    let image = pack(
        tools,
        "pack-package",
        &words(&[&"--package", &"hello", &"hello", &"-g"]),
    )?;
    equal(
        tools,
        &image,
        &[],
        &["from a package"],
        0,
        &["from a package\n"],
    )
}

/// A server of a package, whose worker runs as another user.
fn nginx(tools: &Tools) -> Result<()> {
    let files = scratch(tools, "pack-nginx-files")?;
    let (site, page) = (files.join("site"), files.join("index.html"));
    fs::write(&site, "server { listen 80; root /srv; }\n")?;
    fs::write(&page, "served\n")?;
    let added = |host: &Path, guest: &str| format!("{}:{guest}", host.display());
    let image = pack(
        tools,
        "pack-nginx",
        &words(&[
            &"--package",
            &"nginx-light",
            &"--add",
            &added(&site, "/etc/nginx/sites-enabled/default"),
            &"--add",
            &added(&page, "/srv/index.html"),
            &"nginx",
            &"-g",
            &"daemon off;",
        ]),
    )?;
    for ring in [None, Some("--ring3")] {
        let log = format!("nginx{}.log", ring.unwrap_or_default());
        let options: Vec<&OsStr> = ring.iter().map(OsStr::new).collect();
        let options = [options, vec![image.as_os_str()]].concat();
        let mut server = Server::start(tools, &log, 80, &options)?;
        let answer = server.wait_for(|port| http::get(port, "/"))?;
        ensure!(answer == (200, "served\n".into()), "{ring:?}: {answer:?}");
        for _ in 0..50 {
            ensure!(http::get(server.port, "/")? == answer);
        }
        server.cut()?;
    }
    Ok(())
}
