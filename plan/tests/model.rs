//! The plan over a toy address space, compared with `remap_move` of Linux 6.17 written page by
//! page.

use std::collections::BTreeMap;
use std::convert::Infallible;

use mremap_plan::{
    AddressSpace, Backing, Errno, Flags, Judgement, Plan, Range, Request, Step, Vma, VmaSource,
};
use proptest::prelude::*;

const PAGE: u64 = 4096;
const SPACE: AddressSpace = AddressSpace { page_size: PAGE, task_size: 1 << 47 };

/// Mapped pages by address: the id of the VMA, and the content.
type Pages = BTreeMap<u64, (u32, u64)>;

struct Toy<'a> {
    pages: &'a mut Pages,
    refused_vma: Option<u32>,
    found: Vma,
}

impl VmaSource for Toy<'_> {
    type Error = Infallible;

    fn next_vma(&mut self, from: u64, until: u64) -> Result<Option<&Vma>, Infallible> {
        let Some((&first, &(id, _))) = self.pages.range(from..until).next() else {
            return Ok(None);
        };
        let belongs = |page: u64| self.pages.get(&page).is_some_and(|&(other, _)| other == id);
        let mut range = Range { start: first, end: first + PAGE };
        while belongs(range.start - PAGE) {
            range.start -= PAGE;
        }
        while belongs(range.end) {
            range.end += PAGE;
        }
        let backing =
            if self.refused_vma == Some(id) { Backing::PlacedByDriver } else { Backing::Movable };
        self.found = Vma { range, backing, ..Vma::default() };
        Ok(Some(&self.found))
    }
}

fn carry_out(pages: &mut Pages, request: &Request, refused_vma: Option<u32>) -> Result<u64, Errno> {
    let wanted = match request.judge(SPACE) {
        Judgement::Move(wanted) => wanted,
        Judgement::Refused(errno) => return Err(errno),
        Judgement::NotAMove => panic!("every request here is a move"),
    };
    let mut plan = Plan::new(wanted);
    loop {
        let mut toy = Toy { pages, refused_vma, found: Vma::default() };
        let Ok(step) = plan.next_step(&mut toy);
        match step {
            Step::Gap(gap) => assert!(!gap.is_empty()),
            Step::Done => return Ok(wanted.destination),
            Step::Refused(errno) => return Err(errno),
            Step::Part(part) => {
                let (vma, target) = (plan.vma(), wanted.target(part.start));
                assert!(
                    part.start >= vma.range.start && part.end <= vma.range.end && !part.is_empty()
                );
                for offset in (0..part.len()).step_by(PAGE as usize) {
                    let moved =
                        pages.remove(&(part.start + offset)).expect("a part is mapped throughout");
                    pages.insert(target + offset, moved);
                }
            }
        }
    }
}

/// `remap_move`, page by page.
fn specification(
    pages: &mut Pages,
    request: &Request,
    refused_vma: Option<u32>,
) -> Result<u64, Errno> {
    let (old, len, new) = (request.old, request.old_len, request.new);
    if old % PAGE != 0 || new % PAGE != 0 || len == 0 || (old + len > new && new + len > old) {
        return Err(Errno::EINVAL);
    }
    let mut seen = None;
    for page in (old..old + len).step_by(PAGE as usize) {
        let Some(&(id, content)) = pages.get(&page) else {
            if page == old {
                return Err(Errno::EFAULT);
            }
            continue;
        };
        let starts_vma = seen != Some(id);
        if starts_vma && refused_vma == Some(id) {
            let mut end = page;
            while pages.get(&end).is_some_and(|&(other, _)| other == id) {
                end += PAGE;
            }
            if seen.is_some() || end < old + len {
                return Err(Errno::EFAULT);
            }
        }
        seen = Some(id);
        pages.remove(&page);
        pages.insert(page - old + new, (id, content));
    }
    Ok(new)
}

fn layout() -> impl Strategy<Value = Pages> {
    proptest::collection::vec((0..3u64, 1..4u64), 1..20).prop_map(|pieces| {
        let mut pages = Pages::new();
        let mut at = PAGE;
        for (id, (gap, len)) in pieces.into_iter().enumerate() {
            at += gap * PAGE;
            for _ in 0..len {
                pages.insert(at, (id as u32, at));
                at += PAGE;
            }
        }
        pages
    })
}

proptest! {
    #[test]
    fn carrying_out_a_plan_gives_what_the_kernel_gives(
        mut pages in layout(),
        first in 0..40u64,
        count in 0..40u64,
        to in prop_oneof![0..80u64, 100..140u64],
        unaligned in prop_oneof![9 => Just(0u64), 1 => 1..4095u64],
        refused_vma in proptest::option::of(0..20u32),
    ) {
        let request = Request {
            old: (first + 1) * PAGE,
            old_len: count * PAGE,
            new_len: count * PAGE,
            flags: Flags(3),
            new: (to + 1) * PAGE + unaligned,
        };
        // A moved part keeps its VMA's id: pages that reach a source VMA of the same id merge in
        // both.
        let mut expected = pages.clone();
        let wanted = specification(&mut expected, &request, refused_vma);
        let got = carry_out(&mut pages, &request, refused_vma);
        prop_assert_eq!(got, wanted);
        prop_assert_eq!(pages, expected);
    }

    #[test]
    fn parsers_take_any_bytes(line in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = mremap_plan::maps::parse_line(&line);
    }
}

#[test]
fn parses_every_field_of_a_maps_line() {
    let line = mremap_plan::maps::parse_line(
        b"7f00a000-7f00c000 rw-s 00003000 fd:01 1234                       /tmp/with space (deleted)",
    )
    .unwrap();
    assert_eq!(line.vma.range, Range { start: 0x7f00_a000, end: 0x7f00_c000 });
    assert_eq!(
        (line.vma.offset, line.inode, line.path),
        (0x3000, 1234, &b"/tmp/with space (deleted)"[..])
    );
    let protection = line.vma.protection.unwrap();
    assert!(protection.read && protection.write && !protection.execute && protection.shared);
    for broken in ["", "7f00a000", "2-1 rw-p 0 0:0 0", "1-2 rw-p", "zz-2 rw-p 0 0:0 0 x"] {
        assert_eq!(mremap_plan::maps::parse_line(broken.as_bytes()), None, "{broken}");
    }
}

#[test]
fn refuses_private_dev_zero_among_others() {
    let backing = |path: &[u8], shared| Backing::of_mapping(path, 0, 5, shared);
    assert_eq!(backing(b"/dev/zero", false), Backing::PlacedByDriver);
    assert_ne!(backing(b"/dev/zero", true), Backing::PlacedByDriver);
}

#[test]
fn knows_every_mode_of_userfaultfd_by_its_flag() {
    let flags = |line: &str| mremap_plan::maps::flags_name_userfaultfd(line.as_bytes());
    for mode in ["um", "uw", "ui", "ur"] {
        assert_eq!(
            flags(&format!("VmFlags: rd wr mr mw me {mode} ac sd \n")),
            Some(true),
            "{mode}"
        );
    }
    assert_eq!(flags("VmFlags: rd wr mr mw me ac sd \n"), Some(false));
    assert_eq!(flags("Size: 4 kB\n"), None);
}

#[test]
fn refuses_system_v_segments_and_bpf_maps_among_others() {
    let placed =
        |path: &[u8], inode| Backing::of_mapping(path, 0, inode, true) == Backing::PlacedByDriver;
    assert!(placed(b"/SYSV00000000 (deleted)", 0), "the inode of a segment may be 0");
    assert!(placed(b"/SYSV0badcafe (deleted)", 32771));
    assert!(placed(b"anon_inode:bpf-map", 9));
    for other in [&b"/SYSV (deleted)"[..], b"/SYSV00000000", b"/SYSV0000000g (deleted)"] {
        assert!(!placed(other, 7), "{other:?}");
    }
}

#[test]
fn drops_the_tag_of_the_source_only() {
    let tagged = |old, new| {
        let request = Request { old, old_len: PAGE, new_len: PAGE, flags: Flags(3), new };
        let untagged = request.without_tag();
        (untagged.old, untagged.new)
    };
    assert_eq!(tagged(0xab00_7f00_0000_1000, 0xcd << 56), (0x7f00_0000_1000, 0xcd << 56));
    assert_eq!(tagged(0x7f00_0000_1000, 0), (0x7f00_0000_1000, 0));
    let kernels = 0xff80_0000_0000_1000;
    assert_eq!(tagged(kernels, 0), (kernels, 0), "a kernel address has no tag");
}

fn judge(request: Request) -> Judgement {
    request.judge(SPACE)
}

/// Three pages, moved up by sixteen.
const GOOD: Request =
    Request { old: 0x10000, old_len: 0x3000, new_len: 0x3000, flags: Flags(3), new: 0x20000 };

#[test]
fn refuses_invalid_requests() {
    let with_flags = |flags| Request { flags: Flags(flags), ..GOOD };
    let of_length = |len| Request { old_len: len, new_len: len, ..GOOD };
    let to = |new| Request { new, ..GOOD };
    let old = 0x10001;
    for wrong in [
        with_flags(3 | 8),
        with_flags(2),
        Request { old, ..GOOD },
        to(0x20001),
        of_length(0),
        // Overlaps from above and from below; ends beyond the address space.
        to(0x12000),
        to(0xf000),
        to((1 << 47) - 0x2000),
        of_length(1 << 48),
    ] {
        assert_eq!(judge(wrong), Judgement::Refused(Errno::EINVAL), "{wrong:x?}");
    }
}

#[test]
fn allows_adjacent_destinations_and_the_end_of_the_address_space() {
    for new in [GOOD.new, 0x13000, 0xd000, (1 << 47) - 0x3000] {
        assert!(matches!(judge(Request { new, ..GOOD }), Judgement::Move(_)), "{new:x}");
    }
}

#[test]
fn compares_lengths_after_rounding_to_pages() {
    let uneven = Request { old_len: 0x2001, flags: Flags(7), ..GOOD };
    assert!(matches!(judge(uneven), Judgement::Move(_)));
}

#[test]
fn resizes_copies_and_calls_without_fixed_are_no_moves() {
    let resize = Request { new_len: 0x4000, ..GOOD };
    let anywhere = Request { flags: Flags(1), ..GOOD };
    let copy = Request { old_len: 0, ..GOOD };
    for request in [resize, anywhere, copy] {
        assert_eq!(judge(request), Judgement::NotAMove, "{request:x?}");
    }
}
