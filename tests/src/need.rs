//! What a test needs of the machine beside the project's own programs. A test that lacks something says so and is
//! skipped; `cargo xtask test` repeats these lines at its end, and CI takes each of them for a failure.

use std::env;
use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::{Path, PathBuf};

/// The program `name`, found in `PATH` or at the path given; `package` is the Debian package that has it.
pub fn program(name: &str, package: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let found =
        env::split_paths(&path).map(|directory| directory.join(name)).find(|file| file.is_file());
    if found.is_none() {
        skip(&format!("what needs {name}: apt-get install {package}"));
    }
    found
}

/// A file of the system, such as a library that is preloaded; `package` is the Debian package that has it.
pub fn file(path: &str, package: &str) -> Option<PathBuf> {
    let found = Path::new(path).exists().then(|| PathBuf::from(path));
    if found.is_none() {
        skip(&format!("what needs {path}: apt-get install {package}"));
    }
    found
}

/// Says what is skipped, and how to have it run.
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
