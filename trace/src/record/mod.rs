//! Records of eight words each. The top byte of the last word is the tag. It is stored last: a slot
//! with tag 0 is unfinished.

mod call;
mod context;
mod pieces;
mod stored;
mod words;

use crate::layout::{SLOT_WORDS, TEXT_PER_SLOT};
pub use call::Call;
pub use context::{FRAMES_PER_RECORD, Message, Module, Stack, StackWords};
pub use pieces::{Gap, Part, Summary};
pub use stored::StoredCall;
use words::commit;
pub use words::tag_of;

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
    StackWords(StackWords),
    /// Thread id of the records that follow in this chunk, up to the next record of this kind.
    Thread(u32),
    /// Text of the record before.
    Text([u8; TEXT_PER_SLOT]),
    /// The next record did not fit into the chunk.
    Padding,
}

/// What a slot holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Slot {
    /// A whole record.
    Complete(Record),
    /// Claimed and not finished: its writer was killed, or is still writing.
    Torn,
    /// A tag that this build does not know.
    Unknown(u8),
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
    pub const STACK_WORDS: u8 = 24;
    pub const THREAD: u8 = 25;
}

impl Record {
    /// Encodes the record. Store the last word last, with release ordering: it holds the tag.
    #[inline]
    pub fn encode(&self) -> [u64; SLOT_WORDS] {
        match self {
            Self::Call(call) => call.encode(),
            Self::Summary(summary) => summary.encode(),
            Self::Part(part) => part.encode(),
            Self::Gap(gap) => gap.encode(),
            Self::Module(module) => module.encode(),
            Self::Message(message) => message.encode(),
            Self::Stack(stack) => stack.encode(),
            Self::StackWords(words) => words.encode(),
            Self::Thread(tid) => [u64::from(*tid), 0, 0, 0, 0, 0, 0, commit(tag::THREAD, 0)],
            Self::Text(text) => context::encode_text(text),
            Self::Padding => [0, 0, 0, 0, 0, 0, 0, commit(tag::PADDING, 0)],
        }
    }

    /// Decodes the words of a claimed slot.
    pub fn decode(words: [u64; SLOT_WORDS]) -> Slot {
        if let Some(call) = Call::decode(&words) {
            return Slot::Complete(Self::Call(call));
        }
        Slot::Complete(match tag_of(&words) {
            0 => return Slot::Torn,
            tag::SUMMARY => Self::Summary(Summary::decode(words)),
            tag::PART => Self::Part(Part::decode(words)),
            tag::GAP => Self::Gap(Gap::decode(words)),
            tag::MODULE => Self::Module(Module::decode(words)),
            tag::TEXT => Self::Text(context::decode_text(words)),
            tag::PADDING => Self::Padding,
            tag::MESSAGE => Self::Message(Message::decode(words)),
            tag::STACK => Self::Stack(Stack::decode(words)),
            tag::STACK_WORDS => Self::StackWords(StackWords::decode(words)),
            tag::THREAD => Self::Thread(words[0] as u32),
            unknown => return Slot::Unknown(unknown),
        })
    }
}
