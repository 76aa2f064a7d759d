//! A run: many random cases by several pairs of runners, the first difference made small and drawn.

use std::env;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

use anyhow::{Context as _, Result, bail};

use crate::case::Features;
use crate::observation::Observation;
use crate::pair::{Answers, Pair, Setup};
use crate::rules::{Counts, ENOUGH};
use crate::sandbox::Sandbox;
use crate::scratch::Scratch;
use crate::{generate, named, picture, runner, shrink};

/// Cases asked for at once: enough to keep both runners busy, few enough to stop soon after a difference.
const BATCH: u64 = 200;
/// A run of fewer cases than this is not held to the rules' counts.
const RUN_THAT_COUNTS: u64 = 40_000;

/// What to compare.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// The preload library.
    #[arg(long)]
    pub shim: PathBuf,
    /// How many cases.
    #[arg(long, default_value_t = RUN_THAT_COUNTS)]
    pub cases: u64,
    /// Names the run: the same seed and number are the same case.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// The number of the first case.
    #[arg(long, default_value_t = 0)]
    pub first: u64,
    /// Where the shim finds VMAs: auto, query, maps or bisect.
    #[arg(long, default_value = "auto")]
    pub source: String,
    /// What the processes lack when they make their requests.
    #[arg(long, value_enum, default_value_t)]
    pub sandbox: Sandbox,
    /// Pairs of runners at once; each keeps two processors busy.
    #[arg(long, default_value_t = 1)]
    pub jobs: usize,
    /// How many differences to report before stopping.
    #[arg(long, default_value_t = 1)]
    pub differences: u64,
    /// Kinds and marks to leave out of layouts, for example `userfaultfd` or `transparent`.
    #[arg(long)]
    pub without: Vec<String>,
    /// A directory of cases to begin with: differences found before, and the rules that chance meets rarely.
    #[arg(long)]
    pub named: Option<PathBuf>,
    /// Stop after this many seconds.
    #[arg(long)]
    pub seconds: Option<u64>,
    /// Print how often each rule was met.
    #[arg(long)]
    pub rules: bool,
}

/// What the pairs of one run share.
struct Run<'a> {
    options: &'a Options,
    setup: Setup,
    start: Instant,
    next: AtomicU64,
    compared: AtomicU64,
    differences: AtomicU64,
    stopped: AtomicBool,
}

/// Compares; the exit code says whether all was the same and every rule was met.
pub fn run(options: &Options) -> Result<ExitCode> {
    let scratch = Scratch::make()?;
    let mut features = features_for(&options.source, runner::probe_in_child(&scratch.0)?);
    options.sandbox.restrict(&mut features);
    for name in &options.without {
        if !features.remove(name) {
            bail!("--without {name}: no kind or mark of that name");
        }
    }
    let run = Run {
        options,
        setup: Setup {
            program: env::current_exe().context("this program's path")?,
            shim: options.shim.clone(),
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

/// Bisection cannot see what stands behind a VMA: kinds that are refused for that are left out.
fn features_for(source: &str, mut features: Features) -> Features {
    if source == "bisect" {
        features.remove_what_only_names_tell();
    }
    features
}

impl Run<'_> {
    /// Compares the cases of a directory, all of them whatever comes out.
    fn named_cases(&self, directory: &Path) -> Result<()> {
        let mut pair = Pair::start(&self.setup)?;
        for path in named::files(directory)? {
            let case = named::read(&path)?;
            let name = path.file_stem().unwrap_or_default().to_string_lossy();
            if !named::can_be_laid_out(&case, self.setup.features) {
                println!("cannot be tested here, or by {}: {name}", self.setup.source);
                continue;
            }
            let answers = pair.ask(&case)?;
            self.compared.fetch_add(1, Ordering::Relaxed);
            if !answers.agree() {
                self.differences.fetch_add(1, Ordering::Relaxed);
                println!("\nDIFFERENCE: {name}, source {}", self.setup.source);
                println!("{}", picture::draw(&case, &answers));
            }
        }
        Ok(())
    }

    fn work(&self) -> Result<Counts> {
        let mut counts = Counts::default();
        let mut pair = Pair::start(&self.setup)?;
        while let Some((first, count)) = self.take_batch() {
            let mut differing = Vec::new();
            pair.ask_seeds(first, count, |number, answers| {
                self.compared.fetch_add(1, Ordering::Relaxed);
                let case = generate::case(self.setup.seed, number, self.setup.features);
                counts.note_case(&case.requests, &Observation::decode(&answers.native));
                if !answers.agree() {
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

    /// Makes a difference small, and prints it.
    fn report(&self, pair: &mut Pair, number: u64) -> Result<()> {
        if self.differences.fetch_add(1, Ordering::Relaxed) >= self.options.differences {
            self.stopped.store(true, Ordering::Relaxed);
            return Ok(());
        }
        let case = generate::case(self.setup.seed, number, self.setup.features);
        let differs = |answers: &Answers| !answers.agree();
        if !differs(&pair.ask(&case)?) {
            println!(
                "seed {} case {number}: a difference that did not come again",
                self.setup.seed
            );
            return Ok(());
        }
        let small =
            shrink::shrink(case, |case| pair.ask(case).is_ok_and(|answers| differs(&answers)));
        let answers = pair.ask(&small)?;
        println!(
            "\nDIFFERENCE: seed {}, case {number}, source {}",
            self.setup.seed, self.setup.source
        );
        println!("{}", picture::draw(&small, &answers));
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
        let not_here = table.iter().filter(|(_, count)| count.is_none());
        if self.options.rules {
            for (name, count) in &table {
                let count = count.map_or_else(|| "-".to_owned(), |count| count.to_string());
                println!("{count:>9}  {name}");
            }
        }
        for (name, _) in not_here {
            println!("cannot be tested here: {name}");
        }
        println!(
            "oracle: {compared} cases, source {}, sandbox {}, seed {}: {differences} differences; {:.0} cases/s",
            self.setup.source,
            self.setup.sandbox.name(),
            self.setup.seed,
            compared as f64 / seconds
        );
        let sees_all = self.options.source != "bisect" && self.options.sandbox == Sandbox::None;
        let is_judged = compared >= RUN_THAT_COUNTS && sees_all;
        if is_judged && !missed.is_empty() {
            for (name, count) in &missed {
                println!("met only {} times: {name}", count.unwrap_or(0));
            }
        }
        let failed = differences > 0 || is_judged && !missed.is_empty();
        if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS }
    }
}
