//! Programs and files that a test needs of the machine. A test without them is skipped with a line
//! that `cargo xtask test` repeats at its end. In CI such a line is a failure.

use std::env;
use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Output;

use crate::output::text;

/// Looks a program up in `PATH`, or skips the test. `package` is its Debian package.
pub fn program(name: &str, package: &str) -> Option<PathBuf> {
    let found = find(name);
    if found.is_none() {
        skip(&format!("tests of {name}: apt-get install {package}"));
    }
    found
}

/// Looks a program up in `PATH`.
pub fn find(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path).map(|directory| directory.join(name)).find(|file| file.is_file())
}

/// Looks for a file, or skips the test. `package` is its Debian package.
pub fn file(path: &str, package: &str) -> Option<PathBuf> {
    let found = Path::new(path).exists().then(|| PathBuf::from(path));
    if found.is_none() {
        skip(&format!("tests of {path}: apt-get install {package}"));
    }
    found
}

/// Looks for a library in Debian's directory for this architecture, or skips the test.
pub fn library(name: &str, package: &str) -> Option<PathBuf> {
    file(&format!("/usr/lib/{}-linux-gnu/{name}", env::consts::ARCH), package)
}

/// Exit status of a fixture that this machine does not permit to do what it is for.
const NOT_PERMITTED: i32 = 77;

/// Whether a fixture was permitted to do what it is for; if not, the test is skipped.
pub fn permission(what: &str, output: &Output) -> bool {
    let is_permitted = output.status.code() != Some(NOT_PERMITTED);
    if !is_permitted {
        skip(&format!("{what}: {}; run as root", text(&output.stderr).trim_end()));
    }
    is_permitted
}

/// Whether this user is root; if not, the test is skipped.
pub fn root(what: &str) -> bool {
    let is_root = rustix::process::geteuid().is_root();
    if !is_root {
        skip(&format!("{what}: run as root"));
    }
    is_root
}

/// Prints what is skipped and how to enable it, and appends it to the file `MREMAP_SKIPPED`.
pub fn skip(what: &str) {
    eprintln!("skipped: {what}");
    let Some(list) = env::var_os("MREMAP_SKIPPED") else {
        return;
    };
    let line = format!("{what}\n");
    let file = OpenOptions::new().create(true).append(true).open(&list);
    file.and_then(|mut file| file.write_all(line.as_bytes()))
        .unwrap_or_else(|error| panic!("{}: {error}", list.display()));
}
