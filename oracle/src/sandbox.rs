//! Restrictions on both processes, under which their outcomes must still be equal.

use crate::case::{Features, Mark};

/// A restriction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Sandbox {
    /// None.
    #[default]
    None,
    /// `/proc` is not mounted.
    NoProc,
    /// The descriptor table is full.
    NoDescriptors,
    /// A seccomp filter kills the process at any system call but those that the runner makes.
    Seccomp,
}

impl Sandbox {
    /// Its name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::NoProc => "no-proc",
            Self::NoDescriptors => "no-descriptors",
            Self::Seccomp => "seccomp",
        }
    }

    /// Removes features that the library recognises only in `/proc`.
    pub fn restrict(self, features: &mut Features) {
        if self != Self::None {
            features.remove_what_only_names_distinguish();
            features.remove(Mark::Userfaultfd);
        }
    }
}
