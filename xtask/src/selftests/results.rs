//! The results of the tests: parsed from the TAP that they print, shown, and compared with the
//! recorded ones in `tests/selftests.txt`.

use fs_err as fs;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::PathBuf;

use anyhow::Result;

use crate::repo;

/// The comment at the start of the recorded results.
const HEAD: &str = "\
# The kernel's own tests of mremap, plain and with the library preloaded: cases that passed of all,
# and each case that failed. `cargo xtask selftests` compares with this file; `--record` writes it.
";

/// One run of one test.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Run {
    /// It ran: its cases by number, each with its name.
    Ran(BTreeMap<usize, Case>),
    /// It cannot run on this kernel, for this reason.
    Impossible(String),
}

/// A case of a test.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Case {
    name: String,
    has_passed: bool,
}

/// Parses a test's output. Cases that are skipped, or must fail, are left out. A planned case
/// without a result has failed.
pub fn parse(output: &str) -> Run {
    let mut cases = BTreeMap::new();
    let mut plan = 0;
    for line in output.lines() {
        if let Some(reason) = line.strip_prefix("1..0 # SKIP ").or(line.strip_prefix("Bail out! "))
        {
            return Run::Impossible(reason.to_owned());
        }
        if let Some(count) = line.strip_prefix("1..") {
            plan = count.parse().unwrap_or(0);
        } else if let Some((number, case)) = parse_case(line) {
            cases.insert(number, case);
        }
    }
    for number in 1..=plan {
        let missing = || Some(Case { name: "(no result)".to_owned(), has_passed: false });
        cases.entry(number).or_insert_with(missing);
    }
    Run::Ran(cases.into_iter().filter_map(|(number, case)| Some((number, case?))).collect())
}

/// Parses a line of a case: its number, and the case unless it does not count.
fn parse_case(line: &str) -> Option<(usize, Option<Case>)> {
    let (has_passed, rest) = match line.strip_prefix("not ok ") {
        Some(rest) => (false, rest),
        None => (true, line.strip_prefix("ok ")?),
    };
    let (number, name) = rest.split_once(' ')?;
    let counts = !["# SKIP", "# XFAIL"].iter().any(|directive| name.contains(directive));
    let case = counts.then(|| Case { name: name.to_owned(), has_passed });
    Some((number.parse().ok()?, case))
}

impl Run {
    /// Passed cases of all, such as `18/23`.
    fn count(&self) -> String {
        let Self::Ran(cases) = self else { return "-".to_owned() };
        let passed = cases.values().filter(|case| case.has_passed).count();
        format!("{passed}/{}", cases.len())
    }

    /// How a case ended.
    fn state(&self, number: usize) -> &'static str {
        let Self::Ran(cases) = self else { return "-" };
        match cases.get(&number) {
            Some(case) if case.has_passed => "ok",
            Some(_) => "not ok",
            None => "-",
        }
    }
}

/// Shows a test's two runs: a line with the counts, and a line for each case that failed in one.
pub fn show(kernel: &str, test: &str, plain: &Run, library: &Run) -> String {
    let counts = [kernel, test, &plain.count(), &library.count()];
    let mut text = row(&counts) + "\n";
    let (plain_cases, library_cases) = match (plain, library) {
        (Run::Ran(plain), Run::Ran(library)) => (plain, library),
        (Run::Impossible(reason), _) | (_, Run::Impossible(reason)) => {
            let _ = writeln!(text, "        {reason}");
            return text;
        }
    };
    let failed = plain_cases.iter().chain(library_cases).filter(|(_, case)| !case.has_passed);
    let failed: BTreeMap<usize, &str> =
        failed.map(|(number, case)| (*number, case.name.as_str())).collect();
    for (number, name) in failed {
        let case = format!("{number} {name}");
        let _ =
            writeln!(text, "{}", row(&["", "", plain.state(number), library.state(number), &case]));
    }
    text
}

/// The heading of what [`show`] returns.
pub fn heading() -> String {
    row(&["kernel", "test", "plain", "library"])
}

/// Pads each cell but the last.
fn row(cells: &[&str]) -> String {
    let padded = cells.iter().zip([8, 18, 8, 8, 0]).map(|(cell, width)| format!("{cell:<width$}"));
    padded.collect::<String>().trim_end().to_owned()
}

/// The recorded results: for each kernel the text of all its tests.
#[derive(Debug)]
pub struct Recorded(Vec<(String, String)>);

impl Recorded {
    /// Reads the file.
    pub fn read() -> Result<Self> {
        Ok(Self::parse(&fs::read_to_string(path())?))
    }

    fn parse(text: &str) -> Self {
        let mut recorded = Self(Vec::new());
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            let kernel = line.split(' ').next().unwrap_or_default();
            let is_of_last = |(last, _): &(String, _)| kernel.is_empty() || kernel == last;
            if !recorded.0.last().is_some_and(is_of_last) {
                recorded.0.push((kernel.to_owned(), String::new()));
            }
            if let Some((_, text)) = recorded.0.last_mut() {
                text.push_str(line);
                text.push('\n');
            }
        }
        recorded
    }

    /// The text of a kernel; empty if nothing is recorded.
    pub fn of(&self, kernel: &str) -> &str {
        let mut all = self.0.iter();
        all.find(|(series, _)| series == kernel).map_or("", |(_, text)| text)
    }

    /// Replaces the text of a kernel.
    pub fn set(&mut self, kernel: &str, text: String) {
        match self.0.iter_mut().find(|(series, _)| series == kernel) {
            Some(entry) => entry.1 = text,
            None => self.0.push((kernel.to_owned(), text)),
        }
    }

    /// Writes the file.
    pub fn write(&self) -> Result<()> {
        let texts = self.0.iter().map(|(_, text)| text.as_str());
        Ok(fs::write(path(), HEAD.to_owned() + &texts.collect::<String>())?)
    }
}

fn path() -> PathBuf {
    repo::root().join("tests/selftests.txt")
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: &str = "TAP version 13\n1..5\nok 1 # XFAIL refused\n\tas expected\nok 2 one\n\
                         not ok 3 several\nok 4 more # SKIP missing\n";

    #[test]
    fn counts_passed_cases_without_skipped_and_expected_failures() {
        let plain = parse(PLAIN);
        assert_eq!(plain.count(), "1/3");
        let library = parse(&PLAIN.replace("not ok 3", "ok 3"));
        let text = show("6.1", "it", &plain, &library);
        let lines: Vec<&str> = text.lines().map(str::trim).collect();
        let expected = [
            "6.1     it                1/3     2/3",
            "not ok  ok      3 several",
            "not ok  not ok  5 (no result)",
        ];
        assert_eq!(lines, expected);
    }

    #[test]
    fn says_why_a_test_cannot_run() {
        for output in ["1..0 # SKIP no sealing\n", "1..2\nBail out! no sealing\nok 1 it\n"] {
            let run = parse(output);
            assert_eq!(run, Run::Impossible("no sealing".to_owned()));
            assert!(show("6.1", "it", &run, &run).ends_with("\n        no sealing\n"));
        }
    }

    #[test]
    fn separates_recorded_kernels() {
        let text = "# head\n5.10    a  1/2\n        case\n5.10    b  1/1\n6.1     a  2/2\n";
        let mut recorded = Recorded::parse(text);
        assert_eq!(recorded.of("5.10"), "5.10    a  1/2\n        case\n5.10    b  1/1\n");
        recorded.set("6.1", "6.1     a  1/2\n".to_owned());
        assert_eq!(recorded.of("6.1"), "6.1     a  1/2\n");
        assert_eq!(recorded.of("7.3"), "");
    }

    #[test]
    fn readme_has_the_recorded_counts() {
        let readme = fs::read_to_string(repo::root().join("README.md")).unwrap();
        let recorded = Recorded::read().unwrap();
        assert!(recorded.0.len() >= 6, "every kernel is recorded");
        for (kernel, text) in &recorded.0 {
            let row = text.lines().find(|line| line.contains(" mremap_test ")).unwrap();
            let cells: Vec<&str> = row.split_whitespace().collect();
            let (plain, library) = (cells[2].replace('/', " of "), cells[3].replace('/', " of "));
            let row = format!("| {kernel} | {plain} | {library} |");
            assert!(readme.contains(&row), "README.md lacks: {row}");
        }
    }
}
