use super::*;
use crate::kernel::abi::Abi;

const FUNCTION: u64 = 0xffff_ffff_8123_4560;

/// The layout of version 1.
const SIZE: usize = 128;
const ENTRY: usize = 8;
const RESTART: usize = 7;
const SWITCH: usize = 33;
const RETURN: usize = 48;
const POP: usize = 65;
const PRESERVED: usize = 127;
const SHARED_SWITCH: usize = 39;
const SHARED_RETURN: usize = 53;
const SHARED_POP: usize = 70;
const SHARED_UNDO: usize = 112;
const SYSCALL_RET: [u8; 3] = [0x0f, 0x05, 0xc3];

fn kernel() -> Kernel {
    Kernel {
        abi: Abi {
            exit_work: 0x4000,
            ..Abi::V2
        },
        left: 0x1000,
        stack: 0x2000,
        current: 0x3000,
        delta: 0x5000,
        low: 0x6000,
        ..Kernel::none()
    }
}

fn calls() -> impl Iterator<Item = (u8, Call)> {
    (0..=6).flat_map(|arguments| {
        (0..64).map(move |preserved| {
            let function = FUNCTION;
            let call = Call {
                function,
                arguments,
            };
            (preserved, call)
        })
    })
}

fn syscalls() -> impl Iterator<Item = ThunkCode> {
    calls()
        .map(|(preserved, call)| ThunkCode::syscall(39, preserved, Some(call), &kernel()).unwrap())
}

fn shared() -> impl Iterator<Item = ThunkCode> {
    calls().map(|(preserved, call)| ThunkCode::shared(39, preserved, call, &kernel()).unwrap())
}

fn functions() -> impl Iterator<Item = ThunkCode> {
    let syscalls = (0..=6).map(|arguments| Some((39, arguments)));
    syscalls
        .chain([None])
        .map(|syscall| ThunkCode::function(syscall, None, &kernel()).unwrap())
}

#[test]
fn the_kernel_finds_the_instructions_at_its_positions() {
    for thunk in syscalls().chain(functions()) {
        let code = thunk.code;
        assert_eq!(code[RESTART - 2..ENTRY], SYSCALL_RET);
        assert_eq!(code[SWITCH..SWITCH + 5], [0x65, 0x48, 0x8b, 0x24, 0x25]);
        assert_eq!(code[SWITCH + 9], 0x50);
        assert_eq!(code[RETURN - 5], 0xe8);
        assert_eq!(code[RETURN..RETURN + 5], [0x65, 0x48, 0x8b, 0x0c, 0x25]);
        assert_eq!(code[POP - 2], 0x75);
        assert_eq!(code[POP], 0x5c);
        assert_eq!(thunk.entry, ENTRY);
        assert_eq!(thunk.call, Some(RETURN - 4));
    }
}

#[test]
fn the_kernel_finds_the_instructions_of_shared_stacks() {
    for thunk in shared() {
        let code = thunk.code;
        assert_eq!(code[SHARED_SWITCH + 2..][..3], [0x03, 0x24, 0x25]);
        assert_eq!(code[SHARED_RETURN - 5], 0xe8);
        assert_eq!(code[SHARED_RETURN..][..5], [0x65, 0x48, 0x8b, 0x0c, 0x25]);
        assert_eq!(code[SHARED_POP..][..5], [0x65, 0x48, 0x2b, 0x24, 0x25]);
        assert_eq!(code[SHARED_UNDO..][..4], [0x48, 0x8d, 0x64, 0x24]);
        let pushed = code[PRESERVED].count_ones() as u8;
        assert_eq!(code[SHARED_UNDO + 4], 8 * pushed);
        // To the entry of the next thunk.
        assert_eq!(code[117..122], [0xe9, 14, 0, 0, 0]);
        let elsewhere = (0..SIZE)
            .find(|&at| code[at..].starts_with(&[0x76]))
            .unwrap();
        let jump = elsewhere + 2 + code[elsewhere + 1] as usize;
        assert_eq!(code[jump], 0xe9);
        let distance = i32::from_le_bytes(code[jump + 1..jump + 5].try_into().unwrap());
        // To the instruction after the check of the next thunk.
        assert_eq!(jump as i32 + 5 + distance, (SIZE + ENTRY + 8) as i32);
        assert_eq!(thunk.call, Some(SHARED_RETURN - 4));
    }
    assert!(syscalls().all(|thunk| thunk.code[ENTRY + 8] == 0x7e));
}

#[test]
fn the_exit_word_has_the_number_and_the_pushed_arguments() {
    let word = |thunk: ThunkCode| {
        let at = POP + thunk.code[POP - 1] as usize;
        assert_eq!(thunk.code[at..at + 2], [0x41, 0xba]);
        u32::from_le_bytes(thunk.code[at + 2..at + 6].try_into().unwrap())
    };
    for thunk in syscalls() {
        let pushed = thunk.code[PRESERVED];
        assert_eq!(word(thunk), u32::from(pushed) << 24 | 39);
    }
    let function = |syscall| ThunkCode::function(syscall, None, &kernel()).unwrap();
    assert_eq!(word(function(Some((44, 6)))), 0x3f00_002c);
    assert_eq!(word(function(None)), 0x00ff_ffff);
}

/// Decodes a thunk, without the mask in its last byte.
fn decode(thunk: &ThunkCode, abi: &Abi) -> Vec<iced_x86::Instruction> {
    let code = &thunk.code[..abi.thunk.preserved];
    iced_x86::Decoder::new(64, code, 0).into_iter().collect()
}

#[test]
fn every_byte_is_part_of_a_valid_instruction() {
    for thunk in syscalls().chain(functions()).chain(shared()) {
        for instruction in decode(&thunk, &Abi::V2) {
            assert!(!instruction.is_invalid(), "{:x?}", thunk.code);
        }
    }
}

#[test]
fn at_ring_3_a_call_is_the_system_call() {
    for thunk in syscalls().chain(shared()) {
        assert_eq!(thunk.code[..ENTRY], [0xb8, 39, 0, 0, 0, 0x0f, 0x05, 0xc3]);
        assert_eq!(thunk.ring3, 0);
    }
    let skip = ThunkCode::skip(Some(57), &kernel()).unwrap();
    let generic = ThunkCode::skip(None, &kernel()).unwrap();
    for start in [0, ENTRY] {
        assert_eq!(skip.code[start..start + 6], [0xb8, 57, 0, 0, 0, 0xc3]);
        assert_eq!(generic.code[start], 0xc3);
    }
}

#[test]
fn branches_end_at_the_full_path() {
    for thunk in syscalls() {
        let code = thunk.code;
        let full_path = 18 + code[17] as usize;
        assert_eq!(code[full_path], 0xe9);
        let distance = i32::from_le_bytes(code[full_path + 1..full_path + 5].try_into().unwrap());
        assert_eq!(full_path as i32 + 5 + distance, 0);
    }
}

#[test]
fn without_a_function_a_thunk_is_the_system_call() {
    let thunk = ThunkCode::syscall(39, 0, None, &kernel()).unwrap();
    assert_eq!(thunk.code[ENTRY..2 * ENTRY], thunk.code[..ENTRY]);
    assert!(thunk.operands.is_empty());
}

/// A kernel whose thunks have other positions.
fn elsewhere() -> Kernel {
    let mut kernel = kernel();
    let abi = &mut kernel.abi;
    abi.thunk.size = 256;
    abi.thunk.switch = 50;
    abi.thunk.ret = 80;
    abi.thunk.pop = 100;
    abi.thunk.preserved = 250;
    abi.shared.switch = 60;
    abi.shared.ret = 90;
    abi.shared.pop = 112;
    abi.shared.undo = 200;
    abi.exit.number_mask = 0xffff;
    abi.exit.preserved_shift = 16;
    kernel
}

#[test]
fn the_code_follows_the_layout() {
    let kernel = elsewhere();
    for (preserved, call) in calls() {
        let thunk = ThunkCode::syscall(39, preserved, Some(call), &kernel).unwrap();
        let code = &thunk.code;
        assert_eq!(code.len(), 256);
        assert_eq!(code[50..55], [0x65, 0x48, 0x8b, 0x24, 0x25]);
        assert_eq!(code[75], 0xe8);
        assert_eq!(code[80..85], [0x65, 0x48, 0x8b, 0x0c, 0x25]);
        assert_eq!(code[100], 0x5c);
        assert_eq!(thunk.call, Some(76));
        let pushed = u32::from(code[250]);
        let decoded = decode(&thunk, &kernel.abi);
        // Code that runs is padded by prefixes and jumps; the decoder also sees the int3 in
        // between.
        assert!(decoded.iter().all(|instruction| !instruction.is_invalid()));
        let word = decoded
            .iter()
            .find(|instruction| instruction.op0_register() == iced_x86::Register::R10D)
            .unwrap();
        assert_eq!(word.immediate32(), pushed << 16 | 39);

        let thunk = ThunkCode::shared(39, preserved, call, &kernel).unwrap();
        assert_eq!(thunk.code[60..65], [0x65, 0x48, 0x03, 0x24, 0x25]);
        assert_eq!(thunk.code[85], 0xe8);
        assert_eq!(thunk.code[90..95], [0x65, 0x48, 0x8b, 0x0c, 0x25]);
        assert_eq!(thunk.code[112..117], [0x65, 0x48, 0x2b, 0x24, 0x25]);
        assert_eq!(thunk.code[200..204], [0x48, 0x8d, 0x64, 0x24]);
        for instruction in decode(&thunk, &kernel.abi) {
            assert!(!instruction.is_invalid(), "{:x?}", thunk.code);
        }
    }
    let function = ThunkCode::function(Some((44, 6)), None, &kernel).unwrap();
    assert_eq!(function.ring3, 240);
    assert_eq!(function.code[240], 0xe9);
}

#[test]
fn a_layout_without_room_is_an_error() {
    let call = Call {
        function: FUNCTION,
        arguments: 6,
    };
    let refused = |change: fn(&mut Abi), name: &str| {
        let mut kernel = kernel();
        change(&mut kernel.abi);
        let thunks = [
            ThunkCode::syscall(39, 0x3f, Some(call), &kernel),
            ThunkCode::shared(39, 0x3f, call, &kernel),
            ThunkCode::function(Some((39, 6)), None, &kernel),
        ];
        let errors: Vec<String> = thunks
            .into_iter()
            .filter_map(|thunk| thunk.err())
            .map(|error| error.to_string())
            .collect();
        assert!(
            errors.iter().any(|error| error.contains(name)),
            "{name}: {errors:?}"
        );
        assert!(errors.iter().all(|error| error.contains("make kernel")));
    };
    refused(|abi| abi.thunk.switch = 29, "UKL_THUNK_SWITCH");
    refused(|abi| abi.thunk.ret = 47, "UKL_THUNK_RETURN");
    refused(|abi| abi.thunk.pop = 64, "UKL_THUNK_POP");
    refused(|abi| abi.thunk.restart = 6, "UKL_THUNK_RESTART");
    refused(|abi| abi.thunk.restart = 9, "UKL_THUNK_RESTART");
    refused(|abi| abi.thunk.preserved = 90, "UKL_THUNK_PRESERVED");
    refused(|abi| abi.shared.switch = 38, "UKL_SHARED_SWITCH");
    refused(|abi| abi.shared.ret = 52, "UKL_SHARED_RETURN");
    refused(|abi| abi.shared.pop = 69, "UKL_SHARED_POP");
    refused(|abi| abi.shared.undo = 100, "UKL_SHARED_UNDO");
}
