//! The result of one check.

/// What a check is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Group {
    /// Kernel and limits.
    Machine,
    /// The preload library.
    Shim,
    /// The program named.
    Program,
}

impl Group {
    /// All groups, in the order of the report.
    pub const ALL: [Self; 3] = [Self::Machine, Self::Shim, Self::Program];

    /// Its name in JSON.
    pub fn name(self) -> &'static str {
        match self {
            Self::Machine => "machine",
            Self::Shim => "shim",
            Self::Program => "program",
        }
    }

    /// Its heading.
    pub fn title(self) -> &'static str {
        match self {
            Self::Machine => "This machine",
            Self::Shim => "The shim",
            Self::Program => "The program",
        }
    }
}

/// The result of a check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// As it should be.
    Fine,
    /// Worth knowing.
    Note,
    /// Prevents or limits recording or emulation.
    Problem,
}

impl State {
    /// Its name in text and JSON.
    pub fn name(self) -> &'static str {
        match self {
            Self::Fine => "ok",
            Self::Note => "note",
            Self::Problem => "problem",
        }
    }
}

/// One check and its result.
#[derive(Clone, Debug)]
pub struct Check {
    /// What it is about.
    pub group: Group,
    /// Its name in JSON.
    pub name: &'static str,
    /// The result.
    pub state: State,
    /// What was seen.
    pub what: String,
    /// What to do.
    pub fix: Option<String>,
}

impl Check {
    /// Makes a check without a remark.
    pub fn fine(group: Group, name: &'static str, what: impl Into<String>) -> Self {
        Self { group, name, state: State::Fine, what: what.into(), fix: None }
    }

    /// Makes a check with a remark.
    pub fn note(group: Group, name: &'static str, what: impl Into<String>) -> Self {
        Self { state: State::Note, ..Self::fine(group, name, what) }
    }

    /// Makes a check that found a problem.
    pub fn problem(
        group: Group,
        name: &'static str,
        what: impl Into<String>,
        fix: impl Into<String>,
    ) -> Self {
        Self { state: State::Problem, fix: Some(fix.into()), ..Self::fine(group, name, what) }
    }

    /// Adds what to do.
    #[must_use]
    pub fn with_fix(mut self, fix: impl Into<String>) -> Self {
        self.fix = Some(fix.into());
        self
    }

    /// Whether it found a problem.
    pub fn is_problem(&self) -> bool {
        self.state == State::Problem
    }
}
