//! What a program can see of the watched pages after a request, found without `/proc`, and its form
//! as text: in the recorded outcomes and in the pictures.

use std::collections::BTreeMap;
use std::fmt::{self, Write as _};
use std::str::FromStr;

use mremap_oracle::case::{FILE_PAGES, PAGE};

/// Where a VMA is shown that the kernel moved to an address of its own choice.
pub const ELSEWHERE: u64 = 0x6000_0000_0000;
/// The first word of a page that a layout wrote: this, then the number of the VMA and of the page.
const WRITTEN: u64 = 0x0b57_0000_0000;
/// The first word of a page of a content file: this plus the number of the page.
const FILE: u64 = 0xf11e_0000;

/// What a page holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Content {
    /// Zeros.
    Zero,
    /// What the layout wrote into a page of one of its VMAs.
    Written {
        /// The index of the VMA in the case.
        vma: u64,
        /// The index of the page in that VMA.
        page: u64,
    },
    /// A page of a content file.
    File(u64),
    /// Mapped, but it cannot be read: no permission, or beyond the end of the file.
    Unreadable,
    /// None of these.
    Other,
}

impl Content {
    /// The content that begins with `word`, if the rest of the page is zeros.
    pub fn of_word(word: u64) -> Self {
        match word {
            0 => Self::Zero,
            _ if word >> 32 == WRITTEN >> 32 => {
                Self::Written { vma: word >> 16 & 0xffff, page: word & 0xffff }
            }
            _ if (FILE..FILE + FILE_PAGES).contains(&word) => Self::File(word - FILE),
            _ => Self::Other,
        }
    }
}

/// A mapped page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Page {
    /// What it holds.
    pub content: Content,
    /// Whether it can be written.
    pub is_writable: bool,
}

/// What a request returned, and the watched pages that are mapped afterwards, by address.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct State {
    /// An address, or minus the errno. 0 before the first request.
    pub result: i64,
    /// The mapped pages among those watched.
    pub pages: BTreeMap<u64, Page>,
}

impl fmt::Display for Page {
    /// `B2` is page 2 of the second VMA, `f7` page 7 of a file, `0` zeros, `x` unreadable; `-`
    /// follows if the page cannot be written.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.content {
            Content::Zero => f.write_str("0")?,
            Content::Written { vma, page } => write!(f, "{}{page}", letters(vma))?,
            Content::File(page) => write!(f, "f{page}")?,
            Content::Unreadable => return f.write_str("x"),
            Content::Other => f.write_str("?")?,
        }
        f.write_str(if self.is_writable { "" } else { "-" })
    }
}

impl FromStr for Page {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> anyhow::Result<Self> {
        let (name, is_writable) = text.strip_suffix('-').map_or((text, true), |name| (name, false));
        let digits = name.find(|letter: char| letter.is_ascii_digit()).unwrap_or(name.len());
        let content = match name.split_at(digits) {
            ("", "0") => Content::Zero,
            ("x", "") => Content::Unreadable,
            ("?", "") => Content::Other,
            ("f", page) => Content::File(page.parse()?),
            (letters, page) => Content::Written { vma: number(letters)?, page: page.parse()? },
        };
        let is_writable = is_writable && content != Content::Unreadable;
        Ok(Self { content, is_writable })
    }
}

const LETTERS: u64 = 26;

/// A VMA's name: `A` to `Z`, then `AA`, `AB` and so on.
fn letters(vma: u64) -> String {
    let last = char::from(b'A' + (vma % LETTERS) as u8);
    if vma < LETTERS { last.to_string() } else { letters(vma / LETTERS - 1) + &last.to_string() }
}

fn number(letters: &str) -> anyhow::Result<u64> {
    let is_name = !letters.is_empty() && letters.bytes().all(|letter| letter.is_ascii_uppercase());
    anyhow::ensure!(is_name, "{letters:?} is not a VMA's name");
    let value = |sum: u64, letter: u8| sum * LETTERS + u64::from(letter - b'A') + 1;
    Ok(letters.bytes().fold(0, value) - 1)
}

/// The result of a request as text: an address, or the name of the errno.
pub fn result_text(result: i64) -> String {
    match -result {
        1 => "EPERM".to_owned(),
        11 => "EAGAIN".to_owned(),
        12 => "ENOMEM".to_owned(),
        14 => "EFAULT".to_owned(),
        22 => "EINVAL".to_owned(),
        38 => "ENOSYS".to_owned(),
        errno @ 1..=4095 => format!("errno {errno}"),
        _ => format!("{result:#x}"),
    }
}

fn result_of(text: &str) -> anyhow::Result<i64> {
    let names = [(1i64, "EPERM"), (11, "EAGAIN"), (12, "ENOMEM"), (14, "EFAULT"), (22, "EINVAL")];
    match names.iter().find(|(_, name)| *name == text) {
        Some((errno, _)) => Ok(-errno),
        None => Ok(i64::from_str_radix(text.trim_start_matches("0x"), 16)?),
    }
}

impl State {
    /// Writes the state as lines: `= RESULT`, then one line for each run of mapped pages. `A0..7`
    /// are pages 0 to 7 of a VMA.
    pub fn write(&self, text: &mut String) {
        text.push_str("  = ");
        text.push_str(&result_text(self.result));
        let pages: Vec<(u64, Page)> = self.pages.iter().map(|(&at, &page)| (at, page)).collect();
        for run in pages.chunk_by(|page, next| page.0 + PAGE == next.0) {
            let _ = write!(text, "\n  {:x}:", run[0].0);
            for same in run.chunk_by(|page, next| page.1.next() == Some(next.1)) {
                text.push(' ');
                text.push_str(&run_text(same));
            }
        }
        text.push('\n');
    }

    /// Reads the lines of one state.
    ///
    /// # Errors
    /// A line is not what [`State::write`] writes.
    pub fn read(lines: &[&str]) -> anyhow::Result<Self> {
        let mut state = Self::default();
        for line in lines {
            if let Some(result) = line.trim().strip_prefix("= ") {
                state.result = result_of(result)?;
                continue;
            }
            let (address, pages) = line.trim().split_once(": ").unwrap_or((line.trim(), ""));
            let mut address = u64::from_str_radix(address, 16)?;
            for run in pages.split_whitespace() {
                for page in read_run(run)? {
                    state.pages.insert(address, page);
                    address += PAGE;
                }
            }
        }
        Ok(state)
    }
}

impl Page {
    /// What the next page holds if a VMA or a file continues.
    fn next(self) -> Option<Self> {
        let content = match self.content {
            Content::Written { vma, page } => Content::Written { vma, page: page + 1 },
            Content::File(page) => Content::File(page + 1),
            _ => return None,
        };
        Some(Self { content, ..self })
    }
}

fn run_text(run: &[(u64, Page)]) -> String {
    let (first, last) = (run[0].1.to_string(), run[run.len() - 1].1.to_string());
    let digits = |text: &str| text.trim_start_matches(|c: char| !c.is_ascii_digit()).to_owned();
    match run.len() {
        1 => first,
        2 => format!("{first} {last}"),
        _ => format!("{}..{}", first.trim_end_matches('-'), digits(&last)),
    }
}

fn read_run(text: &str) -> anyhow::Result<Vec<Page>> {
    let Some((first, last)) = text.split_once("..") else { return Ok(vec![text.parse()?]) };
    let suffix = if last.ends_with('-') { "-" } else { "" };
    let last: u64 = last.trim_end_matches('-').parse()?;
    let mut pages = vec![format!("{first}{suffix}").parse::<Page>()?];
    loop {
        let page = pages[pages.len() - 1];
        match page.content {
            Content::Written { page, .. } | Content::File(page) if page >= last => {
                return Ok(pages);
            }
            _ => pages.push(page.next().ok_or_else(|| anyhow::anyhow!("{text:?} is not a run"))?),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_written_state_is_read_back() {
        let page = |content, is_writable| Page { content, is_writable };
        let pages = [
            (0x1000, page(Content::Zero, true)),
            (0x2000, page(Content::Written { vma: 31, page: 11 }, false)),
            (0x5000, page(Content::File(7), true)),
            (0x6000, page(Content::Unreadable, false)),
            (0x7000, page(Content::Other, true)),
            (0x8000, page(Content::File(58), false)),
            (0x9000, page(Content::File(59), false)),
            (0xa000, page(Content::Written { vma: 0, page: 4 }, false)),
            (0xb000, page(Content::Written { vma: 0, page: 5 }, false)),
            (0xc000, page(Content::Written { vma: 0, page: 6 }, false)),
        ];
        for result in [-14, 0x2000_0000_0000] {
            let state = State { result, pages: pages.into() };
            let mut text = String::new();
            state.write(&mut text);
            assert_eq!(State::read(&text.lines().collect::<Vec<_>>()).unwrap(), state, "{text}");
        }
    }
}
