//! The visible state of a process before and after its requests. A runner sends it as 64-bit words
//! that are equal in two processes if the states are.

/// A runner's words for one case.
pub type Words = Vec<u64>;

/// Recorded instead of an address that the kernel chose (a call without `MREMAP_FIXED`), which a
/// preload library changes.
pub const ELSEWHERE: u64 = 0x6000_0000_0000;

/// The pairs of letters in `VmFlags`; the index of each is its bit. Unknown pairs set bit 63.
pub const FLAGS: [&[u8; 2]; 43] = [
    b"rd", b"wr", b"ex", b"sh", b"mr", b"mw", b"me", b"ms", b"gd", b"pf", b"lo", b"io", b"sr",
    b"rr", b"dc", b"de", b"ac", b"nr", b"ht", b"sf", b"nl", b"ar", b"wf", b"dd", b"sd", b"mm",
    b"hg", b"nh", b"mg", b"um", b"uw", b"ui", b"ss", b"sl", b"dp", b"gu", b"lf", b"bt", b"mt",
    b"dw", b"us", b"mp", b"ur",
];

/// The bit of a pair of letters in `VmFlags`.
pub fn flag(pair: [u8; 2]) -> u64 {
    FLAGS.iter().position(|&&known| known == pair).map_or(1 << 63, |index| 1 << index)
}

/// What backs a mapping, by its name in maps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u64)]
#[allow(missing_docs)]
pub enum Class {
    Memory = 0,
    SharedMemory,
    Memfd,
    File,
    DevZero,
    Ramfs,
    SystemV,
    BpfMap,
    Vvar,
    Vdso,
    HugePages,
    Secret,
    Other,
}

impl Class {
    const ALL: [Self; 13] = [
        Self::Memory,
        Self::SharedMemory,
        Self::Memfd,
        Self::File,
        Self::DevZero,
        Self::Ramfs,
        Self::SystemV,
        Self::BpfMap,
        Self::Vvar,
        Self::Vdso,
        Self::HugePages,
        Self::Secret,
        Self::Other,
    ];

    /// Classifies a name in maps by the oracle's own files, independently of the planner.
    pub fn of_name(name: &[u8]) -> Self {
        const NAMES: [(&[u8], Class); 10] = [
            (b"/dev/zero (deleted)", Class::SharedMemory),
            (b"/dev/zero", Class::DevZero),
            (b"/SYSV", Class::SystemV),
            (b"/memfd:", Class::Memfd),
            (b"anon_inode:bpf-map", Class::BpfMap),
            (b"[vvar", Class::Vvar),
            (b"[vdso]", Class::Vdso),
            (b"/anon_hugepage", Class::HugePages),
            (b"/secretmem", Class::Secret),
            (b"/", Class::File),
        ];
        if name.is_empty() {
            return Self::Memory;
        }
        if name.windows(7).any(|part| part == b"/ramfs-") {
            return Self::Ramfs;
        }
        if name.windows(6).any(|part| part == b"/zero-") {
            return Self::DevZero;
        }
        let known = NAMES.iter().find(|(prefix, _)| name.starts_with(prefix));
        known.map_or(Self::Other, |&(_, class)| class)
    }

    fn from_number(number: u64) -> Self {
        *Self::ALL.get(number as usize).unwrap_or(&Self::Other)
    }
}

/// A mapping. Adjacent equal mappings are one, whether or not the kernel merged them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mapping {
    /// Start address.
    pub start: u64,
    /// End address, exclusive.
    pub end: u64,
    /// Bits of [`FLAGS`].
    pub flags: u64,
    #[allow(missing_docs)]
    pub class: Class,
    /// Number of the object, in order of appearance; 0 for anonymous memory.
    pub object: u64,
    /// Offset in the object.
    pub offset: u64,
}

impl Mapping {
    /// Whether a flag is set.
    pub fn has(&self, pair: [u8; 2]) -> bool {
        self.flags & flag(pair) != 0
    }

    /// Whether `next` begins where this one ends, with equal properties.
    pub fn continues_in(&self, next: &Self) -> bool {
        self.end == next.start
            && (self.flags, self.class, self.object) == (next.flags, next.class, next.object)
            && (self.object == 0 || self.offset.wrapping_add(self.end - self.start) == next.offset)
    }

    /// `vma_multi_allowed` of `mm/mremap.c`, by the class of the mapping.
    pub fn may_move_with_others(&self) -> bool {
        // A shared mapping of /dev/zero is shmem, and is named so in maps.
        let placed_by_driver =
            matches!(self.class, Class::DevZero | Class::Ramfs | Class::SystemV | Class::BpfMap);
        !placed_by_driver && !self.is_userfaultfd()
    }

    /// Whether it is registered with userfaultfd.
    pub fn is_userfaultfd(&self) -> bool {
        [*b"um", *b"uw", *b"ui", *b"ur"].iter().any(|&pair| self.has(pair))
    }
}

/// The content of an unreadable page.
pub const UNREADABLE: u64 = 0;

/// The state after a request, or before the first one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct State {
    /// The call's result: an address or -1; 0 before the first request.
    pub result: u64,
    /// errno after the call; [`UNTOUCHED`] if the call did not set it.
    pub errno: u64,
    /// Mappings in address order.
    pub mappings: Vec<Mapping>,
    /// A hash of each page, mapping by mapping.
    pub pages: Vec<u64>,
}

/// errno before each call, a value that no kernel returns.
pub const UNTOUCHED: i32 = 4242;

impl State {
    /// Appends the state to the words.
    pub fn encode(&self, into: &mut Words) {
        into.extend([self.result, self.errno, self.mappings.len() as u64, self.pages.len() as u64]);
        for mapping in &self.mappings {
            into.extend([
                mapping.start,
                mapping.end,
                mapping.flags,
                mapping.class as u64,
                mapping.object,
                mapping.offset,
            ]);
        }
        into.extend(&self.pages);
    }

    fn decode(words: &mut &[u64]) -> Option<Self> {
        let (&[result, errno, mappings, pages], rest) = words.split_first_chunk()?;
        let (mapped, rest) = rest.split_at_checked(mappings.checked_mul(6)? as usize)?;
        let (content, rest) = rest.split_at_checked(pages as usize)?;
        *words = rest;
        let mapping = |words: &[u64]| Mapping {
            start: words[0],
            end: words[1],
            flags: words[2],
            class: Class::from_number(words[3]),
            object: words[4],
            offset: words[5],
        };
        Some(Self {
            result,
            errno,
            mappings: mapped.chunks_exact(6).map(mapping).collect(),
            pages: content.to_vec(),
        })
    }

    /// Whether the call succeeded.
    pub fn is_success(&self) -> bool {
        self.result != u64::MAX
    }

    /// The mapping that contains an address.
    pub fn mapping_at(&self, address: u64) -> Option<&Mapping> {
        self.mappings.iter().find(|mapping| mapping.start <= address && address < mapping.end)
    }

    /// The hash of the page at an address, if it is mapped.
    pub fn page_at(&self, address: u64) -> Option<u64> {
        let mut before = 0;
        for mapping in &self.mappings {
            if mapping.start <= address && address < mapping.end {
                return self
                    .pages
                    .get((before + (address - mapping.start) / crate::case::PAGE) as usize)
                    .copied();
            }
            before += (mapping.end - mapping.start) / crate::case::PAGE;
        }
        None
    }
}

/// The states of one case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Observation {
    /// The child's status, as returned by `waitpid`.
    pub status: u64,
    /// The state before the first request, and after each one.
    pub states: Vec<State>,
}

impl Observation {
    /// Parses a runner's words. A child that died has fewer states than requests.
    pub fn decode(words: &[u64]) -> Self {
        let (&status, mut rest) = words.split_first().unwrap_or((&0, &[]));
        let mut states = Vec::new();
        while let Some(state) = State::decode(&mut rest) {
            states.push(state);
        }
        Self { status, states }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decodes_what_was_encoded() {
        let mapping = Mapping {
            start: 0x1000,
            end: 0x3000,
            flags: flag(*b"rd") | flag(*b"lo"),
            class: Class::Memfd,
            object: 2,
            offset: 0x5000,
        };
        let state = State {
            result: u64::MAX,
            errno: 14,
            mappings: vec![mapping],
            pages: vec![7, UNREADABLE],
        };
        let mut words = vec![9];
        state.encode(&mut words);
        state.encode(&mut words);
        words.extend([1, 2, 3]); // incomplete
        let observation = Observation::decode(&words);
        assert_eq!(
            (observation.status, observation.states.len()),
            (9, 2),
            "the incomplete state is ignored"
        );
        assert_eq!(observation.states[1], state);
        assert_eq!(state.page_at(0x2000), Some(UNREADABLE));
        assert_eq!(state.page_at(0x3000), None);
    }

    #[test]
    fn joins_neighbours_only_if_their_offsets_continue() {
        let first =
            Mapping { start: 0, end: 0x1000, flags: 1, class: Class::File, object: 1, offset: 0 };
        let second = Mapping { start: 0x1000, end: 0x2000, offset: 0x1000, ..first };
        assert!(first.continues_in(&second));
        assert!(!first.continues_in(&Mapping { offset: 0, ..second }));
        assert!(!first.continues_in(&Mapping { start: 0x2000, end: 0x3000, ..second }));
    }
}
