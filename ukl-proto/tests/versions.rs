//! Files of earlier versions of the protocol are read, and written for earlier readers.
//!
//! `version-0/` has what `ukl-ld` and `ukl-run` wrote before there were versions.

use ukl_proto::image_conf::ImageConf;
use ukl_proto::policy::Return;
use ukl_proto::policy::Stack;
use ukl_proto::policy::Transition;
use ukl_proto::run::Ring;
use ukl_proto::run::Run;
use ukl_proto::run::Stdio;

const IMAGE_CONF: &str = include_str!("version-0/image.conf");
const RECORDS: &[u8] = include_bytes!("version-0/run");

#[test]
fn an_image_of_version_0_is_read() {
    let conf = ImageConf::decode(IMAGE_CONF).unwrap();
    assert_eq!(conf.program, "/ukl/p");
    assert!(conf.thunks.len() >= 2);
    assert!(conf.thunks.iter().all(|table| table.stride == 128));
    let code = conf.kernel_code.as_ref().unwrap();
    assert_eq!(code.module, "/ukl/kernel-code.ko");
    assert!(!code.bindings.is_empty());
    assert_eq!(conf.policy.transition, Some(Transition::Bypass));
    assert_eq!(conf.policy.bypass_limit.unwrap().get(), 9);
    assert_eq!(conf.policy.return_by, Some(Return::Jump));
    assert_eq!(conf.policy.stack, Some(Stack::Shared));
    assert_eq!(conf.stack_size, Some(128 << 10));
    // Written again, it says the same.
    assert_eq!(ImageConf::decode(&conf.encode().unwrap()), Ok(conf));
}

#[test]
fn records_of_version_0_are_read() {
    let run = Run::decode(RECORDS).unwrap();
    assert_eq!((run.ring, run.stdio), (Ring::Three, Stdio::Ports));
    assert_eq!(run.policy.return_by, Some(Return::Jump));
    assert_eq!(run.policy.stack, Some(Stack::Kernel));
    assert_eq!(run.args, ["one", "two three", "", "b=c"]);
    assert_eq!(run.wrap, ["strace", "-f"]);
    assert_eq!(run.beside, [["sh", "-c", "echo hi"]]);
}

/// A reader of version 0 refuses every key and value that it does not know, so each record has to
/// be one that version 0 wrote.
#[test]
fn records_for_version_0_are_those_of_version_0() {
    let run = Run::decode(RECORDS).unwrap();
    let written = run.encode(0).unwrap();
    let split = |records: &[u8]| -> Vec<String> {
        let records = records.split(|byte| *byte == 0);
        let mut records: Vec<String> = records
            .map(|record| String::from_utf8(record.to_vec()).unwrap())
            // Version 0 had the key; its `ukl-run` did not use it.
            .filter(|record| record != "hostname=ukl")
            .collect();
        records.sort();
        records
    };
    assert_eq!(split(&written), split(RECORDS));
}
