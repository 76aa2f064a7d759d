//! One record: eight words. The last word carries the tag in its top byte and is stored last, so that a
//! slot whose tag is 0 was never finished.

use crate::chunk::Slot;
use crate::layout::{SLOT_WORDS, TEXT_PER_SLOT};

const LOW_56: u64 = (1 << 56) - 1;

/// What was done with a call. The numbers are the tags in the trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Outcome {
    /// No move, or the shim only records: the kernel got the call as it was.
    PassedThrough = 1,
    /// A move, on a kernel with the multi-VMA move: the kernel got the call as it was.
    Native = 2,
    /// A move inside one VMA, which any kernel can do: one call to the kernel.
    OneVma = 3,
    /// A move that was split, one call for each part.
    Emulated = 4,
    /// A move that Linux 6.17 refuses before it touches anything: the kernel was not called.
    Refused = 5,
    /// A move that was being split when the record was last written.
    Begun = 6,
}

impl Outcome {
    /// Every outcome, in the order of the tags.
    pub const ALL: [Self; 6] = [
        Self::PassedThrough,
        Self::Native,
        Self::OneVma,
        Self::Emulated,
        Self::Refused,
        Self::Begun,
    ];

    /// The outcome that a record's tag stands for, if it is a call's.
    #[inline]
    pub const fn of_tag(tag: u8) -> Option<Self> {
        Some(match tag {
            1 => Self::PassedThrough,
            2 => Self::Native,
            3 => Self::OneVma,
            4 => Self::Emulated,
            5 => Self::Refused,
            6 => Self::Begun,
            _ => return None,
        })
    }
}

/// One call of `mremap`, arguments as the program gave them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Call {
    /// What was done.
    pub outcome: Outcome,
    /// Clock ticks at entry.
    pub ticks: u64,
    /// Clock ticks until return; beyond 2^31 kept to a multiple of 1024.
    pub duration: u64,
    /// First argument.
    pub old: u64,
    /// Second argument.
    pub old_len: u64,
    /// Third argument.
    pub new_len: u64,
    /// Fourth argument.
    pub flags: u32,
    /// Fifth argument; whatever was in its register when the flags ask for none.
    pub new: u64,
    /// What the kernel's own call returns: an address, or minus the errno.
    pub result: i64,
    /// Return address of the call; 56 bits are kept.
    pub caller: u64,
}

impl Call {
    /// The call in a slot, if its words hold one. What is not asked for is not decoded.
    #[inline]
    pub fn decode(words: &[u64; SLOT_WORDS]) -> Option<Self> {
        let &[
            ticks,
            duration_and_flags,
            old,
            old_len,
            new_len,
            new,
            result,
            last,
        ] = words;
        Some(Self {
            outcome: Outcome::of_tag(tag_of(words))?,
            ticks,
            duration: unpack_duration(low(duration_and_flags)),
            flags: high(duration_and_flags),
            old,
            old_len,
            new_len,
            new,
            result: result as i64,
            caller: last & LOW_56,
        })
    }

    /// The errno of a failed call.
    #[inline]
    pub fn errno(&self) -> Option<u32> {
        (-4095..0)
            .contains(&self.result)
            .then(|| self.result.unsigned_abs() as u32)
    }
}

/// What an emulated move (or, with the detail `vmas`, any move) came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// File-wide slot number of the call.
    pub call: u32,
    /// Parts moved.
    pub parts: u32,
    /// Gaps stepped over, a trailing one included.
    pub gaps: u32,
    /// Parts discovered again because another thread changed them.
    pub retries: u32,
    /// Bytes moved.
    pub bytes: u64,
    /// How the VMAs were found: 1 query, 2 maps, 3 bisect, 4 smaps.
    pub source: u32,
}

/// One part of a moved range.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Part {
    /// File-wide slot number of the call.
    pub call: u32,
    /// 0, or why this part could not be moved.
    pub errno: u32,
    /// The part: first byte.
    pub start: u64,
    /// The part: first byte behind it.
    pub end: u64,
    /// The whole VMA as it was found, when the source tells it, else the part.
    pub vma_start: u64,
    /// Its end.
    pub vma_end: u64,
    /// Offset in the file, bytes.
    pub offset: u64,
    /// Clock ticks the part took.
    pub duration: u32,
    /// Bit 0 read, 1 write, 2 execute, 3 shared; bit 7: these are known.
    pub protection: u8,
}

/// What lay at the target of a gap.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u32)]
pub enum Under {
    /// Not looked at.
    #[default]
    Unknown = 0,
    /// Nothing mapped.
    Empty = 1,
    /// Something mapped, which the move left alone.
    Mapped = 2,
}

/// One gap of a moved range.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Gap {
    /// File-wide slot number of the call.
    pub call: u32,
    /// The gap in the source: first byte.
    pub start: u64,
    /// First byte behind it.
    pub end: u64,
    /// What lay at its target.
    pub under: Under,
}

/// An executable mapping of a file; its path follows in text slots.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Module {
    /// First byte of the mapping.
    pub start: u64,
    /// First byte behind it.
    pub end: u64,
    /// Offset in the file of the first byte.
    pub offset: u64,
    /// Bytes of the path, in the text slots that follow.
    pub path_len: u32,
    /// Bytes of the build id that count.
    pub build_id_len: u8,
    /// GNU build id.
    pub build_id: [u8; 20],
}

/// Most frames one stack record holds; a deeper stack takes several.
pub const FRAMES_PER_RECORD: usize = 6;

/// Return addresses above a call's own caller, innermost first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stack {
    /// File-wide slot number of the call.
    pub call: u32,
    /// Place of the first of these frames in the whole stack; the call's own caller is 0.
    pub first: u16,
    /// Frames that count.
    pub count: u16,
    /// Return addresses.
    pub frames: [u64; FRAMES_PER_RECORD],
}

/// A diagnostic of the shim's own; its text follows in text slots.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Message {
    /// 1 error, 2 warning, 3 information.
    pub level: u32,
    /// Bytes of the text.
    pub text_len: u32,
    /// Clock ticks.
    pub ticks: u64,
}

/// One slot's content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)] // each variant is the type it holds
pub enum Record {
    Call(Call),
    Summary(Summary),
    Part(Part),
    Gap(Gap),
    Module(Module),
    Message(Message),
    Stack(Stack),
    /// Text of the record before it.
    Text([u8; TEXT_PER_SLOT]),
    /// Left empty on purpose: the next record did not fit in the chunk.
    Padding,
}

mod tag {
    pub const SUMMARY: u8 = 16;
    pub const PART: u8 = 17;
    pub const GAP: u8 = 18;
    pub const MODULE: u8 = 19;
    pub const TEXT: u8 = 20;
    pub const PADDING: u8 = 21;
    pub const MESSAGE: u8 = 22;
    pub const STACK: u8 = 23;
}

/// The tag in a slot's last word; 0 where the record was never finished.
#[inline]
pub fn tag_of(words: &[u64; SLOT_WORDS]) -> u8 {
    (words[SLOT_WORDS - 1] >> 56) as u8
}

fn pair(low: u32, high: u32) -> u64 {
    u64::from(low) | u64::from(high) << 32
}

#[inline]
fn low(word: u64) -> u32 {
    word as u32
}

#[inline]
fn high(word: u64) -> u32 {
    (word >> 32) as u32
}

/// 31 bits as they are; beyond, in units of 1024 with the top bit set, up to 2^41 ticks.
fn pack_duration(ticks: u64) -> u32 {
    if ticks < 1 << 31 {
        ticks as u32
    } else {
        1 << 31 | (ticks >> 10).min((1 << 31) - 1) as u32
    }
}

#[inline]
fn unpack_duration(packed: u32) -> u64 {
    if packed < 1 << 31 {
        u64::from(packed)
    } else {
        u64::from(packed & !(1 << 31)) << 10
    }
}

impl Record {
    /// The slot's words. Store the last one last, with release ordering: it carries the tag.
    #[inline]
    pub fn encode(&self) -> [u64; SLOT_WORDS] {
        let commit = |tag: u8, rest: u64| u64::from(tag) << 56 | rest & LOW_56;
        match self {
            Self::Call(c) => [
                c.ticks,
                pair(pack_duration(c.duration), c.flags),
                c.old,
                c.old_len,
                c.new_len,
                c.new,
                c.result as u64,
                commit(c.outcome as u8, c.caller),
            ],
            Self::Summary(s) => [
                pair(s.call, s.retries),
                pair(s.parts, s.gaps),
                s.bytes,
                pair(s.source, 0),
                0,
                0,
                0,
                commit(tag::SUMMARY, 0),
            ],
            Self::Part(p) => [
                pair(p.call, p.errno),
                p.start,
                p.end,
                p.vma_start,
                p.vma_end,
                p.offset,
                pair(p.duration, u32::from(p.protection)),
                commit(tag::PART, 0),
            ],
            Self::Gap(g) => [
                pair(g.call, g.under as u32),
                g.start,
                g.end,
                0,
                0,
                0,
                0,
                commit(tag::GAP, 0),
            ],
            Self::Module(m) => {
                let word = |at: usize| {
                    let mut bytes = [0; 8];
                    let taken = &m.build_id[at..m.build_id.len().min(at + 8)];
                    bytes[..taken.len()].copy_from_slice(taken);
                    u64::from_ne_bytes(bytes)
                };
                [
                    m.start,
                    m.end,
                    m.offset,
                    pair(m.path_len, u32::from(m.build_id_len)),
                    word(0),
                    word(8),
                    word(16),
                    commit(tag::MODULE, 0),
                ]
            }
            Self::Message(m) => [
                m.ticks,
                pair(m.level, m.text_len),
                0,
                0,
                0,
                0,
                0,
                commit(tag::MESSAGE, 0),
            ],
            Self::Stack(s) => {
                let [f0, f1, f2, f3, f4, f5] = s.frames;
                let place = u32::from(s.first) | u32::from(s.count) << 16;
                [pair(s.call, place), f0, f1, f2, f3, f4, f5, commit(tag::STACK, 0)]
            }
            Self::Text(text) => {
                let mut words = [0; SLOT_WORDS];
                for (word, bytes) in words.iter_mut().zip(text.as_chunks::<8>().0) {
                    *word = u64::from_ne_bytes(*bytes);
                }
                words[SLOT_WORDS - 1] = commit(tag::TEXT, 0);
                words
            }
            Self::Padding => [0, 0, 0, 0, 0, 0, 0, commit(tag::PADDING, 0)],
        }
    }

    /// What the words of a claimed slot hold.
    pub fn decode(words: [u64; SLOT_WORDS]) -> Slot {
        let [w0, w1, w2, w3, w4, w5, w6, _] = words;
        let tag = tag_of(&words);
        Slot::Complete(match tag {
            0 => return Slot::Torn,
            1..=6 => match Call::decode(&words) {
                Some(call) => Self::Call(call),
                None => return Slot::Unknown(tag),
            },
            tag::SUMMARY => Self::Summary(Summary {
                call: low(w0),
                retries: high(w0),
                parts: low(w1),
                gaps: high(w1),
                bytes: w2,
                source: low(w3),
            }),
            tag::PART => Self::Part(Part {
                call: low(w0),
                errno: high(w0),
                start: w1,
                end: w2,
                vma_start: w3,
                vma_end: w4,
                offset: w5,
                duration: low(w6),
                protection: high(w6) as u8,
            }),
            tag::GAP => Self::Gap(Gap {
                call: low(w0),
                start: w1,
                end: w2,
                under: match high(w0) {
                    1 => Under::Empty,
                    2 => Under::Mapped,
                    _ => Under::Unknown,
                },
            }),
            tag::MODULE => {
                let mut build_id = [0; 20];
                build_id[..8].copy_from_slice(&w4.to_ne_bytes());
                build_id[8..16].copy_from_slice(&w5.to_ne_bytes());
                build_id[16..].copy_from_slice(&w6.to_ne_bytes()[..4]);
                Self::Module(Module {
                    start: w0,
                    end: w1,
                    offset: w2,
                    path_len: low(w3),
                    build_id_len: high(w3).min(20) as u8,
                    build_id,
                })
            }
            tag::MESSAGE => Self::Message(Message {
                ticks: w0,
                level: low(w1),
                text_len: high(w1),
            }),
            tag::TEXT => {
                let mut text = [0; TEXT_PER_SLOT];
                for (bytes, word) in text.as_chunks_mut::<8>().0.iter_mut().zip(words) {
                    *bytes = word.to_ne_bytes();
                }
                Self::Text(text)
            }
            tag::STACK => Self::Stack(Stack {
                call: low(w0),
                first: high(w0) as u16,
                count: (high(w0) >> 16).min(FRAMES_PER_RECORD as u32) as u16,
                frames: [w1, w2, w3, w4, w5, w6],
            }),
            tag::PADDING => Self::Padding,
            unknown => return Slot::Unknown(unknown),
        })
    }
}
