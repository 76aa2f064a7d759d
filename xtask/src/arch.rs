//! The processors of guests, and the options of QEMU that differ between them.

use serde::Deserialize;

/// A processor architecture, by Debian's name.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Arch {
    /// x86-64.
    #[default]
    Amd64,
    /// 64-bit Arm.
    Arm64,
}

impl Arch {
    /// Debian's name of it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Amd64 => "amd64",
            Self::Arm64 => "arm64",
        }
    }

    /// The program that emulates it, and the Debian package of that program.
    pub fn emulator(self) -> (&'static str, &'static str) {
        match self {
            Self::Amd64 => ("qemu-system-x86_64", "qemu-system-x86"),
            Self::Arm64 => ("qemu-system-aarch64", "qemu-system-arm"),
        }
    }

    /// QEMU's options for the machine. Arm's own cipher for pointer authentication would double the
    /// time that a guest takes.
    pub fn machine(self) -> &'static [&'static str] {
        match self {
            Self::Amd64 => &["-cpu", "max"],
            Self::Arm64 => &["-machine", "virt", "-cpu", "max,pauth-impdef=on"],
        }
    }

    /// QEMU's options for a second serial line on the character device `line`.
    pub fn second_serial(self) -> [&'static str; 2] {
        match self {
            Self::Amd64 => ["-serial", "chardev:line"],
            Self::Arm64 => ["-device", "pci-serial,chardev=line"],
        }
    }

    /// The guest's device names of the kernel's console and of the second serial line.
    pub fn lines(self) -> (&'static str, &'static str) {
        match self {
            Self::Amd64 => ("ttyS0", "ttyS1"),
            Self::Arm64 => ("ttyAMA0", "ttyS0"),
        }
    }
}
