//! Any reply of `PROCMAP_QUERY`, with any name: judged without a panic.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mremap_plan::procmap::ProcmapQuery;

fuzz_target!(|input: (u64, u64, u64, u64, u32, u32, &[u8])| {
    let (start, end, flags, inode, major, size, name) = input;
    let mut reply = ProcmapQuery::at_or_above(start, 0, 0);
    (reply.vma_start, reply.vma_end, reply.vma_flags) = (start, end, flags);
    (reply.inode, reply.dev_major, reply.vma_name_size) = (inode, major, size);
    let vma = reply.vma(name);
    assert_eq!((vma.range.start, vma.range.end), (start, end));
});
