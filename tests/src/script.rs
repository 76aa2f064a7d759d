//! Runs a shell script twice in an empty directory of its own, alone and under the preload library, for a user without
//! privileges: what root may do hides what a sandbox forbids, and some servers refuse to serve root at all.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};

use mremap_trace::Header;
use tempfile::TempDir;

use crate::artifacts::Artifacts;
use crate::preload::trace_files;

/// Seconds after which a script has hung, however busy the machine is.
const LIMIT: &str = "600";

/// The user and group that are nobody's on Debian.
const NOBODY: u32 = 65_534;

/// A script, and what is needed to judge it.
#[derive(Debug, Clone, Copy, Default)]
pub struct Script<'a> {
    /// What `sh -eu` runs. Whatever it prints must be the same twice.
    pub text: &'a str,
    /// Files that lie in its directory: name and contents.
    pub files: &'a [(&'a str, &'a str)],
    /// Variables of its environment.
    pub variables: &'a [(&'a str, &'a str)],
    /// How the name of a program starts that it runs: one such must have been traced. (`php` may be `php8.2`.)
    pub program: &'a str,
}

/// How a script ended and what it said.
#[derive(Debug, PartialEq, Eq)]
struct Outcome {
    status: ExitStatus,
    stdout: String,
    stderr: String,
}

impl Script<'_> {
    /// The script must succeed, and come to the same with the library and without.
    pub fn check(&self) {
        let alone = self.run(false);
        assert!(alone.status.success(), "alone: {alone:#?}");
        let under = self.run(true);
        assert_eq!(under, alone, "left: under the library, right: alone");
    }

    fn run(&self, under_library: bool) -> Outcome {
        let place = Place::new(self.files);
        let mut command = place.command(self.text);
        command.envs(self.variables.iter().copied());
        if under_library {
            place.preload(&mut command);
        }
        let status = command.status().expect("timeout runs");
        let traced = place.traced_programs();
        let outcome = place.outcome(status);
        assert_eq!(
            traced.iter().any(|name| name.starts_with(self.program)),
            under_library,
            "traced were {traced:?}: {outcome:#?}"
        );
        outcome
    }
}

/// The directory of one run: `work`, where the script starts, `traces` and the library, all readable for nobody.
struct Place(TempDir);

impl Place {
    fn new(files: &[(&str, &str)]) -> Self {
        let place = Self(tempfile::tempdir().expect("a directory"));
        open_to_all(place.path());
        for name in ["work", "traces"] {
            let directory = place.path().join(name);
            fs::create_dir(&directory).expect("a directory");
            give_to_nobody(&directory);
        }
        for (name, contents) in files {
            fs::write(place.path().join("work").join(name), contents).expect("a file");
        }
        // The built one may lie where only this user comes.
        let library = place.path().join("libmremap_shim.so");
        fs::copy(Artifacts::get().shim(), &library).expect("a copy of the library");
        open_to_all(&library);
        place
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    /// `timeout` makes a process group, which ends as one. Output goes to files: a daemon left behind would keep pipes
    /// open for ever.
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

    /// The names of the programs that have left a trace, which must be one.
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
            let bytes = fs::read(self.path().join(name)).expect("what the script said");
            // Its own directory has another name each time.
            String::from_utf8_lossy(&bytes).replace(&self.path().display().to_string(), "PLACE")
        };
        Outcome { status, stdout: read("stdout"), stderr: read("stderr") }
    }
}

/// A command of root's is run by nobody; anybody else's stays theirs.
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
        chown(directory, Some(NOBODY), Some(NOBODY)).expect("root may give directories away");
    }
}
