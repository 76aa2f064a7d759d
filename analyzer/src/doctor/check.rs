//! One answer of the doctor.

/// What is examined.
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
    /// In the order of the report.
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

/// How it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Well.
    Fine,
    /// Worth knowing; nothing is in the way.
    Note,
    /// In the way.
    Problem,
}

impl State {
    /// Its name, before people and in JSON.
    pub fn name(self) -> &'static str {
        match self {
            Self::Fine => "ok",
            Self::Note => "note",
            Self::Problem => "problem",
        }
    }
}

/// One answer.
#[derive(Clone, Debug)]
pub struct Check {
    /// What was examined.
    pub group: Group,
    /// Its name in JSON.
    pub name: &'static str,
    /// How it stands.
    pub state: State,
    /// In plain words.
    pub what: String,
    /// What to do about it.
    pub fix: Option<String>,
}

impl Check {
    /// All is well.
    pub fn fine(group: Group, name: &'static str, what: impl Into<String>) -> Self {
        Self { group, name, state: State::Fine, what: what.into(), fix: None }
    }

    /// Worth knowing.
    pub fn note(group: Group, name: &'static str, what: impl Into<String>) -> Self {
        Self { state: State::Note, ..Self::fine(group, name, what) }
    }

    /// In the way.
    pub fn problem(
        group: Group,
        name: &'static str,
        what: impl Into<String>,
        fix: impl Into<String>,
    ) -> Self {
        Self { state: State::Problem, fix: Some(fix.into()), ..Self::fine(group, name, what) }
    }

    /// With something to do.
    #[must_use]
    pub fn with_fix(mut self, fix: impl Into<String>) -> Self {
        self.fix = Some(fix.into());
        self
    }

    /// Whether something is in the way.
    pub fn is_problem(&self) -> bool {
        self.state == State::Problem
    }
}
