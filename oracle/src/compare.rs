//! Compares many random cases by several pairs of runners. Makes a difference small and draws it.

use std::env;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

use anyhow::{Context as _, Result, bail};

use crate::case::Features;
use crate::observation::Observation;
use crate::pair::{Outcomes, Pair, Setup};
use crate::rules::{Counts, ENOUGH};
use crate::sandbox::Sandbox;
use crate::scratch::Scratch;
use crate::{generate, named, picture, runner, shrink};

/// Cases of one request to a pair: enough to keep it busy, few enough to stop soon after a
/// difference.
const BATCH: u64 = 200;
/// Shorter runs need not meet every rule.
const FULL_RUN: u64 = 40_000;

/// Which cases to compare, and how.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// The preload library.
    #[arg(long)]
    pub shim: PathBuf,
    /// `mremap-analyzer`: its tracer emulates instead of the library.
    #[arg(long)]
    pub tracer: Option<PathBuf>,
    /// Number of cases.
    #[arg(long, default_value_t = FULL_RUN)]
    pub cases: u64,
    /// Seed: the same seed and number give the same case.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Number of the first case.
    #[arg(long, default_value_t = 0)]
    pub first: u64,
    /// Method to find VMAs: auto, query, maps or bisect.
    #[arg(long, default_value = "auto")]
    pub source: String,
    /// Restriction of the processes while they make requests.
    #[arg(long, value_enum, default_value_t)]
    pub sandbox: Sandbox,
    /// Pairs of runners at the same time; each keeps two CPUs busy.
    #[arg(long, default_value_t = 1)]
    pub jobs: usize,
    /// Stop after this many differences.
    #[arg(long, default_value_t = 1)]
    pub differences: u64,
    /// Exclude a kind or mark from layouts, for example `userfaultfd` or `transparent`.
    #[arg(long)]
    pub without: Vec<String>,
    /// Directory of named cases to compare first.
    #[arg(long)]
    pub named: Option<PathBuf>,
    /// Stop after this many seconds.
    #[arg(long)]
    pub seconds: Option<u64>,
    /// Print how often each rule was met.
    #[arg(long)]
    pub rules: bool,
}

/// The state that the pairs of a run share.
struct Run<'a> {
    options: &'a Options,
    setup: Setup,
    start: Instant,
    next: AtomicU64,
    compared: AtomicU64,
    differences: AtomicU64,
    stopped: AtomicBool,
}

/// Compares. Fails for a difference, and for a full run that did not meet every rule.
pub fn run(options: &Options) -> Result<ExitCode> {
    let scratch = Scratch::make()?;
    let mut features = features_for(&options.source, runner::probe_in_child(Some(&scratch.0))?);
    options.sandbox.restrict(&mut features);
    for name in &options.without {
        if !features.remove_by_name(name) {
            bail!("--without {name}: no such kind or mark");
        }
    }
    let run = Run {
        options,
        setup: Setup {
            program: env::current_exe().context("this program's path")?,
            shim: options.shim.clone(),
            tracer: options.tracer.clone(),
            scratch: scratch.0.clone(),
            source: options.source.clone(),
            seed: options.seed,
            features,
            sandbox: options.sandbox,
        },
        start: Instant::now(),
        next: AtomicU64::new(options.first),
        compared: AtomicU64::new(0),
        differences: AtomicU64::new(0),
        stopped: AtomicBool::new(false),
    };
    if let Some(directory) = &options.named {
        run.named_cases(directory)?;
    }
    let mut counts = Counts::default();
    std::thread::scope(|scope| -> Result<()> {
        let jobs: Vec<_> = (0..options.jobs.max(1)).map(|_| scope.spawn(|| run.work())).collect();
        for job in jobs {
            counts.add(&job.join().expect("no panic in a job")?);
        }
        Ok(())
    })?;
    Ok(run.conclude(&counts))
}

/// Removes the kinds that probing cannot recognise.
fn features_for(source: &str, mut features: Features) -> Features {
    if source == "bisect" {
        features.remove_what_only_names_distinguish();
    }
    features
}

impl Run<'_> {
    /// Compares all cases of a directory.
    fn named_cases(&self, directory: &Path) -> Result<()> {
        let mut pair = Pair::start(&self.setup)?;
        for path in named::files(directory)? {
            let case = named::read(&path)?;
            let name = path.file_stem().unwrap_or_default().to_string_lossy();
            if !named::can_be_laid_out(&case, self.setup.features) {
                println!("not supported here or by {}: {name}", self.setup.emulator());
                continue;
            }
            let outcomes = pair.run(&case)?;
            self.compared.fetch_add(1, Ordering::Relaxed);
            if !outcomes.agree() {
                let before = self.differences.fetch_add(1, Ordering::Relaxed);
                self.stopped.fetch_or(before + 1 >= self.options.differences, Ordering::Relaxed);
                println!("\nDIFFERENCE: {name}, {}", self.setup.emulator());
                println!("{}", picture::draw(&case, &outcomes));
            }
        }
        Ok(())
    }

    fn work(&self) -> Result<Counts> {
        let mut counts = Counts::default();
        let mut pair = Pair::start(&self.setup)?;
        while let Some((first, count)) = self.take_batch() {
            let mut differing = Vec::new();
            pair.run_numbers(first, count, |number, outcomes| {
                self.compared.fetch_add(1, Ordering::Relaxed);
                let case = generate::case(self.setup.seed, number, self.setup.features);
                counts.note_case(&case.requests, &Observation::decode(&outcomes.native));
                if !outcomes.agree() {
                    differing.push(number);
                }
                Ok(())
            })?;
            for number in differing {
                self.report(&mut pair, number)?;
            }
        }
        Ok(counts)
    }

    fn take_batch(&self) -> Option<(u64, u64)> {
        let late = |limit: u64| self.start.elapsed().as_secs() >= limit;
        if self.stopped.load(Ordering::Relaxed) || self.options.seconds.is_some_and(late) {
            return None;
        }
        let first = self.next.fetch_add(BATCH, Ordering::Relaxed);
        let end = self.options.first + self.options.cases;
        (first < end).then(|| (first, BATCH.min(end - first)))
    }

    /// Shrinks a differing case and prints it.
    fn report(&self, pair: &mut Pair, number: u64) -> Result<()> {
        if self.differences.fetch_add(1, Ordering::Relaxed) >= self.options.differences {
            self.stopped.store(true, Ordering::Relaxed);
            return Ok(());
        }
        let case = generate::case(self.setup.seed, number, self.setup.features);
        let differs = |outcomes: &Outcomes| !outcomes.agree();
        if !differs(&pair.run(&case)?) {
            println!(
                "seed {} case {number}: a difference that was not reproduced",
                self.setup.seed
            );
            return Ok(());
        }
        let small =
            shrink::shrink(case, |case| pair.run(case).is_ok_and(|outcomes| differs(&outcomes)));
        let outcomes = pair.run(&small)?;
        println!(
            "\nDIFFERENCE: seed {}, case {number}, {}",
            self.setup.seed,
            self.setup.emulator()
        );
        println!("{}", picture::draw(&small, &outcomes));
        println!(
            "as a regression test (oracle/named/NAME.json):\n{}\n",
            serde_json::to_string_pretty(&small)?
        );
        if self.differences.load(Ordering::Relaxed) >= self.options.differences {
            self.stopped.store(true, Ordering::Relaxed);
        }
        Ok(())
    }

    fn conclude(&self, counts: &Counts) -> ExitCode {
        let compared = self.compared.load(Ordering::Relaxed);
        let differences = self.differences.load(Ordering::Relaxed);
        let seconds = self.start.elapsed().as_secs_f64();
        let table = counts.table(self.setup.features);
        let missed: Vec<_> =
            table.iter().filter(|(_, count)| count.is_some_and(|count| count < ENOUGH)).collect();
        let unsupported = table.iter().filter(|(_, count)| count.is_none());
        if self.options.rules {
            for (name, count) in &table {
                let count = count.map_or_else(|| "-".to_owned(), |count| count.to_string());
                println!("{count:>9}  {name}");
            }
        }
        for (name, _) in unsupported {
            println!("not supported here: {name}");
        }
        println!(
            "oracle: {compared} cases, {}, sandbox {}, seed {}: {differences} differences; {:.0} cases/s",
            self.setup.emulator(),
            self.setup.sandbox.name(),
            self.setup.seed,
            compared as f64 / seconds
        );
        let sees_all = self.options.source != "bisect" && self.options.sandbox == Sandbox::None;
        let is_judged = compared >= FULL_RUN && sees_all;
        if is_judged && !missed.is_empty() {
            for (name, count) in &missed {
                println!("met only {} times: {name}", count.unwrap_or(0));
            }
        }
        let failed = differences > 0 || is_judged && !missed.is_empty();
        if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS }
    }
}
