//! Runs a shell script twice, each time in an empty directory: without the preload library, and
//! under it. The user has no privileges, since root bypasses sandboxes, and some servers refuse to
//! run as root.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};

use mremap_trace::Header;
use tempfile::TempDir;

use crate::artifacts::Artifacts;
use crate::preload::trace_files;

/// Time limit of a script, in seconds.
const LIMIT: &str = "600";

/// The user and group id of nobody on Debian.
const NOBODY: u32 = 65_534;

/// A script and its environment.
#[derive(Debug, Clone, Copy, Default)]
pub struct Script<'a> {
    /// The script, run by `sh -eu`. Its output must be the same in both runs.
    pub text: &'a str,
    /// Files in its directory: name and contents.
    pub files: &'a [(&'a str, &'a str)],
    /// Environment variables.
    pub variables: &'a [(&'a str, &'a str)],
    /// Prefix of the name of a program that must have been traced (`php` may be `php8.2`).
    pub program: &'a str,
}

/// Status and output of a script.
#[derive(Debug, PartialEq, Eq)]
struct Outcome {
    status: ExitStatus,
    stdout: String,
    stderr: String,
}

impl Script<'_> {
    /// Runs the script in both ways. It must succeed, with equal output.
    pub fn check(&self) {
        let alone = self.run(false);
        assert!(alone.status.success(), "alone: {alone:#?}");
        let under = self.run(true);
        assert_eq!(under, alone, "left: under the library, right: alone");
    }

    fn run(&self, under_library: bool) -> Outcome {
        let home = Home::new(self.files);
        let mut command = home.command(self.text);
        command.envs(self.variables.iter().copied());
        if under_library {
            home.preload(&mut command);
        }
        let status = command.status().expect("timeout runs");
        let traced = home.traced_programs();
        let outcome = home.outcome(status);
        assert_eq!(
            traced.iter().any(|name| name.starts_with(self.program)),
            under_library,
            "traced were {traced:?}: {outcome:#?}"
        );
        outcome
    }
}

/// The directory of one run: `work`, where the script starts, `traces`, and a copy of the library.
struct Home(TempDir);

impl Home {
    fn new(files: &[(&str, &str)]) -> Self {
        let home = Self(tempfile::tempdir().expect("a directory"));
        open_to_all(home.path());
        for name in ["work", "traces"] {
            let directory = home.path().join(name);
            fs::create_dir(&directory).expect("a directory");
            give_to_nobody(&directory);
        }
        for (name, contents) in files {
            fs::write(home.path().join("work").join(name), contents).expect("a file");
        }
        // Copied, since nobody may be unable to access the built one.
        let library = home.path().join("libmremap_shim.so");
        fs::copy(Artifacts::get().shim(), &library).expect("a copy of the library");
        open_to_all(&library);
        home
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    /// `timeout` kills the whole process group. Output goes to files, since a daemon left behind
    /// would keep a pipe open.
    fn command(&self, script: &str) -> Command {
        let work = self.path().join("work");
        let mut command = Command::new("timeout");
        command
            .args(["-k", "10", LIMIT, "sh", "-euc", script])
            .current_dir(&work)
            .env("HOME", &work)
            .env("TMPDIR", &work)
            .env("LC_ALL", "C")
            .env_remove("LD_LIBRARY_PATH")
            .env_remove("LD_PRELOAD")
            .stdin(Stdio::null())
            .stdout(fs::File::create(self.path().join("stdout")).expect("a file"))
            .stderr(fs::File::create(self.path().join("stderr")).expect("a file"));
        as_nobody(&mut command);
        command
    }

    fn preload(&self, command: &mut Command) {
        command
            .env("LD_PRELOAD", self.path().join("libmremap_shim.so"))
            .env("MREMAP_SHIM_MODE", "emulate")
            .env("MREMAP_SHIM_TRACE_SIZE", "1M")
            .env("MREMAP_SHIM_TRACE", self.path().join("traces"));
    }

    /// The names of the traced programs.
    fn traced_programs(&self) -> Vec<String> {
        let name = |path: &std::path::PathBuf| {
            let bytes = fs::read(path).expect("the trace is readable");
            let (_, text) = Header::decode(&bytes)
                .unwrap_or_else(|error| panic!("{}: {error:?}", path.display()));
            let exe = String::from_utf8_lossy(text.exe).into_owned();
            exe.rsplit('/').next().unwrap_or_default().to_owned()
        };
        trace_files(&self.path().join("traces")).iter().map(name).collect()
    }

    fn outcome(&self, status: ExitStatus) -> Outcome {
        let read = |name| {
            let bytes = fs::read(self.path().join(name)).expect("the script's output");
            // The directory's name differs between runs.
            String::from_utf8_lossy(&bytes).replace(&self.path().display().to_string(), "HOME")
        };
        Outcome { status, stdout: read("stdout"), stderr: read("stderr") }
    }
}

/// Makes root run a command as nobody. Other users run it themselves.
pub fn as_nobody(command: &mut Command) {
    if is_root() {
        command.uid(NOBODY).gid(NOBODY);
    }
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

fn open_to_all(path: &Path) {
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).expect("a mode");
}

fn give_to_nobody(directory: &Path) {
    if is_root() {
        chown(directory, Some(NOBODY), Some(NOBODY)).expect("root may change owners");
    }
}
