//! Keeps results: a JSON file and a table for each run, named by its date.

use fs_err as fs;
use std::path::Path;
use std::time::SystemTime;

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};

use crate::table::{self, Row};

/// The results of a run, and its machine.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Results {
    /// Date and time in UTC.
    pub date: String,
    /// Model and number of CPUs.
    pub cpu: String,
    /// Release of the kernel.
    pub kernel: String,
    /// Load average of the last minute, at start and end.
    pub load: (f64, f64),
    /// Whether it was a run with fewer rounds.
    pub is_quick: bool,
    /// The table.
    pub rows: Vec<Row>,
}

impl Results {
    /// Begins a run.
    pub fn begin(is_quick: bool) -> Result<Self> {
        let read =
            |path: &str| fs::read_to_string(path).with_context(|| format!("{path}: unreadable"));
        let cpus = read("/proc/cpuinfo")?;
        let model = cpus.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
        let count = cpus.lines().filter(|line| line.starts_with("processor")).count();
        Ok(Self {
            date: humantime::format_rfc3339_seconds(SystemTime::now()).to_string(),
            cpu: format!("{} x {count}", model.map_or("unknown CPU", |(_, name)| name)),
            kernel: read("/proc/sys/kernel/osrelease")?.trim().to_owned(),
            load: (load()?, 0.0),
            is_quick,
            rows: Vec::new(),
        })
    }

    /// The table, with the machine in its head, and the medians of `last`.
    pub fn render(&self, last: Option<&Self>) -> String {
        let compared = last.map_or(String::new(), |last| format!("; last: {}", last.date));
        format!(
            "{}, {}, Linux {}, load {:.1} to {:.1}{}{compared}\n{}",
            self.date,
            self.cpu,
            self.kernel,
            self.load.0,
            self.load.1,
            if self.is_quick { ", quick" } else { "" },
            table::render(&self.rows, last.map_or(&[], |last| &last.rows)),
        )
    }

    /// Ends the run.
    pub fn end(mut self) -> Result<Self> {
        self.load.1 = load()?;
        Ok(self)
    }

    /// Writes the run to `directory` and returns its table.
    pub fn keep(&self, directory: &Path) -> Result<String> {
        let last = last(directory, self)?;
        let text = self.render(last.as_ref());
        let name = self.date.replace(':', "-");
        for (extension, content) in
            [("json", serde_json::to_string_pretty(self)? + "\n"), ("txt", text.clone())]
        {
            let path = directory.join(format!("{name}.{extension}"));
            fs::write(&path, content)?;
        }
        Ok(text)
    }
}

/// The last results of the same CPU and kernel that have every suite of `new`.
fn last(directory: &Path, new: &Results) -> Result<Option<Results>> {
    fs::create_dir_all(directory)?;
    let entries =
        fs::read_dir(directory).with_context(|| format!("{}: unreadable", directory.display()))?;
    let mut paths: Vec<_> = entries.flatten().map(|entry| entry.path()).collect();
    paths.sort();
    let has_suites = |old: &Results| {
        new.rows.iter().all(|row| old.rows.iter().any(|before| before.suite == row.suite))
    };
    let json = paths.iter().rev().filter(|path| path.extension().is_some_and(|it| it == "json"));
    let parsed = json
        .filter_map(|path| serde_json::from_str::<Results>(&fs::read_to_string(path).ok()?).ok());
    let mut comparable =
        parsed.filter(|old| (&old.cpu, &old.kernel) == (&new.cpu, &new.kernel) && has_suites(old));
    Ok(comparable.next())
}

fn load() -> Result<f64> {
    let text = fs::read_to_string("/proc/loadavg").context("/proc/loadavg: unreadable")?;
    let first = text.split(' ').next().and_then(|word| word.parse().ok());
    first.context("/proc/loadavg: no number in it")
}
