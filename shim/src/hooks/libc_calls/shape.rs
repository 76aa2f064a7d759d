//! The code of libc's `mremap` on x86-64, as far as it is known: whole functions, byte for byte.
//! Pure; the tests check it with a disassembler.

/// Some bytes of a function.
#[derive(Clone, Copy)]
pub enum Bytes {
    /// Exactly these.
    Code(&'static [u8]),
    /// Any four: a distance relative to the instruction, which differs between builds.
    Distance,
}

use Bytes::{Code, Distance};

/// First instruction of every function in a library built for control-flow enforcement.
pub const ENDBR64: &[u8] = b"\xf3\x0f\x1e\xfa";

/// glibc before 2.41: generated from `sysdeps/unix/syscalls.list`.
const STUB: &[Bytes] = &[
    Code(b"\x49\x89\xca"),             // mov r10, rcx
    Code(b"\xb8\x19\x00\x00\x00"),     // mov eax, 25
    Code(b"\x0f\x05"),                 // syscall
    Code(b"\x48\x3d\x01\xf0\xff\xff"), // cmp rax, -4095
    Code(b"\x73\x01"),                 // jae +1
    Code(b"\xc3"),                     // ret
    Code(b"\x48\x8b\x0d"),             // mov rcx, errno's offset
    Distance,
    Code(b"\xf7\xd8"),         // neg eax
    Code(b"\x64\x89\x01"),     // mov fs:[rcx], eax
    Code(b"\x48\x83\xc8\xff"), // or rax, -1
    Code(b"\xc3"),             // ret
];

/// glibc 2.41 and backports: `sysdeps/unix/sysv/linux/mremap.c`, compiled with a stack protector.
const COMPILED: &[Bytes] = &[
    Code(b"\x48\x83\xec\x58"),                     // sub rsp, 88
    Code(b"\x4c\x89\x44\x24\x40"),                 // mov [rsp + 64], r8
    Code(b"\x64\x48\x8b\x04\x25\x28\x00\x00\x00"), // mov rax, fs:[40]
    Code(b"\x48\x89\x44\x24\x18"),                 // mov [rsp + 24], rax
    Code(b"\x31\xc0"),                             // xor eax, eax
    Code(b"\x83\xf9\x07"),                         // cmp ecx, 7
    Code(b"\x77\x5a"),                             // ja +90
    Code(b"\x41\x89\xca"),                         // mov r10d, ecx
    Code(b"\x45\x31\xc0"),                         // xor r8d, r8d
    Code(b"\xf6\xc1\x06"),                         // test cl, 6
    Code(b"\x75\x27"),                             // jne +39
    Code(b"\xb8\x19\x00\x00\x00"),                 // mov eax, 25
    Code(b"\x0f\x05"),                             // syscall
    Code(b"\x48\x3d\x00\xf0\xff\xff"),             // cmp rax, -4096
    Code(b"\x77\x58"),                             // ja +88
    Code(b"\x48\x8b\x54\x24\x18"),                 // mov rdx, [rsp + 24]
    Code(b"\x64\x48\x2b\x14\x25\x28\x00\x00\x00"), // sub rdx, fs:[40]
    Code(b"\x75\x5d"),                             // jne +93
    Code(b"\x48\x83\xc4\x58"),                     // add rsp, 88
    Code(b"\xc3"),                                 // ret
    Code(b"\x0f\x1f\x00"),                         // nop
    Code(b"\x48\x8d\x44\x24\x60"),                 // lea rax, [rsp + 96]
    Code(b"\xc7\x04\x24\x20\x00\x00\x00"),         // mov dword [rsp], 32
    Code(b"\x4c\x8b\x44\x24\x40"),                 // mov r8, [rsp + 64]
    Code(b"\x48\x89\x44\x24\x08"),                 // mov [rsp + 8], rax
    Code(b"\x48\x8d\x44\x24\x20"),                 // lea rax, [rsp + 32]
    Code(b"\x48\x89\x44\x24\x10"),                 // mov [rsp + 16], rax
    Code(b"\xeb\xb7"),                             // jmp -73
    PADDING,
    Code(b"\x48\x8b\x05"), // mov rax, errno's offset
    Distance,
    INVALID,
    Code(b"\xeb\xa9"),     // jmp -87
    Code(b"\x90"),         // nop
    Code(b"\x48\x8b\x15"), // mov rdx, errno's offset
    Distance,
    FAILED,
    Code(b"\xeb\x93"), // jmp -109
    Code(b"\xe8"),     // call __stack_chk_fail
    Distance,
];

/// The same by a later compiler.
const COMPILED_LATER: &[Bytes] = &[
    Code(b"\x48\x83\xec\x58"),                     // sub rsp, 88
    Code(b"\x4c\x89\x44\x24\x40"),                 // mov [rsp + 64], r8
    Code(b"\x64\x48\x8b\x04\x25\x28\x00\x00\x00"), // mov rax, fs:[40]
    Code(b"\x48\x89\x44\x24\x18"),                 // mov [rsp + 24], rax
    Code(b"\x31\xc0"),                             // xor eax, eax
    Code(b"\x83\xf9\x07"),                         // cmp ecx, 7
    Code(b"\x77\x5a"),                             // ja +90
    Code(b"\x45\x31\xc0"),                         // xor r8d, r8d
    Code(b"\xf6\xc1\x06"),                         // test cl, 6
    Code(b"\x75\x2a"),                             // jne +42
    Code(b"\x41\x89\xca"),                         // mov r10d, ecx
    Code(b"\xb8\x19\x00\x00\x00"),                 // mov eax, 25
    Code(b"\x0f\x05"),                             // syscall
    Code(b"\x48\x3d\x00\xf0\xff\xff"),             // cmp rax, -4096
    Code(b"\x77\x58"),                             // ja +88
    Code(b"\x48\x8b\x54\x24\x18"),                 // mov rdx, [rsp + 24]
    Code(b"\x64\x48\x2b\x14\x25\x28\x00\x00\x00"), // sub rdx, fs:[40]
    Code(b"\x75\x5d"),                             // jne +93
    Code(b"\x48\x83\xc4\x58"),                     // add rsp, 88
    Code(b"\xc3"),                                 // ret
    Code(b"\x0f\x1f\x00"),                         // nop
    Code(b"\x48\x8d\x44\x24\x60"),                 // lea rax, [rsp + 96]
    Code(b"\xc7\x04\x24\x20\x00\x00\x00"),         // mov dword [rsp], 32
    Code(b"\x4c\x8b\x44\x24\x40"),                 // mov r8, [rsp + 64]
    Code(b"\x48\x89\x44\x24\x08"),                 // mov [rsp + 8], rax
    Code(b"\x48\x8d\x44\x24\x20"),                 // lea rax, [rsp + 32]
    Code(b"\x48\x89\x44\x24\x10"),                 // mov [rsp + 16], rax
    Code(b"\xeb\xb4"),                             // jmp -76
    PADDING,
    Code(b"\x48\x8b\x05"), // mov rax, errno's offset
    Distance,
    INVALID,
    Code(b"\xeb\xa9"),     // jmp -87
    Code(b"\x90"),         // nop
    Code(b"\x48\x8b\x15"), // mov rdx, errno's offset
    Distance,
    FAILED,
    Code(b"\xeb\x93"), // jmp -109
    Code(b"\xe8"),     // call __stack_chk_fail
    Distance,
];

/// musl 1.2.3 as Debian builds it: `src/mman/mremap.c`. Its wait for other threads' unlocks of
/// shared mutexes is for `MREMAP_FIXED` alone, which libc itself does not use.
const MUSL: &[Bytes] = &[
    Code(b"\x55"),                                     // push rbp
    Code(b"\x48\x83\xec\x70"),                         // sub rsp, 112
    Code(b"\x4c\x89\x44\x24\x60"),                     // mov [rsp + 96], r8
    Code(b"\x64\x48\x8b\x04\x25\x28\x00\x00\x00"),     // mov rax, fs:[40]
    Code(b"\x48\x89\x44\x24\x38"),                     // mov [rsp + 56], rax
    Code(b"\x48\xb8\xfe\xff\xff\xff\xff\xff\xff\x7f"), // mov rax, PTRDIFF_MAX - 1
    Code(b"\x48\x39\xc2"),                             // cmp rdx, rax
    Code(b"\x0f\x87\x85\x00\x00\x00"),                 // ja +133
    Code(b"\x89\xcd"),                                 // mov ebp, ecx
    Code(b"\x45\x31\xc0"),                             // xor r8d, r8d
    Code(b"\xf6\xc1\x02"),                             // test cl, 2
    Code(b"\x75\x2b"),                                 // jne +43
    Code(b"\x4c\x63\xd5"),                             // movsxd r10, ebp
    Code(b"\xb8\x19\x00\x00\x00"),                     // mov eax, 25
    Code(b"\x0f\x05"),                                 // syscall
    Code(b"\x48\x89\xc7"),                             // mov rdi, rax
    Code(b"\xe8"),                                     // call __syscall_ret
    Distance,
    Code(b"\x48\x8b\x54\x24\x38"), // mov rdx, [rsp + 56]
    Code(b"\x64\x48\x2b\x14\x25\x28\x00\x00\x00"), // sub rdx, fs:[40]
    Code(b"\x75\x6d"),             // jne +109
    Code(b"\x48\x83\xc4\x70"),     // add rsp, 112
    Code(b"\x5d"),                 // pop rbp
    Code(b"\xc3"),                 // ret
    Code(b"\x0f\x1f\x00"),         // nop
    Code(b"\x48\x89\x54\x24\x18"), // mov [rsp + 24], rdx
    Code(b"\x48\x89\x74\x24\x10"), // mov [rsp + 16], rsi
    Code(b"\x48\x89\x7c\x24\x08"), // mov [rsp + 8], rdi
    Code(b"\xe8"),                 // call __vm_wait
    Distance,
    Code(b"\x4c\x8b\x44\x24\x60"),             // mov r8, [rsp + 96]
    Code(b"\x48\x8b\x54\x24\x18"),             // mov rdx, [rsp + 24]
    Code(b"\x48\x8d\x84\x24\x80\x00\x00\x00"), // lea rax, [rsp + 128]
    Code(b"\x48\x8b\x74\x24\x10"),             // mov rsi, [rsp + 16]
    Code(b"\x48\x8b\x7c\x24\x08"),             // mov rdi, [rsp + 8]
    Code(b"\x48\x89\x44\x24\x28"),             // mov [rsp + 40], rax
    Code(b"\x48\x8d\x44\x24\x40"),             // lea rax, [rsp + 64]
    Code(b"\xc7\x44\x24\x20\x20\x00\x00\x00"), // mov dword [rsp + 32], 32
    Code(b"\x48\x89\x44\x24\x30"),             // mov [rsp + 48], rax
    Code(b"\xeb\x8c"),                         // jmp -116
    Code(b"\x0f\x1f\x80\x00\x00\x00\x00"),     // nop
    Code(b"\xe8"),                             // call __errno_location
    Distance,
    Code(b"\xc7\x00\x0c\x00\x00\x00"), // mov dword [rax], ENOMEM
    Code(b"\x48\xc7\xc0\xff\xff\xff\xff"), // mov rax, -1
    Code(b"\xeb\x83"),                 // jmp -125
    Code(b"\xe8"),                     // call __stack_chk_fail
    Distance,
];

/// nop
const PADDING: Bytes = Code(b"\x66\x0f\x1f\x44\x00\x00");
/// mov dword fs:[rax], EINVAL; mov rax, -1
const INVALID: Bytes = Code(b"\x64\xc7\x00\x16\x00\x00\x00\x48\xc7\xc0\xff\xff\xff\xff");
/// neg eax; mov fs:[rdx], eax; mov rax, -1
const FAILED: Bytes = Code(b"\xf7\xd8\x64\x89\x02\x48\xc7\xc0\xff\xff\xff\xff");

/// All known functions.
pub const SHAPES: [&[Bytes]; 4] = [STUB, COMPILED, COMPILED_LATER, MUSL];

/// Length of the longest known function, with [`ENDBR64`], rounded up.
pub const LONGEST: usize = 208;

/// Offset at which a jump can replace the first instructions of a function, which `code` begins
/// with. `None` when the function is not a known one.
pub fn jump_offset(code: &[u8]) -> Option<usize> {
    let (offset, body) = match code.strip_prefix(ENDBR64) {
        Some(body) => (ENDBR64.len(), body),
        None => (0, code),
    };
    SHAPES.iter().any(|shape| begins_with(body, shape)).then_some(offset)
}

fn begins_with(mut code: &[u8], shape: &[Bytes]) -> bool {
    shape.iter().all(|bytes| {
        let rest = match bytes {
            Code(exact) => code.strip_prefix(*exact),
            Distance => code.get(4..),
        };
        code = rest.unwrap_or(&[]);
        rest.is_some()
    })
}
