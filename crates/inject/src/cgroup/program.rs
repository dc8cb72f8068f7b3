//! Device programs: instructions that let some devices pass before others decide.
//!
//! Encoding: Documentation/bpf/standardization/instruction-set.rst. Context of a device program:
//! `struct bpf_cgroup_dev_ctx` of include/uapi/linux/bpf.h, three 32-bit words: access and type,
//! major, minor.

use super::Device;

/// Jumps have 16-bit offsets, and the first one goes to the end of the head.
const MAX_HEAD: usize = i16::MAX as usize;

const TYPE_CHAR: i32 = 2;
/// What is neither `BPF_DEVCG_ACC_READ` (2) nor `BPF_DEVCG_ACC_WRITE` (4): making nodes.
const OTHER_ACCESS: i32 = !6 & 0xffff;

/// A piece of a device program.
#[derive(Debug)]
pub(super) struct Program(Vec<u64>);

/// Instructions that answer yes for reading and writing one of `devices`, and go on behind
/// themselves otherwise. `None` for more than fit.
///
/// Register 1 holds the context and stays as it was, so that what follows finds what it expects.
pub(super) fn allowing(devices: &[Device]) -> Option<Program> {
    const RULE: usize = 4;
    let mut head = vec![
        load_word(2, 0),
        load_word(3, 4),
        load_word(4, 8),
        move_register(5, 2),
        and(5, 0xffff),
    ];
    let length = head.len() + 4 + devices.len() * RULE;
    if length > MAX_HEAD {
        return None;
    }
    let to_end = |at: usize| i16::try_from(length - at - 1).ok();
    head.push(jump_if_not(5, TYPE_CHAR, to_end(head.len())?));
    head.push(shift_right(2, 16));
    head.push(and(2, OTHER_ACCESS));
    head.push(jump_if_not(2, 0, to_end(head.len())?));
    for device in devices {
        head.push(jump_if_not(3, i32::try_from(device.major).ok()?, 3));
        head.push(jump_if_not(4, i32::try_from(device.minor).ok()?, 2));
        head.push(move_number(0, 1));
        head.push(exit());
    }
    Some(Program(head))
}

impl Program {
    /// Whether `body` begins with these instructions: they were put there before.
    pub(super) fn begins(&self, body: &[u64]) -> bool {
        body.starts_with(&self.0)
    }

    /// These instructions and then `body`, whose jumps are relative and stay right.
    pub(super) fn before(&self, body: &[u64]) -> Vec<u64> {
        [self.0.as_slice(), body].concat()
    }
}

/// An instruction in memory: opcode, destination and source, offset, number.
fn instruction(opcode: u8, destination: u8, source: u8, offset: i16, number: i32) -> u64 {
    let [o0, o1] = offset.to_ne_bytes();
    let [n0, n1, n2, n3] = number.to_ne_bytes();
    // The two registers share a byte, whose halves follow the byte order.
    let registers = match cfg!(target_endian = "little") {
        true => destination | source << 4,
        false => destination << 4 | source,
    };
    u64::from_ne_bytes([opcode, registers, o0, o1, n0, n1, n2, n3])
}

/// `to = *(u32 *)(r1 + offset)`
fn load_word(to: u8, offset: i16) -> u64 {
    instruction(0x61, to, 1, offset, 0)
}

/// `to = (u32)from`
fn move_register(to: u8, from: u8) -> u64 {
    instruction(0xbc, to, from, 0, 0)
}

/// `to = number`
fn move_number(to: u8, number: i32) -> u64 {
    instruction(0xb7, to, 0, 0, number)
}

/// `to = (u32)to & number`
fn and(to: u8, number: i32) -> u64 {
    instruction(0x54, to, 0, 0, number)
}

/// `to = (u32)to >> bits`
fn shift_right(to: u8, bits: i32) -> u64 {
    instruction(0x74, to, 0, 0, bits)
}

/// `if (register != number) goto +offset`
fn jump_if_not(register: u8, number: i32, offset: i16) -> u64 {
    instruction(0x55, register, 0, offset, number)
}

/// `return r0`
fn exit() -> u64 {
    instruction(0x95, 0, 0, 0, 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the head says of an access, by the semantics of the instructions that it uses;
    /// `None` where it goes on.
    fn run(program: &[u64], access: u32, kind: u32, major: u32, minor: u32) -> Option<u64> {
        let context = [access << 16 | kind, major, minor];
        let mut r = [0_u64; 11];
        let mut at = 0;
        while let Some(word) = program.get(at) {
            let b = word.to_ne_bytes();
            let (to, from) = (usize::from(b[1] & 15), usize::from(b[1] >> 4));
            let offset = i16::from_ne_bytes([b[2], b[3]]);
            let number = i32::from_ne_bytes([b[4], b[5], b[6], b[7]]);
            at += 1;
            match b[0] {
                0x61 => r[to] = context[offset as usize / 4].into(),
                0xbc => r[to] = u64::from(r[from] as u32),
                0xb7 => r[to] = number as u64,
                0x54 => r[to] = u64::from(r[to] as u32 & number as u32),
                0x74 => r[to] = u64::from(r[to] as u32 >> number),
                0x55 if r[to] != number as u64 => at = (at as i64 + i64::from(offset)) as usize,
                0x55 => {}
                0x95 => return Some(r[0]),
                other => panic!("unexpected opcode {other:#x}"),
            }
        }
        assert_eq!(at, program.len(), "a jump leads beyond the end");
        None
    }

    #[test]
    fn devices_pass_and_others_go_on() {
        let gpu = Device {
            major: 195,
            minor: 0,
        };
        let uvm = Device {
            major: 508,
            minor: 1,
        };
        let head = allowing(&[gpu, uvm]).unwrap().0;
        let (read, write, make) = (2, 4, 1);
        assert_eq!(run(&head, read, 2, 195, 0), Some(1));
        assert_eq!(run(&head, read | write, 2, 508, 1), Some(1));
        assert_eq!(run(&head, read, 2, 195, 1), None, "another minor");
        assert_eq!(run(&head, read, 2, 508, 0), None, "the other's minor");
        assert_eq!(run(&head, read, 1, 195, 0), None, "a block device");
        assert_eq!(run(&head, make, 2, 195, 0), None, "making a node");
        assert_eq!(
            run(&head, make | read, 2, 195, 0),
            None,
            "making a node, too"
        );
    }

    #[test]
    fn a_head_is_found_again_and_has_a_limit() {
        let gpu = Device {
            major: 195,
            minor: 0,
        };
        let head = allowing(&[gpu]).unwrap();
        let merged = head.before(&[move_number(0, 0), exit()]);
        assert!(head.begins(&merged));
        assert!(!head.begins(&[move_number(0, 0), exit()]));
        assert!(allowing(&vec![gpu; 9000]).is_none());
        assert!(allowing(&vec![gpu; 4096]).is_some());
    }
}
