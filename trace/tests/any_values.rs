//! Records and headers with any values survive encoding and decoding.

use mremap_trace::{
    Call, Capability, Clock, Detail, FRAMES_PER_RECORD, FoundBy, Gap, Header, HeaderText, Keep,
    Level, Message, Mode, Module, Outcome, Part, Record, Slot, Stack, StackWords, Summary, Under,
    VmaSource, layout,
};
use proptest::prelude::*;

/// Bits that are kept of a return address, and of a module's age.
const LOW_56: u64 = (1 << 56) - 1;

fn calls() -> impl Strategy<Value = Record> {
    let outcome = prop::sample::select(&Outcome::ALL);
    // `round_trip.rs` tests longer ones, which are rounded.
    let duration = 0..1_u64 << 31;
    (outcome, duration, any::<(u32, i64, [u64; 6])>()).prop_map(
        |(outcome, duration, (flags, result, words))| {
            let [ticks, old, old_len, new_len, new, caller] = words;
            Record::Call(Call {
                outcome,
                ticks,
                duration,
                old,
                old_len,
                new_len,
                flags,
                new,
                result,
                caller: caller & LOW_56,
            })
        },
    )
}

fn moves() -> impl Strategy<Value = Record> {
    let under = prop::sample::select(&Under::ALL);
    (0..3, under, any::<([u32; 5], [u64; 5], u8)>()).prop_map(
        |(kind, under, (small, large, protection))| {
            let ([call, errno, parts, gaps, retries], [start, end, vma_start, vma_end, offset]) =
                (small, large);
            match kind {
                0 => Record::Summary(Summary {
                    call,
                    parts,
                    gaps,
                    retries,
                    bytes: start,
                    source: FoundBy::from_raw(errno % 5).unwrap_or_default(),
                }),
                1 => Record::Part(Part {
                    call,
                    errno,
                    start,
                    end,
                    vma_start,
                    vma_end,
                    offset,
                    duration: parts,
                    protection,
                }),
                _ => Record::Gap(Gap { call, start, end, under }),
            }
        },
    )
}

fn contexts() -> impl Strategy<Value = Record> {
    let counts = (0..=20_u8, 0..=FRAMES_PER_RECORD as u16);
    let values = any::<([u32; 2], u16, [u64; 6], [u8; 20])>();
    let level = prop::sample::select(&Level::ALL);
    (0..5, counts, level, values).prop_map(
        |(kind, (build_id_len, count), level, ([call, len], first, frames, build_id))| match kind {
            0 => Record::Module(Module {
                start: frames[0],
                end: frames[1],
                offset: frames[2],
                path_len: len,
                build_id_len,
                build_id,
                since: frames[3] & LOW_56,
            }),
            1 => Record::Message(Message { level, text_len: len, ticks: frames[0] }),
            2 => Record::Thread(call),
            3 => Record::Stack(Stack { call, first, count, frames }),
            _ => Record::StackWords(StackWords { call, first, count, entries: frames }),
        },
    )
}

fn texts() -> impl Strategy<Value = Record> {
    let bytes = prop::collection::vec(any::<u8>(), layout::TEXT_PER_SLOT);
    bytes.prop_map(|bytes| Record::Text(bytes.try_into().expect("as many as fit")))
}

proptest! {
    #[test]
    fn any_record_survives(record in prop_oneof![calls(), moves(), contexts(), texts()]) {
        prop_assert_eq!(Record::decode(record.encode()), Slot::Complete(record));
    }

    #[test]
    fn decoded_words_survive(words in any::<[u64; layout::SLOT_WORDS]>(), tag in 0..32_u64) {
        let [first @ .., last] = words;
        let mut words = [0; layout::SLOT_WORDS];
        words[..first.len()].copy_from_slice(&first);
        words[first.len()] = tag << 56 | last >> 8;
        match Record::decode(words) {
            Slot::Complete(record) => prop_assert_eq!(Record::decode(record.encode()), Slot::Complete(record)),
            Slot::Torn => prop_assert_eq!(tag, 0),
            Slot::Unknown(unknown) => prop_assert_eq!(u64::from(unknown), tag),
        }
    }

    #[test]
    fn headers(small in any::<[u32; 11]>(), large in any::<[u64; 14]>(), boot_id in any::<[u8; 16]>(), argv in any::<Vec<u8>>()) {
        let header = Header {
            page_size: small[0],
            pid: small[1],
            parent_pid: small[2],
            clock: Clock::from_raw(small[3] % 5),
            detail: Detail::from_raw(small[4] % 5),
            mode: Mode::from_raw(small[5] % 5),
            vma_source: VmaSource::from_raw(small[6] % 5),
            keep: Keep::from_raw(small[7] % 5),
            forked_from: small[8],
            chunks: small[9],
            capability: Capability::from_raw(small[10] % 5),
            capacity: large[0],
            ticks: large[1],
            monotonic_ns: large[2],
            realtime_ns: large[3],
            lost_full: large[4],
            lost_early: large[5],
            lost_overwritten: large[6],
            lost_no_space: large[7],
            lost_truncated: large[8],
            boot_id,
            later: (large[9] != 0).then_some((large[9], large[0])),
            pid_namespace: large[10],
            start_time: large[11],
            lost_no_memory: large[12],
            lost_filtered: large[13],
        };
        let text = HeaderText { argv: &argv, exe: b"/bin/true", ..HeaderText::default() };
        let mut bytes = vec![0; layout::HEADER_SIZE];
        header.encode(&text, &mut bytes);
        prop_assert_eq!(Header::decode(&bytes), Ok((header, text)));
    }
}
