//! The protocol on the guest's serial line: the commands' output, separated by marks. No I/O here.
//!
//! A mark is `<<NONCE words>>`. The nonce differs in every run, so no command prints a mark by
//! chance.
//!
//! ```text
//! <<N ready>>  output of command 0  <<N end STATUS KERNEL>>  output of command 1  ...  <<N done>>
//! ```
//!
//! `KERNEL` is 1 if the kernel issued a warning; then its log follows, up to `<<N log>>`.

use std::time::{SystemTime, UNIX_EPOCH};

use super::CommandOutcome;

/// A word that no command prints by chance.
pub fn nonce() -> String {
    let time = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
    format!("guest-{:x}", time ^ u128::from(std::process::id()) << 64)
}

/// Parses the line, which arrives in chunks of any size.
#[derive(Debug)]
pub struct Reader {
    start: Vec<u8>,
    pending: Vec<u8>,
    output: Vec<u8>,
    is_running: bool,
    outcomes: Vec<CommandOutcome>,
    expects_log: bool,
    is_done: bool,
}

impl Reader {
    /// Creates a reader for one guest's line.
    pub fn new(nonce: &str) -> Self {
        Self {
            start: format!("<<{nonce} ").into_bytes(),
            pending: Vec::new(),
            output: Vec::new(),
            is_running: false,
            outcomes: Vec::new(),
            expects_log: false,
            is_done: false,
        }
    }

    /// Parses the next chunk. `watch` receives the part of it that is a command's output.
    pub fn feed(&mut self, chunk: &[u8], watch: &mut dyn FnMut(&[u8])) {
        self.pending.extend_from_slice(chunk);
        while let Some((before, words, after)) = self.split() {
            let rest = self.pending.split_off(after);
            self.pending.truncate(before);
            self.flush(before, watch);
            self.pending = rest;
            self.mark(&words);
        }
        // Keep what may be the beginning of a mark.
        let kept = (1..self.start.len())
            .rev()
            .find(|&n| self.pending.ends_with(&self.start[..n]))
            .unwrap_or(0);
        if find(&self.pending, &self.start).is_none() {
            self.flush(self.pending.len() - kept, watch);
        }
    }

    /// Whether a mark was read.
    pub fn is_started(&self) -> bool {
        self.is_done || self.is_running
    }

    /// Whether the guest finished all commands.
    pub fn is_done(&self) -> bool {
        self.is_done
    }

    /// The outcomes of the finished commands, and the output of an unfinished one.
    pub fn into_parts(self) -> (Vec<CommandOutcome>, String) {
        let unfinished = if self.is_running { self.output } else { Vec::new() };
        (self.outcomes, String::from_utf8_lossy(&unfinished).into_owned())
    }

    /// The next complete mark: its start, its words, its end.
    fn split(&self) -> Option<(usize, String, usize)> {
        let before = find(&self.pending, &self.start)?;
        let words = before + self.start.len();
        let length = find(&self.pending[words..], b">>")?;
        let text = String::from_utf8_lossy(&self.pending[words..words + length]).into_owned();
        Some((before, text, words + length + 2))
    }

    fn flush(&mut self, length: usize, watch: &mut dyn FnMut(&[u8])) {
        let text: Vec<u8> = self.pending.drain(..length).collect();
        if self.is_running && !self.expects_log && !text.is_empty() {
            watch(&text);
        }
        self.output.extend(text);
    }

    fn mark(&mut self, words: &str) {
        let output = std::mem::take(&mut self.output);
        let text = String::from_utf8_lossy(&output).into_owned();
        let words: Vec<&str> = words.split(' ').collect();
        match words.as_slice() {
            ["end", status, complaint] => {
                let status = status.parse().unwrap_or(-1);
                self.outcomes.push(CommandOutcome { status, output: text, kernel_log: None });
                self.expects_log = *complaint == "1";
            }
            ["log"] => {
                if let Some(last) = self.outcomes.last_mut() {
                    last.kernel_log = Some(text);
                }
                self.expects_log = false;
            }
            ["done"] => self.is_done = true,
            _ => {}
        }
        self.is_running = !self.is_done;
    }
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack.windows(needle.len()).position(|window| window == needle)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reads a line in chunks of every size; the results must be equal.
    fn check(line: &str, expected: &[(i32, &str, Option<&str>)], unfinished: &str) {
        for size in 1..=line.len() {
            let mut reader = Reader::new("N");
            let mut seen = Vec::new();
            line.as_bytes()
                .chunks(size)
                .for_each(|chunk| reader.feed(chunk, &mut |text| seen.extend_from_slice(text)));
            let (outcomes, rest) = reader.into_parts();
            let got: Vec<_> = outcomes
                .iter()
                .map(|it| (it.status, it.output.as_str(), it.kernel_log.as_deref()))
                .collect();
            assert_eq!(got, expected, "in chunks of {size}");
            assert_eq!(rest, unfinished, "in chunks of {size}");
            let all: String = expected.iter().map(|it| it.1).chain([unfinished]).collect();
            assert_eq!(String::from_utf8_lossy(&seen), all, "in chunks of {size}");
        }
    }

    #[test]
    fn separates_outputs_at_marks() {
        check(
            "noise<<N ready>>a\nb<<N end 0 0>><<N end 3 0>><<N done>>",
            &[(0, "a\nb", None), (3, "", None)],
            "",
        );
    }

    #[test]
    fn keeps_output_that_resembles_a_mark() {
        check(
            "<<N ready>><<M end 0 0>> <<N<<N end 0 0>><<N done>>",
            &[(0, "<<M end 0 0>> <<N", None)],
            "",
        );
    }

    #[test]
    fn assigns_a_kernel_log_to_the_command_before_it() {
        check(
            "<<N ready>>x<<N end 0 1>>WARNING<<N log>><<N done>>",
            &[(0, "x", Some("WARNING"))],
            "",
        );
    }

    #[test]
    fn returns_the_output_of_an_unfinished_command() {
        check("<<N ready>>a<<N end 0 0>>half", &[(0, "a", None)], "half");
    }
}
