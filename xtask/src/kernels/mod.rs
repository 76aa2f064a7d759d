//! Fetches the images of the catalogue's kernels with apt into the kernel cache, a folder a series.
//!
//! A folder holds `vmlinuz` and `origin`: the pin of the catalogue and the package that was
//! fetched, which differ if the suite dropped the pinned version ([`pins`]). A kernel that was
//! built ([`build`]) has its `config`, too. [`source`] keeps parts of a kernel's source instead.

mod build;
pub mod command;
mod pins;
pub mod source;

use fs_err::{self as fs, File};
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;

use anyhow::{Context, Error, Result, anyhow, bail};
use tempfile::TempDir;

use crate::apt::{self, Apt, Package};
use crate::arch::Arch;
use crate::catalogue::{Catalogue, Entry};
use crate::repo;

pub use self::pins::pin_lines;
use self::pins::{choose, newest_of, pin_of, shown};

/// The folder of a temporary directory that a package is unpacked into.
const CONTENT: &str = "content";

/// A kernel in the cache.
#[derive(Debug, Clone)]
pub struct Kernel {
    /// Its series in the catalogue.
    pub series: String,
    /// Its processor.
    pub arch: Arch,
    /// Its package, as `NAME VERSION`.
    pub version: String,
    /// Parameters for its command line.
    pub parameters: String,
    /// Whether it has the multi-VMA move.
    pub native: bool,
    /// The image.
    pub vmlinuz: PathBuf,
}

/// The cached kernel of an entry, if it was fetched for the present pin.
pub fn cached(entry: &Entry) -> Option<Kernel> {
    let folder = folder(entry);
    let version = origin(entry, &folder)?;
    let vmlinuz = folder.join("vmlinuz");
    (has_current_configuration(entry, &folder) && vmlinuz.is_file()).then(|| Kernel {
        series: entry.series.clone(),
        arch: entry.arch,
        version,
        parameters: entry.parameters.clone(),
        native: entry.native,
        vmlinuz,
    })
}

/// The package that a folder's content was taken from, if it was fetched for the present pin.
fn origin(entry: &Entry, folder: &Path) -> Option<String> {
    let record = fs::read_to_string(folder.join("origin")).ok()?;
    let (pin, version) = record.trim_end().split_once('\n')?;
    (pin == pin_of(entry)).then(|| version.to_owned())
}

fn write_origin(entry: &Entry, package: &Package, folder: &Path) -> Result<()> {
    let record = format!("{}\n{}\n", pin_of(entry), shown(package));
    Ok(fs::write(folder.join("origin"), record)?)
}

/// Whether the kernel was built with the present configuration.
fn has_current_configuration(entry: &Entry, folder: &Path) -> bool {
    let now = build::configuration(entry).map(fs::read);
    now.is_none_or(|now| {
        now.is_ok_and(|now| fs::read(folder.join("config")).is_ok_and(|it| it == now))
    })
}

/// Returns the kernels of these entries. Fetches those that the cache lacks.
pub fn get(entries: &[Entry]) -> Result<Vec<Kernel>> {
    get_each(entries).into_iter().collect()
}

/// As [`get`], with a result for each entry.
pub fn get_each(entries: &[Entry]) -> Vec<Result<Kernel>> {
    let missing: Vec<&Entry> = entries.iter().filter(|entry| cached(entry).is_none()).collect();
    let mut failures = if missing.is_empty() { HashMap::new() } else { fetch(&missing) };
    let result = |entry: &Entry| match failures.remove(&entry.series) {
        Some(error) => Err(error),
        None => cached(entry)
            .with_context(|| format!("kernel {}: fetched, but not in the cache", entry.series)),
    };
    entries.iter().map(result).collect()
}

/// As [`get`], for one series.
pub fn get_one(series: &str) -> Result<Kernel> {
    let entries = Catalogue::read()?.select(&[series.to_owned()])?;
    get(&entries)?.pop().context("a series was selected")
}

/// The newest package of each entry's series.
pub fn newest(entries: &[Entry]) -> Result<Vec<(Entry, Package)>> {
    need_apt()?;
    let mut found = Vec::new();
    for (suite, arch) in suites(&entries.iter().collect::<Vec<_>>()) {
        let apt = Apt::update(suite, arch, apt_home(suite, arch))?;
        for entry in entries.iter().filter(|entry| is_of(entry, (suite, arch))) {
            found.push((entry.clone(), newest_of(&|is_wanted| apt.find(is_wanted), entry)?));
        }
    }
    Ok(found)
}

/// Fetches kernels, one thread a suite. Returns the errors by series.
fn fetch(entries: &[&Entry]) -> HashMap<String, Error> {
    let _lock = match need_apt().and_then(|()| lock()) {
        Ok(lock) => lock,
        Err(error) => return fail_all(entries, &error),
    };
    thread::scope(|scope| {
        let of_suite = |suite| {
            entries.iter().copied().filter(move |entry| is_of(entry, suite)).collect::<Vec<_>>()
        };
        let workers: Vec<_> = suites(entries)
            .into_iter()
            .map(|suite| scope.spawn(move || fetch_suite(suite, &of_suite(suite))))
            .collect();
        workers
            .into_iter()
            .flat_map(|worker| worker.join().expect("a fetch does not panic"))
            .collect()
    })
}

fn fetch_suite((suite, arch): (&str, Arch), entries: &[&Entry]) -> HashMap<String, Error> {
    let apt = match Apt::update(suite, arch, apt_home(suite, arch)) {
        Ok(apt) => apt,
        Err(error) => return fail_all(entries, &error),
    };
    let results = entries.iter().map(|entry| (entry.series.clone(), fetch_one(&apt, entry)));
    results.filter_map(|(series, result)| result.err().map(|error| (series, error))).collect()
}

/// The same error for each entry.
fn fail_all(entries: &[&Entry], error: &Error) -> HashMap<String, Error> {
    entries.iter().map(|entry| (entry.series.clone(), anyhow!("{error:#}"))).collect()
}

fn fetch_one(apt: &Apt, entry: &Entry) -> Result<()> {
    if cached(entry).is_some() {
        return Ok(()); // Another process fetched it while we waited for the lock.
    }
    let folder = folder(entry);
    let (package, scratch) = unpack(apt, entry, &folder)?;
    let content = scratch.path().join(CONTENT);
    let config = build::configuration(entry);
    let vmlinuz = match &config {
        Some(config) => build::image(entry, config, &content, scratch.path())?,
        None => find_vmlinuz(&content)
            .with_context(|| format!("{}: has no kernel image", package.name))?,
    };
    let keep = |config| fs::copy(config, folder.join("config")).map(drop);
    fs::rename(&vmlinuz, folder.join("vmlinuz")).and_then(|()| config.map_or(Ok(()), keep))?;
    write_origin(entry, &package, &folder)
}

/// Downloads an entry's package, checks it, and unpacks it into `content` of a temporary directory
/// in `folder`.
fn unpack(apt: &Apt, entry: &Entry, folder: &Path) -> Result<(Package, TempDir)> {
    let (package, warning) = choose(&|is_wanted| apt.find(is_wanted), entry)?;
    if let Some(warning) = warning {
        eprintln!("{warning}");
    }
    eprintln!("kernel {}: fetching {} {}", entry.series, package.name, package.version);
    fs::create_dir_all(folder)?;
    let scratch = tempfile::Builder::new().prefix(".fetch").tempdir_in(folder)?;
    let deb = apt.download(&package, scratch.path())?;
    check_hash(&deb, &package)?;
    let content = scratch.path().join(CONTENT);
    repo::capture(Command::new("dpkg-deb").arg("-x").arg(&deb).arg(&content))?;
    Ok((package, scratch))
}

fn check_hash(deb: &Path, package: &Package) -> Result<()> {
    let line = repo::capture(Command::new("sha256sum").arg("-b").arg(deb))?;
    let found = line.split_whitespace().next().unwrap_or_default();
    if found != package.sha256 {
        bail!(
            "{}: the downloaded package has sha256 {found}, not {}",
            shown(package),
            package.sha256
        );
    }
    Ok(())
}

/// Finds `boot/vmlinuz-*` or, since 6.19, `usr/lib/modules/*/vmlinuz`.
fn find_vmlinuz(directory: &Path) -> Option<PathBuf> {
    let entries: Vec<_> = fs::read_dir(directory).ok()?.flatten().collect();
    let is_image = |entry: &fs::DirEntry| {
        entry.file_name().to_string_lossy().starts_with("vmlinuz")
            && entry.file_type().is_ok_and(|it| it.is_file())
    };
    if let Some(image) = entries.iter().find(|entry| is_image(entry)) {
        return Some(image.path());
    }
    let mut directories =
        entries.iter().filter(|entry| entry.file_type().is_ok_and(|it| it.is_dir()));
    directories.find_map(|entry| find_vmlinuz(&entry.path()))
}

fn is_of(entry: &Entry, (suite, arch): (&str, Arch)) -> bool {
    entry.suite == suite && entry.arch == arch
}

fn suites<'a>(entries: &[&'a Entry]) -> Vec<(&'a str, Arch)> {
    let mut suites: Vec<_> =
        entries.iter().map(|entry| (entry.suite.as_str(), entry.arch)).collect();
    suites.sort_unstable_by_key(|(suite, arch)| (*suite, arch.name()));
    suites.dedup();
    suites
}

fn need_apt() -> Result<()> {
    if !apt::is_there() {
        bail!(
            "kernels are fetched with apt-get and dpkg-deb, which are not installed; \
             run this on Debian, or copy a kernel cache here and name it in MREMAP_KERNEL_CACHE"
        );
    }
    Ok(())
}

/// Locks the cache against other processes. Dropping the file unlocks it.
fn lock() -> Result<File> {
    let cache = repo::kernel_cache();
    fs::create_dir_all(&cache)?;
    repo::lock(&cache.join(".lock"))
}

fn folder(entry: &Entry) -> PathBuf {
    repo::kernel_cache().join(arch_folder(entry.arch)).join(&entry.series)
}

fn apt_home(suite: &str, arch: Arch) -> PathBuf {
    repo::kernel_cache().join(arch_folder(arch)).join("apt").join(suite)
}

/// The cache's folder of a processor; x86-64 kernels are at its top.
fn arch_folder(arch: Arch) -> &'static str {
    match arch {
        Arch::Amd64 => "",
        Arch::Arm64 => "arm64",
    }
}
