//! `mremap-conformance`: compares the `mremap` of the kernel that it runs on with that of Linux
//! 6.17, and prints the result as TAP. It needs no `/proc`, no privileges and no files; built
//! statically it runs in any container, in gVisor and under `qemu-x86_64`.
//!
//! The path of a case: [`cases`] has its layout, requests and outcome on Linux 6.17 (recorded for
//! named cases, by [`model`] for random ones); [`mod@run`] carries it out in a child; [`picture`]
//! draws a difference.

mod cases;
mod limit;
mod model;
mod picture;
mod run;
mod state;

use std::collections::BTreeMap;
use std::ffi::CString;
use std::fmt::Write as _;
use std::os::unix::ffi::OsStrExt as _;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Result, bail};
use clap::Parser;
use mremap_oracle::case::Features;
use mremap_oracle::runner::{self, Resources};
use mremap_oracle::{named, scratch::Scratch};

use cases::Test;
use run::{Runner, watched};

/// Compares the mremap of this kernel with that of Linux 6.17; prints TAP.
///
/// Exit status: 0 everything is as on Linux 6.17, 1 something differs, 2 the command is wrong or no
/// case could be run.
#[derive(Debug, Parser)]
#[command(name = "mremap-conformance", version)]
struct Options {
    /// Print the cases without running them.
    #[arg(long)]
    list: bool,
    /// Run only cases whose name, rule or kernel function contains this text.
    #[arg(long, value_name = "TEXT", default_value = "")]
    filter: String,
    /// Number of random cases.
    #[arg(long, value_name = "N", default_value_t = 500)]
    cases: u64,
    /// Seed of the random cases: the same seed gives the same cases.
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// Record what this kernel does with the case files of these directories, and print it.
    #[arg(long, value_name = "DIRECTORY", num_args = 1.., hide = true)]
    record: Vec<PathBuf>,
    /// Print a digest of what this kernel does with each random case.
    #[arg(long, hide = true)]
    digests: bool,
}

fn main() -> ExitCode {
    // SAFETY: a reader that leaves ends this program without a message, as it does others.
    unsafe { libc::signal(libc::SIGPIPE, libc::SIG_DFL) };
    run(&Options::parse()).unwrap_or_else(|error| {
        eprintln!("mremap-conformance: {error:#}");
        ExitCode::from(2)
    })
}

fn run(options: &Options) -> Result<ExitCode> {
    if !options.record.is_empty() {
        return record(&options.record);
    }
    if options.digests {
        return print_digests(options);
    }
    let mut tests = cases::named()?;
    tests.extend((0..options.cases).filter_map(|number| cases::random(options.seed, number)));
    let matches = |test: &Test| test.texts().iter().any(|text| text.contains(&options.filter));
    tests.retain(matches);
    let limit_is_tested = LIMIT.iter().any(|text| text.contains(&options.filter));
    if options.list {
        for test in &tests {
            println!("{}", test.title());
        }
        if limit_is_tested {
            println!("{}: {} # {}", LIMIT[0], LIMIT[1], LIMIT[2]);
        }
        return Ok(ExitCode::SUCCESS);
    }
    let mut session = Session::start()?;
    let mut tally = Tally::default();
    println!("TAP version 14\n1..{}", tests.len() + usize::from(limit_is_tested));
    for test in &tests {
        tally.note(test.function, &judge(test, &mut session)?, &test.title());
    }
    if limit_is_tested {
        let title = format!("{}: {} # {}", LIMIT[0], LIMIT[1], LIMIT[2]);
        tally.note(LIMIT[2], &judge_limit(), &title);
    }
    Ok(tally.conclude())
}

/// Name, rule and kernel function of the case that [`limit`] tries.
const LIMIT: [&str; 3] =
    ["limit_on_mappings", "ENOMEM: too few mappings are free", "check_mremap_params"];

impl Test {
    fn texts(&self) -> [&str; 3] {
        [&self.name, &self.rule, self.function]
    }

    fn title(&self) -> String {
        format!("{}: {} # {}", self.name, self.rule, self.function)
    }
}

/// What came of a test.
enum Verdict {
    Ok(String),
    Skipped(String),
    Differs(String),
}

/// A runner, what this system lets a case contain, and the directory of the runner's files. These
/// keep their names, by which the preload library may look them up.
struct Session {
    runner: Runner,
    features: Features,
    scratch: Option<Scratch>,
}

impl Session {
    fn start() -> Result<Self> {
        runner::sys::reexec_until_stack_is_low();
        runner::sys::let_alarms_interrupt_waitpid();
        let scratch = Scratch::make().ok();
        let directory = scratch.as_ref().map(|scratch| scratch.0.as_path());
        let features = runner::probe_in_child(directory)?;
        if features == Features(0) {
            bail!("no memory can be mapped at fixed addresses here");
        }
        let runner = Runner::new(Resources::create(directory))?;
        Ok(Self { runner, features, scratch })
    }
}

impl Drop for Session {
    /// Unmounts the ramfs, so that the directory can be removed.
    fn drop(&mut self) {
        let Some(scratch) = &self.scratch else { return };
        let mount = scratch.0.join(format!("ramfs-{}", std::process::id()));
        if let Ok(mount) = CString::new(mount.as_os_str().as_bytes()) {
            // SAFETY: a C string. Nothing is mounted there without the needed privileges.
            unsafe { libc::umount2(mount.as_ptr(), libc::MNT_DETACH) };
        }
    }
}

fn judge(test: &Test, session: &mut Session) -> Result<Verdict> {
    if let Some(missing) = cases::missing(&test.case, session.features) {
        return Ok(Verdict::Skipped(format!("not available here: {missing}")));
    }
    if test.name.contains("task_size") && !run::user_space_ends_at_2_47() {
        return Ok(Verdict::Skipped("user space ends beyond 2^47 here".to_owned()));
    }
    let outcome = session.runner.run(&test.case, &watched(&test.case))?;
    Ok(if outcome.states.first() != test.expected.first() {
        Verdict::Skipped("the layout cannot be made here".to_owned())
    } else if outcome.status != 0 || outcome.states != test.expected {
        Verdict::Differs(picture::draw(test, &outcome))
    } else {
        Verdict::Ok(String::new())
    })
}

fn judge_limit() -> Verdict {
    let Some(seen) = limit::observe() else {
        return Verdict::Skipped("no limit below 70,000 mappings".to_owned());
    };
    if let Some((kernel, _)) = limit::RECORDED.iter().find(|(_, recorded)| *recorded == seen) {
        return Verdict::Ok(format!(", as in {kernel}"));
    }
    let mut picture = String::new();
    for (who, what) in limit::RECORDED.iter().copied().chain([("here", seen.as_str())]) {
        let _ = writeln!(picture, "#   {who}: {what}");
    }
    Verdict::Differs(picture)
}

/// Prints what this kernel does with the cases of some directories.
fn record(directories: &[PathBuf]) -> Result<ExitCode> {
    let mut session = Session::start()?;
    println!("# Outcomes of Linux 6.17; made by mremap-conformance --record.");
    for directory in directories {
        for path in named::files(directory)? {
            let case = named::read(&path)?;
            let name = path.file_stem().unwrap_or_default().to_string_lossy();
            if let Some(missing) = cases::missing(&case, session.features) {
                eprintln!("{name}: not recorded, not available here: {missing}");
                continue;
            }
            let outcome = session.runner.run(&case, &watched(&case))?;
            if outcome.status != 0 {
                eprintln!(
                    "{name}: not recorded, the child ended with status {:#x}",
                    outcome.status
                );
                continue;
            }
            print!("{}", cases::record(&name, &case, &outcome.states)?);
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Prints the digests of random cases for `recorded/random-6.17.txt`.
fn print_digests(options: &Options) -> Result<ExitCode> {
    let mut session = Session::start()?;
    println!("# Digests of the random cases of seed {} on Linux 6.17.", options.seed);
    for test in (0..options.cases).filter_map(|number| cases::random(options.seed, number)) {
        let outcome = session.runner.run(&test.case, &watched(&test.case))?;
        println!("{}: {:016x}", test.name, cases::digest(&outcome.states));
    }
    Ok(ExitCode::SUCCESS)
}

/// The number of tests by kernel function: run, and different.
#[derive(Default)]
struct Tally {
    number: usize,
    skipped: usize,
    by_function: BTreeMap<&'static str, (usize, usize)>,
}

impl Tally {
    fn note(&mut self, function: &'static str, verdict: &Verdict, title: &str) {
        self.number += 1;
        let (title, directive) = title.split_once(" # ").unwrap_or((title, ""));
        let (run, differing) = self.by_function.entry(function).or_default();
        match verdict {
            Verdict::Ok(remark) => {
                *run += 1;
                println!("ok {} - {title}{remark} # {directive}", self.number);
            }
            Verdict::Skipped(why) => {
                self.skipped += 1;
                println!("ok {} - {title} # SKIP {why}", self.number);
            }
            Verdict::Differs(picture) => {
                *run += 1;
                *differing += 1;
                print!("not ok {} - {title} # {directive}\n{picture}", self.number);
            }
        }
    }

    fn conclude(self) -> ExitCode {
        let run: usize = self.by_function.values().map(|(run, _)| run).sum();
        let differing: usize = self.by_function.values().map(|(_, differing)| differing).sum();
        println!("# {run} run, {} skipped, {differing} differ from Linux 6.17", self.skipped);
        for (function, (run, differing)) in self.by_function {
            if differing > 0 {
                println!("#   {function}: {differing} of {run}");
            }
        }
        if run == 0 {
            return ExitCode::from(2);
        }
        if differing > 0 { ExitCode::FAILURE } else { ExitCode::SUCCESS }
    }
}
