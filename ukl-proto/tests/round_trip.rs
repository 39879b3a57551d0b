//! What one side writes, the other reads; and whatever arrives, no reader panics.

use std::ffi::OsString;
use std::net::Ipv4Addr;
use std::os::unix::ffi::OsStringExt as _;
use std::path::PathBuf;

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use ukl_proto::VERSION;
use ukl_proto::image_conf::Binding;
use ukl_proto::image_conf::ImageConf;
use ukl_proto::image_conf::KernelCode;
use ukl_proto::image_conf::Port;
use ukl_proto::image_conf::Start;
use ukl_proto::image_conf::User;
use ukl_proto::policy::Policy;
use ukl_proto::policy::Return;
use ukl_proto::policy::Setting;
use ukl_proto::policy::Stack;
use ukl_proto::policy::Transition;
use ukl_proto::ring3;
use ukl_proto::ring3::ThunkTable;
use ukl_proto::run;
use ukl_proto::run::Address;
use ukl_proto::run::Link;
use ukl_proto::run::Mount;
use ukl_proto::run::Network;
use ukl_proto::run::Ring;
use ukl_proto::run::Run;
use ukl_proto::run::Stdio;
use ukl_proto::stamp;
use ukl_proto::stamp::Stamp;
use ukl_proto::status::Lines;
use ukl_proto::status::Output;
use ukl_proto::status::Report;
use ukl_proto::status::Request;
use ukl_proto::words;

/// Bytes that an argument or a path can have.
fn string() -> impl Strategy<Value = OsString> {
    vec(1..=u8::MAX, 0..12).prop_map(OsString::from_vec)
}

fn absolute() -> impl Strategy<Value = PathBuf> {
    string().prop_map(|name| PathBuf::from("/").join(name))
}

fn setting<S: Setting + std::fmt::Debug>() -> impl Strategy<Value = Option<S>> {
    option::of(proptest::sample::select(S::ALL))
}

fn policy() -> impl Strategy<Value = Policy> {
    (
        setting::<Transition>(),
        option::of(1..=u8::MAX),
        setting::<Return>(),
        setting::<Stack>(),
    )
        .prop_map(|(transition, limit, return_by, stack)| Policy {
            transition,
            bypass_limit: limit.and_then(std::num::NonZeroU8::new),
            return_by,
            stack,
        })
}

fn network() -> impl Strategy<Value = Network> {
    let ip = || any::<u32>().prop_map(Ipv4Addr::from);
    let address = (ip(), 0..=32u8, option::of((ip(), option::of(ip()))));
    let fixed = address.prop_map(|(address, prefix, gateway)| {
        Network::Static(Address {
            address,
            prefix,
            gateway: gateway.map(|(gateway, _)| gateway),
            dns: gateway.and_then(|(_, dns)| dns),
        })
    });
    prop_oneof![Just(Network::Dhcp), fixed]
}

fn mount() -> impl Strategy<Value = Mount> {
    ("[^:\0]{0,8}", absolute(), any::<bool>(), any::<bool>()).prop_map(
        |(tag, dir, writable, cached)| Mount {
            tag,
            dir,
            writable,
            cached,
        },
    )
}

fn link() -> impl Strategy<Value = Link> {
    ("[^:\0]{0,8}", string()).prop_map(|(path, target)| Link {
        path: path.into(),
        target: target.into(),
    })
}

fn run() -> impl Strategy<Value = Run> {
    let variable = ("[^=\0]{1,8}", string()).prop_map(|(name, value)| (name.into(), value));
    let streams = (
        proptest::sample::select(&Stdio::ALL),
        any::<bool>(),
        option::of(any::<(u16, u16)>()),
        proptest::sample::select(&[Ring::Zero, Ring::Three]),
    );
    let place = (option::of(string()), "[^\0]{0,8}", network(), policy());
    let commands = (vec(vec(string(), 1..3), 0..3), vec(string(), 0..3));
    (
        vec(string(), 0..4),
        vec(variable, 0..4),
        streams,
        place,
        vec(mount(), 0..3),
        vec(link(), 0..3),
        commands,
    )
        .prop_map(
            |(args, env, streams, place, mounts, links, (beside, wrap))| {
                let (stdio, merge_stderr, window, ring) = streams;
                let (cwd, hostname, network, policy) = place;
                Run {
                    args,
                    env,
                    cwd: cwd.map(Into::into),
                    ring,
                    stdio,
                    merge_stderr,
                    window,
                    mounts,
                    links,
                    beside,
                    wrap,
                    network,
                    hostname,
                    policy,
                }
            },
        )
}

fn table() -> impl Strategy<Value = ThunkTable> {
    any::<[u64; 5]>().prop_map(|[offset, count, stride, ring3, entry]| ThunkTable {
        offset,
        count,
        stride,
        ring3,
        entry,
    })
}

fn image_conf() -> impl Strategy<Value = ImageConf> {
    let binding = (any::<[u64; 3]>(), "[^,\r\n]{0,8}");
    let binding = binding.prop_map(|([operand, next, offset], section)| Binding {
        operand,
        next,
        section,
        offset,
    });
    let code = ("[^\r\n]{0,8}", vec(binding, 0..4))
        .prop_map(|(module, bindings)| KernelCode { module, bindings });
    let settings = (policy(), option::of(any::<u32>()), any::<bool>());
    (
        "[^\r\n]{1,12}",
        vec(table(), 0..3),
        option::of(code),
        settings,
        vec("[^\r\n]{0,8}", 0..3),
        start(),
        vec(port(), 0..3),
    )
        .prop_map(
            |(program, thunks, kernel_code, settings, ring0, start, ports)| {
                let (policy, stack_size, anyone_starts) = settings;
                ImageConf {
                    program,
                    thunks,
                    kernel_code,
                    policy,
                    stack_size,
                    anyone_starts,
                    ring0,
                    start,
                    ports,
                }
            },
        )
}

fn start() -> impl Strategy<Value = Start> {
    let text = "(?s).{0,8}";
    let user = any::<(u32, u32)>().prop_flat_map(|(uid, gid)| {
        vec(any::<u32>(), 0..3).prop_map(move |groups| User { uid, gid, groups })
    });
    (
        vec(text, 0..3),
        vec(text, 0..3),
        vec(("[^=]{1,8}", text), 0..3),
        option::of("[^\r\n]{0,8}"),
        option::of(user),
    )
        .prop_map(|(args, default_args, env, workdir, user)| Start {
            args,
            default_args,
            env,
            workdir,
            user,
        })
}

fn port() -> impl Strategy<Value = Port> {
    (1..=u16::MAX, any::<bool>()).prop_map(|(number, udp)| Port { number, udp })
}

fn report() -> impl Strategy<Value = Report> {
    prop_oneof![
        Just(Report::Started),
        "[^\r\n]{0,20}".prop_map(Report::Error),
        any::<(u64, u64)>().prop_map(|(stdout, stderr)| Report::Sent { stdout, stderr }),
        any::<u8>().prop_map(Report::Exit),
        (0..128u8).prop_map(Report::Signal),
    ]
}

fn request() -> impl Strategy<Value = Request> {
    prop_oneof![
        any::<i32>().prop_map(Request::Signal),
        Just(Request::Closed(Output::Stdout)),
        Just(Request::Closed(Output::Stderr)),
        any::<(u16, u16)>().prop_map(|(rows, columns)| Request::Window { rows, columns }),
        Just(Request::Goodbye),
    ]
}

proptest! {
    #[test]
    fn records_survive(run in run(), version in 0..=VERSION) {
        let records = run.encode(version).unwrap();
        prop_assert_eq!(Run::decode(&records).unwrap(), run.clone());
        prop_assert_eq!(run::has_status_port(&records), run.stdio != Stdio::Console);
    }

    #[test]
    fn damaged_records_do_not_panic(
        run in run(),
        at in any::<prop::sample::Index>(),
        byte in any::<u8>(),
    ) {
        let mut records = run.encode(VERSION).unwrap();
        let at = at.index(records.len());
        records[at] = byte;
        let _ = Run::decode(&records);
        records.truncate(at);
        let _ = Run::decode(&records);
    }

    #[test]
    fn image_conf_survives(conf in image_conf()) {
        let text = conf.encode().unwrap();
        prop_assert_eq!(ImageConf::decode(&text).unwrap(), conf);
    }

    #[test]
    fn damaged_image_conf_does_not_panic(
        conf in image_conf(),
        at in any::<prop::sample::Index>(),
        byte in any::<u8>(),
    ) {
        let mut text = conf.encode().unwrap().into_bytes();
        let at = at.index(text.len());
        text[at] = byte;
        let _ = ImageConf::decode(&String::from_utf8_lossy(&text));
        text.truncate(at);
        let _ = ImageConf::decode(&String::from_utf8_lossy(&text));
    }

    #[test]
    fn lines_survive(reports in vec(report(), 0..8), requests in vec(request(), 0..8), cut in 1..9usize) {
        let text: String = reports.iter().map(|report| format!("{report}\n")).collect();
        let mut got = Vec::new();
        let mut lines = Lines::default();
        for part in text.as_bytes().chunks(cut) {
            lines.add(part, |line| got.push(Report::parse(line).unwrap()));
        }
        prop_assert_eq!(got, reports);
        for request in requests {
            prop_assert_eq!(Request::parse(&request.to_string()), Some(request));
        }
    }

    #[test]
    fn commands_survive(words in vec(string(), 1..5)) {
        use std::os::unix::ffi::OsStrExt as _;
        let command = words::join(&words);
        prop_assert_eq!(words::split(command.as_bytes()), Some(words));
    }

    #[test]
    fn a_stamp_survives(id in vec(any::<u8>(), 0..60), other in vec(any::<u8>(), 0..60)) {
        let stamp = Stamp::new(&id);
        prop_assert_eq!(Stamp::decode(&stamp.encode()), Some(stamp));
        prop_assert!(stamp.is_of(&id));
        let beginning = |id: &[u8]| id[..id.len().min(stamp::ID_SIZE)].to_vec();
        prop_assert_eq!(stamp.is_of(&other), beginning(&id) == beginning(&other));
    }

    #[test]
    fn any_bytes_may_arrive(data in vec(any::<u8>(), 0..300)) {
        let text = String::from_utf8_lossy(&data);
        let _ = Run::decode(&data);
        let _ = run::has_status_port(&data);
        let _ = ImageConf::decode(&text);
        let _ = Report::parse(&text);
        let _ = Request::parse(&text);
        let _ = words::split(&data);
        let _ = ring3::is_marked(&data);
        Lines::default().add(&data, |_| {});
        if let Some(bytes) = data.first_chunk() {
            let _ = Stamp::decode(bytes);
        }
    }

    #[test]
    fn thunks_anywhere_do_not_panic(
        mut program in vec(any::<u8>(), 0..600),
        tables in vec(prop_oneof![table(), small_table()], 0..3),
    ) {
        let length = program.len();
        let _ = ring3::make_ordinary(&mut program, &tables);
        prop_assert_eq!(program.len(), length);
    }
}

/// A table that may lie inside of a small program.
fn small_table() -> impl Strategy<Value = ThunkTable> {
    (0..200u64, 0..4u64, 0..130u64, 0..130u64, 0..130u64).prop_map(
        |(offset, count, stride, ring3, entry)| ThunkTable {
            offset,
            count,
            stride,
            ring3,
            entry,
        },
    )
}
