//! Builds what the system tests run: the preload library, the analyzer, the examples, the fixtures.
//!
//! They are built at first use into `artifacts/` below cargo's target directory. A guest has no
//! compiler: there `MREMAP_ARTIFACTS` names a directory that was filled before.

use fs_err::{self as fs, File};
use std::collections::BTreeSet;
use std::env;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::time::SystemTime;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::need;
use crate::preload::is_guest;

/// A directory of built files.
#[derive(Debug, Clone)]
pub struct Artifacts {
    /// The directory: both `libmremap_shim*.so`, `mremap-analyzer`, `mremap-oracle`,
    /// `mremap-conformance`, `static/mremap-conformance`, `examples/`, `fixtures/` and `musl/`.
    pub root: PathBuf,
}

/// The flags of every C program, which must compile without a warning.
const C_FLAGS: [&str; 7] = ["-std=gnu11", "-O2", "-g", "-Wall", "-Wextra", "-Werror", "-pthread"];

/// What is also linked with musl: a source, and the flags that become part of its name.
const WITH_MUSL: [(&str, &[&str]); 16] = [
    ("examples/compacting_heap.c", &[]),
    ("examples/compacting_heap.c", &["-no-pie"]),
    ("examples/neighbour_under_gap.c", &[]),
    ("examples/neighbour_under_gap.c", &["-no-pie"]),
    ("examples/relocatable_arena.c", &[]),
    ("examples/relocatable_arena.c", &["-no-pie"]),
    ("examples/snapshot.c", &[]),
    ("examples/snapshot.c", &["-no-pie"]),
    ("tests/fixtures/attached.c", &[]),
    ("tests/fixtures/busy.c", &[]),
    ("tests/fixtures/children.c", &[]),
    ("tests/fixtures/confined.c", &[]),
    ("tests/fixtures/growing.c", &[]),
    ("tests/fixtures/libmoving_plugin.c", &["-shared", "-fPIC"]),
    ("tests/fixtures/plugins.c", &["-rdynamic"]),
    ("tests/fixtures/static_followed.c", &[]),
];

/// The packages of the demo that are built in release: the library links only where every panic is
/// optimized away.
const DEMO: [&str; 2] = ["mremap-shim", "mremap-examples"];

/// What `attach` loads into programs linked with musl.
#[cfg(target_arch = "x86_64")]
const FOR_ATTACH: [&str; 1] = ["mremap-shim-attach-musl"];
#[cfg(not(target_arch = "x86_64"))]
const FOR_ATTACH: [&str; 0] = [];

/// Environment variables of cargo and the C compiler.
type Environment = [(String, OsString)];

impl Artifacts {
    /// The artifacts of this process: those in `MREMAP_ARTIFACTS`, or else new ones.
    ///
    /// # Panics
    ///
    /// A build fails. [`Artifacts::prepare`] returns the error instead.
    pub fn get() -> &'static Self {
        static ONCE: OnceLock<Artifacts> = OnceLock::new();
        ONCE.get_or_init(|| match Self::prepare() {
            Ok(artifacts) => artifacts,
            Err(error) => panic!("the tested programs cannot be built: {error:#}"),
        })
    }

    /// Finds or builds the artifacts. If several processes do, one builds and the others wait.
    ///
    /// # Errors
    ///
    /// `MREMAP_ARTIFACTS` is not a directory, or cargo or the C compiler fails.
    pub fn prepare() -> Result<Self> {
        if let Some(given) = Self::given()? {
            return Ok(given);
        }
        let packages = [&DEMO[..], &FOR_ATTACH, &["mremap-oracle", "mremap-conformance"]].concat();
        let artifacts = Self::build(&[], &packages, &["--profile=quick"], true)?;
        artifacts.build_static("quick")?;
        artifacts.build_with_musl()?;
        Ok(artifacts)
    }

    /// Compiles the programs of [`WITH_MUSL`], if there is a compiler.
    fn build_with_musl(&self) -> Result<()> {
        let Some(compiler) = need::find("musl-gcc") else { return Ok(()) };
        let directory = self.root.join("musl");
        fs::create_dir_all(&directory)?;
        let _lock = lock(&self.root.join(".lock"))?;
        let mut built = BTreeSet::new();
        for (source, flags) in WITH_MUSL {
            let name = name_with_musl(source, flags);
            let (source, output) = (workspace().join(source), directory.join(&name));
            if is_out_of_date(&output, &source) {
                let kernel = format!("/usr/include/{}-linux-gnu", env::consts::ARCH);
                let mut command = Command::new(&compiler);
                // The kernel's headers are not among musl's.
                command.args(["-std=gnu11", "-O2", "-pthread", "-idirafter", "/usr/include"]);
                command.args(["-idirafter", &kernel]).args(flags);
                compile_by(command, &source, &output)?;
            }
            built.insert(name);
        }
        remove_others(&directory, &built)
    }

    /// Builds the conformance program again, linked statically. Naming the target keeps the flag
    /// from build scripts and procedural macros, and the dependencies apart from the others.
    fn build_static(&self, profile: &str) -> Result<()> {
        if cfg!(not(target_arch = "x86_64")) {
            return Ok(());
        }
        let directory = self.root.join("static");
        fs::create_dir_all(&directory)?;
        let _lock = lock(&self.root.join(".lock"))?;
        let flags = ("RUSTFLAGS".to_owned(), "-Ctarget-feature=+crt-static".into());
        let profile = format!("--profile={profile}");
        let options = ["--quiet", &profile, "--target=x86_64-unknown-linux-gnu"];
        build_rust(&directory, &[flags], &["mremap-conformance"], &options).map(drop)
    }

    /// As [`Artifacts::prepare`], without the oracle and the fixtures. Parquet and the terminal's
    /// user interface, which have half of the analyzer's dependencies, are left out.
    ///
    /// # Errors
    ///
    /// As [`Artifacts::prepare`].
    pub fn prepare_for_demo() -> Result<Self> {
        match Self::given()? {
            Some(given) => Ok(given),
            None => Self::build(&[], &DEMO, &["--profile=dev", "--no-default-features"], false),
        }
    }

    /// As [`Artifacts::prepare_for_demo`], with the analyzer optimized, and with the static
    /// conformance program.
    ///
    /// # Errors
    ///
    /// As [`Artifacts::prepare`].
    pub fn prepare_for_users() -> Result<Self> {
        let packages = [&DEMO[..], &FOR_ATTACH].concat();
        let artifacts = Self::build(&[], &packages, &["--profile=release"], false)?;
        artifacts.build_static("release")?;
        Ok(artifacts)
    }

    /// The artifacts in `MREMAP_ARTIFACTS`.
    fn given() -> Result<Option<Self>> {
        let Some(given) = env::var_os("MREMAP_ARTIFACTS") else { return Ok(None) };
        let root = PathBuf::from(given);
        if !root.is_dir() {
            bail!(
                "MREMAP_ARTIFACTS={}: not a directory; unset it to have them built",
                root.display()
            );
        }
        Ok(Some(Self { root }))
    }

    /// Builds the library, the examples and the fixtures for another processor. `CC` in the
    /// environment is the C compiler.
    ///
    /// # Errors
    ///
    /// Cargo or the C compiler fails.
    pub fn prepare_for_guests(environment: &Environment) -> Result<Self> {
        Self::build(environment, &DEMO, &[], true)
    }

    /// Builds packages in release, and the analyzer by options of cargo's, or not at all. Built for
    /// development, as the demo's is, it would take minutes in a guest.
    fn build(
        environment: &Environment,
        packages: &[&str],
        analyzer: &[&str],
        has_fixtures: bool,
    ) -> Result<Self> {
        let root = target_directory(environment)?.join("artifacts");
        for directory in ["examples", "fixtures"] {
            let path = root.join(directory);
            fs::create_dir_all(&path)?;
        }
        let _lock = lock(&root.join(".lock"))?;
        let mut examples = build_rust(&root, environment, packages, &["--profile=release"])?;
        if !analyzer.is_empty() {
            build_rust(&root, environment, &["mremap-analyzer"], analyzer)?;
        }
        examples.extend(build_c(
            &workspace().join("examples"),
            &root.join("examples"),
            environment,
        )?);
        remove_others(&root.join("examples"), &examples)?;
        if has_fixtures {
            let (from, to) = (workspace().join("tests/fixtures"), root.join("fixtures"));
            remove_others(&to, &build_c(&from, &to, environment)?)?;
        }
        Ok(Self { root })
    }

    /// The preload library.
    pub fn shim(&self) -> PathBuf {
        self.root.join("libmremap_shim.so")
    }

    /// The library that `attach` loads into programs linked with musl.
    pub fn shim_for_musl(&self) -> PathBuf {
        self.root.join("libmremap_shim_attach_musl.so")
    }

    /// The analyzer's executable.
    pub fn analyzer(&self) -> PathBuf {
        self.root.join("mremap-analyzer")
    }

    /// The program that compares the library with the kernel.
    pub fn oracle(&self) -> PathBuf {
        self.root.join("mremap-oracle")
    }

    /// The program that compares a kernel with Linux 6.17, linked dynamically.
    pub fn conformance(&self) -> PathBuf {
        self.root.join("mremap-conformance")
    }

    /// The same, linked statically.
    pub fn static_conformance(&self) -> PathBuf {
        self.root.join("static/mremap-conformance")
    }

    /// The example program `name`, in C or Rust.
    pub fn example(&self, name: &str) -> PathBuf {
        self.root.join("examples").join(name)
    }

    /// A program linked with musl, as `WITH_MUSL` lists it; `None` where it could not be built.
    pub fn with_musl(&self, source: &str, flags: &[&str]) -> Option<PathBuf> {
        let path = self.root.join("musl").join(name_with_musl(source, flags));
        path.is_file().then_some(path)
    }

    /// As [`Artifacts::with_musl`]; where it could not be built, the test is skipped.
    pub fn linked_with_musl(&self, source: &str, flags: &[&str]) -> Option<PathBuf> {
        let program = self.with_musl(source, flags);
        if program.is_none() && !is_guest() {
            need::program("musl-gcc", "musl-tools");
        }
        program
    }

    /// The names of all example programs, sorted.
    pub fn examples(&self) -> Vec<String> {
        names(&self.root.join("examples"))
    }

    /// The fixture of `tests/fixtures/NAME.c`. A shared library, `lib*.c`, has a name that ends in
    /// `.so`.
    pub fn fixture(&self, name: &str) -> PathBuf {
        self.root.join("fixtures").join(name)
    }
}

/// The repository's root.
pub fn workspace() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("this crate is a folder of the workspace")
}

/// The cargo that runs this program, started in the repository's root.
pub fn cargo() -> Command {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(workspace());
    command
}

fn target_directory(environment: &Environment) -> Result<PathBuf> {
    let mut command = cargo();
    command
        .envs(environment.iter().cloned())
        .args(["metadata", "--format-version=1", "--no-deps"])
        .stderr(Stdio::inherit());
    let output = command.output().context("cargo metadata: cannot be run")?;
    let metadata: Value =
        serde_json::from_slice(&output.stdout).context("cargo metadata: not JSON")?;
    let directory =
        metadata["target_directory"].as_str().context("cargo metadata: no target_directory")?;
    Ok(directory.into())
}

/// Creates a file and locks it, waiting for other processes. Dropping the file unlocks it.
///
/// # Errors
///
/// It cannot be created or locked.
pub fn lock(path: &Path) -> Result<File> {
    let file = File::create(path)?;
    file.lock().with_context(|| format!("{}: cannot be locked", path.display()))?;
    Ok(file)
}

/// Runs cargo with `--message-format` and returns its messages. Diagnostics go to stderr.
///
/// # Errors
///
/// Cargo cannot be run, or fails.
pub fn cargo_messages(command: &mut Command) -> Result<Vec<Value>> {
    command.arg("--message-format=json-render-diagnostics").stderr(Stdio::inherit());
    let output = command.output().context("cargo: cannot be run")?;
    if !output.status.success() {
        bail!("{command:?} failed; see above");
    }
    let lines = output.stdout.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    let parse = |line| serde_json::from_slice(line).context("cargo: a message is not JSON");
    lines.map(parse).collect()
}

/// Builds the Rust packages; returns the names of the examples among them.
fn build_rust(
    root: &Path,
    environment: &Environment,
    packages: &[&str],
    options: &[&str],
) -> Result<BTreeSet<String>> {
    let mut command = cargo();
    command.envs(environment.iter().cloned());
    command.arg("build").args(options);
    // The first build takes minutes, so cargo shows its progress.
    if root.join("mremap-analyzer").exists() {
        command.arg("--quiet");
    }
    command.args(packages.iter().flat_map(|package| ["-p", package]));
    let mut examples = BTreeSet::new();
    for message in cargo_messages(&mut command)? {
        for product in products(&message) {
            let name = file_name(&product);
            let is_example = message["manifest_path"]
                .as_str()
                .is_some_and(|p| p.ends_with("/examples/Cargo.toml"));
            if is_example {
                copy(&product, &root.join("examples").join(&name))?;
                examples.insert(name);
            } else {
                copy(&product, &root.join(name))?;
            }
        }
    }
    Ok(examples)
}

/// The executable or preload library in one of cargo's messages.
fn products(message: &Value) -> Vec<PathBuf> {
    if message["reason"] != "compiler-artifact" {
        return Vec::new();
    }
    let executable = message["executable"].as_str();
    let files = message["filenames"].as_array().into_iter().flatten().filter_map(Value::as_str);
    // A procedural macro is a `.so` too.
    let names = ["libmremap_shim.so", "libmremap_shim_attach_musl.so"];
    let library = files.filter(|file| names.iter().any(|name| Path::new(file).ends_with(name)));
    executable.into_iter().chain(library).map(PathBuf::from).collect()
}

/// Compiles every C program of a folder that is out of date; returns the names of all results.
fn build_c(sources: &Path, into: &Path, environment: &Environment) -> Result<BTreeSet<String>> {
    let mut built = BTreeSet::new();
    let files: Vec<PathBuf> = names(sources).iter().map(|name| sources.join(name)).collect();
    for source in files.iter().filter(|file| has_extension(file, "c")) {
        let stem = source.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let name = if stem.starts_with("lib") { format!("{stem}.so") } else { stem };
        let output = into.join(&name);
        if is_out_of_date(&output, source) {
            compile(source, &output, environment)?;
        }
        built.insert(name);
    }
    Ok(built)
}

fn compile(source: &Path, output: &Path, environment: &Environment) -> Result<()> {
    let given = environment.iter().find(|(name, _)| name == "CC");
    let given = given.map(|(_, compiler)| compiler.clone());
    let compiler = given.or_else(|| env::var_os("CC")).unwrap_or_else(|| "cc".into());
    let mut command = Command::new(&compiler);
    command.args(C_FLAGS);
    if has_extension(output, "so") {
        command.args(["-shared", "-fPIC"]);
    }
    command.args(extra_flags(source)?);
    compile_by(command, source, output)
}

/// Adds the source and the output to the command of a compiler, and runs it.
fn compile_by(mut command: Command, source: &Path, output: &Path) -> Result<()> {
    // Renamed when complete, since another process may run the old one.
    let fresh = output.with_extension("fresh");
    command.arg("-o").arg(&fresh).arg(source);
    let status = command.status().with_context(|| {
        format!(
            "{}: the C compiler cannot be run; install one, or name it in CC",
            Path::new(command.get_program()).display()
        )
    })?;
    if !status.success() {
        bail!("{}: does not compile; the command was {command:?}", source.display());
    }
    Ok(fs::rename(&fresh, output)?)
}

fn name_with_musl(source: &str, flags: &[&str]) -> String {
    let stem = Path::new(source).file_stem().unwrap_or_default().to_string_lossy();
    stem.into_owned() + &flags.concat()
}

/// A program's own flags, from a first line `// cc: FLAGS`.
fn extra_flags(source: &Path) -> Result<Vec<String>> {
    let text = fs::read_to_string(source)?;
    let flags =
        text.lines().next().and_then(|line| line.strip_prefix("// cc:")).unwrap_or_default();
    Ok(flags.split_whitespace().map(str::to_owned).collect())
}

/// Copies a file, unless the copy has the same length and time of change.
fn copy(from: &Path, to: &Path) -> Result<()> {
    let source = fs::metadata(from)?;
    let current = fs::metadata(to).ok();
    if current
        .is_some_and(|it| it.len() == source.len() && it.modified().ok() == source.modified().ok())
    {
        return Ok(());
    }
    let fresh = to.with_extension("fresh");
    let write = || -> std::io::Result<()> {
        fs::copy(from, &fresh)?;
        File::open(&fresh)?.set_modified(source.modified()?)?;
        fs::rename(&fresh, to)
    };
    write().with_context(|| format!("{}: cannot be copied to {}", from.display(), to.display()))
}

/// Removes files of earlier builds.
fn remove_others(directory: &Path, keep: &BTreeSet<String>) -> Result<()> {
    for name in names(directory).into_iter().filter(|name| !keep.contains(name)) {
        let path = directory.join(name);
        fs::remove_file(&path)?;
    }
    Ok(())
}

/// The names of a folder's regular files, sorted; none if the folder does not exist.
fn names(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    let files = entries.filter(|entry| entry.path().is_file());
    let mut names: Vec<String> = files.map(|entry| file_name(&entry.path())).collect();
    names.sort();
    names
}

fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

fn has_extension(path: &Path, extension: &str) -> bool {
    path.extension() == Some(OsStr::new(extension))
}

/// Whether a program is older than its source or a header.
fn is_out_of_date(program: &Path, source: &Path) -> bool {
    let folders = ["examples", "tests/fixtures"].map(|folder| workspace().join(folder));
    let files = folders
        .iter()
        .flat_map(|folder| names(folder).into_iter().map(move |name| folder.join(name)));
    let headers = files.filter(|file| has_extension(file, "h"));
    let newest = headers.chain([source.into()]).map(|file| modified(&file)).max();
    modified(program) <= newest.flatten()
}

fn modified(path: &Path) -> Option<SystemTime> {
    fs::metadata(path).and_then(|metadata| metadata.modified()).ok()
}
