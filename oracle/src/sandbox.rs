//! What is taken from a process before it makes its requests, natively and emulated alike: the same cases must come to
//! the same wherever the shim can still do its work.

use crate::case::{Features, Mark};

/// What is missing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Sandbox {
    /// Nothing.
    #[default]
    None,
    /// `/proc` is not mounted.
    NoProc,
    /// The descriptor table is full.
    NoDescriptors,
    /// A seccomp filter ends the process for every system call that it did not make before.
    Seccomp,
}

impl Sandbox {
    /// As it is named on a command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::NoProc => "no-proc",
            Self::NoDescriptors => "no-descriptors",
            Self::Seccomp => "seccomp",
        }
    }

    /// Takes out what shows in `/proc` alone.
    pub fn restrict(self, features: &mut Features) {
        if self != Self::None {
            features.remove_what_only_names_tell();
            features.remove_mark(Mark::Userfaultfd);
        }
    }
}
