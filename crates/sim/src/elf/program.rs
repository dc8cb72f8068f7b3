//! Static programs that print one line.

use super::writer::{ET_EXEC, Header, PT_LOAD, READ_EXECUTE, Segment, Writer};
use crate::spec::Arch;

/// A static program that prints `line` and a line feed to its standard output, and exits 0.
///
/// It needs no loader and no library, so it runs in any container of its architecture.
pub fn static_program(arch: Arch, line: &str) -> Vec<u8> {
    const BASE: usize = 0x40_0000;
    let target = arch.target();
    let text = format!("{line}\n");
    let mut out = Writer::new(target);
    out.skip(target.header() + 2 * target.program_header());
    let entry = BASE + out.bytes.len();
    match arch {
        Arch::X86_64 => out.bytes(&write_and_exit_x86_64(text.len())),
        Arch::Aarch64 => out.bytes(&write_and_exit_aarch64(text.len())),
    }
    out.bytes(text.as_bytes());
    let size = out.bytes.len();
    out.header(&Header {
        kind: ET_EXEC,
        entry,
        program_headers: 2,
        sections_at: 0,
        sections: 0,
    });
    out.segment(&Segment {
        kind: PT_LOAD,
        flags: READ_EXECUTE,
        offset: 0,
        address: BASE,
        size,
        align: target.page(),
    });
    out.segment(&Segment::STACK);
    out.bytes
}

/// `write(1, text, length); exit(0)` for text that follows the code (Linux x86-64 calls 1 and 60).
fn write_and_exit_x86_64(length: usize) -> Vec<u8> {
    let mut code = vec![0xb8, 1, 0, 0, 0]; // mov eax, 1
    code.extend([0xbf, 1, 0, 0, 0]); // mov edi, 1
    code.extend([0x48, 0x8d, 0x35, 16, 0, 0, 0]); // lea rsi, [rip + 16]: the 16 bytes below
    code.push(0xba); // mov edx, length
    code.extend((length as u32).to_le_bytes());
    code.extend([0x0f, 0x05]); // syscall
    code.extend([0xb8, 60, 0, 0, 0]); // mov eax, 60
    code.extend([0x31, 0xff]); // xor edi, edi
    code.extend([0x0f, 0x05]); // syscall
    code
}

/// The same for AArch64 (calls 64 and 93).
fn write_and_exit_aarch64(length: usize) -> Vec<u8> {
    let code: [u32; 8] = [
        0xd280_0020,                                   // mov x0, #1
        0x1000_00e1,                                   // adr x1, .+28: behind this code
        0xd280_0002 | ((length as u32) & 0xffff) << 5, // mov x2, #length
        0xd280_0808,                                   // mov x8, #64
        0xd400_0001,                                   // svc #0
        0xd280_0000,                                   // mov x0, #0
        0xd280_0ba8,                                   // mov x8, #93
        0xd400_0001,                                   // svc #0
    ];
    code.iter().flat_map(|word| word.to_le_bytes()).collect()
}
