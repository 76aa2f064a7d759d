//! Parses the counts in a test executable's `test result:` lines.

use std::ops::AddAssign;

/// Numbers of tests.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Tests that passed.
    pub passed: usize,
    /// Tests that failed, and executables that died.
    pub failed: usize,
}

impl AddAssign for Counts {
    fn add_assign(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
    }
}

/// Parses a line such as `test result: ok. 3 passed; 0 failed; ...`.
pub fn summary(line: &str) -> Option<Counts> {
    let line = line.trim().strip_prefix("test result: ")?;
    let count = |name: &str| {
        let words: Vec<&str> = line.split([' ', ';']).filter(|word| !word.is_empty()).collect();
        words.windows(2).find(|pair| pair[1] == name)?[0].parse().ok()
    };
    Some(Counts { passed: count("passed")?, failed: count("failed")? })
}

/// Sums the counts in one executable's output. An unsuccessful exit counts as a failure at least.
pub fn counts(output: &str, is_success: bool) -> Counts {
    let mut counts = Counts::default();
    output.lines().filter_map(summary).for_each(|each| counts += each);
    if !is_success {
        counts.failed = counts.failed.max(1);
    }
    counts
}

/// Sums the seconds in one executable's output.
pub fn seconds(output: &str) -> f64 {
    let time = |line: &str| {
        line.trim().rsplit_once("finished in ")?.1.strip_suffix('s')?.parse::<f64>().ok()
    };
    output.lines().filter(|line| summary(line).is_some()).filter_map(time).sum::<f64>()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parses_a_summary_line() {
        let line = "test result: FAILED. 12 passed; 3 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.10s";
        assert_eq!(summary(line), Some(Counts { passed: 12, failed: 3 }));
        assert_eq!(summary("test a ... ok"), None);
        assert!((seconds(line) - 0.1).abs() < 1e-9);
    }

    #[test]
    fn counts_an_executable_that_died_as_a_failure() {
        assert_eq!(counts("running 3 tests\n", false), Counts { passed: 0, failed: 1 });
        assert_eq!(counts("running 0 tests\n", true), Counts::default());
    }
}
