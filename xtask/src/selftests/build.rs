//! Builds the tests from parts of the kernel's source.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};
use tempfile::TempDir;

use crate::catalogue::Entry;
use crate::kernels::source;
use crate::repo;

/// The tests: files of `tools/testing/selftests/mm`, without `.c`.
pub const TESTS: [&str; 4] = ["mremap_test", "mremap_dontunmap", "merge", "mseal_test"];

/// The folder of the tests in the kernel's source.
const FOLDER: &str = "tools/testing/selftests/mm";

/// What of the kernel's source the tests include.
const SOURCES: [&str; 5] = [
    FOLDER,
    "tools/testing/selftests/kselftest.h",
    "tools/testing/selftests/kselftest_harness.h",
    "tools/include",
    "tools/arch/x86/include",
];

/// Flags of the tests' makefile, but `-no-pie`: the heap of a program at a fixed address is where
/// a case maps memory. They are dynamic, since nothing can be preloaded into a static program.
const FLAGS: [&str; 4] = ["-O2", "-D_GNU_SOURCE=", "-U_FORTIFY_SOURCE", "-w"];

/// A system call that the headers of Debian 12 lack; a case is skipped without it.
const MSEAL: &str = "-D__NR_mseal=462";

/// The built tests.
#[derive(Debug)]
pub struct Tests {
    /// Their folder, which is removed at the end.
    pub folder: TempDir,
    /// The source package, as `NAME VERSION`.
    pub version: String,
}

/// Fetches the source unless the cache has it, and builds the tests with this machine's compiler.
pub fn build(entry: &Entry) -> Result<Tests> {
    let (source, version) = source::get(entry, &SOURCES)?;
    let folder = tempfile::tempdir().context("no temporary directory")?;
    for test in TESTS {
        compile(&source, test, &folder.path().join(test))
            .with_context(|| format!("{version}: {test} does not compile"))?;
    }
    Ok(Tests { folder, version })
}

fn compile(source: &Path, test: &str, output: &Path) -> Result<()> {
    let mut cc = Command::new("cc");
    cc.current_dir(source.join(FOLDER)).args(FLAGS).arg(MSEAL);
    cc.arg("-I").arg(source).args(["-I", ".."]);
    cc.arg("-isystem").arg(source.join("tools/include/uapi"));
    // The makefile links these two with every test.
    cc.arg(format!("{test}.c")).args(["vm_util.c", "hugepage_settings.c"]);
    cc.args(["-lrt", "-lpthread", "-lm", "-o"]).arg(output);
    repo::capture(&mut cc).map(drop)
}
