//! Findings as text or JSON.

use std::collections::BTreeMap;
use std::io::Write;

use anyhow::Result;
use serde_json::{Value, json};

use super::finding::{Evidence, Finding, Kind, Severity};
use super::observer::Observer;
use crate::load::{Index, Traces};
use crate::model::units::{count, counted};
use crate::named::sites_of_events;
use crate::report::table::TextStyle;
use crate::symbols::Symbols;

/// The result of `check` as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing was found.
    Clean,
    /// Something was found.
    Findings,
    /// Nothing was found, but not everything could be checked.
    CannotSay,
}

impl Verdict {
    /// Judges what an observer has found.
    pub fn of(observer: &Observer) -> Self {
        let severities = || observer.findings.keys().map(|kind| kind.severity());
        if severities().any(|severity| severity != Severity::CannotSay) {
            Self::Findings
        } else if severities().count() > 0 {
            Self::CannotSay
        } else {
            Self::Clean
        }
    }

    /// The exit status.
    pub fn status(self) -> u8 {
        match self {
            Self::Clean => 0,
            Self::Findings => 1,
            Self::CannotSay => 2,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Clean => "clean",
            Self::Findings => "findings",
            Self::CannotSay => "cannot-say",
        }
    }
}

/// Writes the findings.
pub fn write(
    (traces, index): (&Traces, &Index),
    observer: &Observer,
    symbols: &Symbols,
    (json, top): (bool, usize),
    out: &mut dyn Write,
) -> Result<()> {
    let verdict = Verdict::of(observer);
    let shown = observer.findings.values().flat_map(|found| found.evidence.iter().take(top));
    let events = shown.map(|evidence| evidence.event).collect();
    let sites = sites_of_events(traces, index, &events, symbols);
    if json {
        let value = as_json(observer, verdict, top, &sites);
        serde_json::to_writer_pretty(&mut *out, &value)?;
        writeln!(out)?;
        return Ok(());
    }
    let style = TextStyle::of_stdout();
    for &kind in Kind::ALL {
        if let Some(finding) = observer.findings.get(&kind) {
            write_finding(kind, finding, top, &style, &sites, out)?;
        }
    }
    write_summary(observer, verdict, &style, out)
}

/// Writes the summary: last, because a terminal shows the end of the output.
fn write_summary(
    observer: &Observer,
    verdict: Verdict,
    style: &TextStyle,
    out: &mut dyn Write,
) -> Result<()> {
    let found = match verdict {
        Verdict::Clean => "nothing found",
        Verdict::Findings => "see the findings above",
        Verdict::CannotSay => "nothing found, but not everything could be checked",
    };
    let checked = format!("{} checked: {found}.", counted(observer.events, "event"));
    writeln!(out, "{}", style.wrap(&checked, 0))?;
    if observer.conforming > 0 {
        let recomputed = counted(observer.conforming, "emulated call");
        let text = format!("{recomputed} recomputed by the rules of Linux 6.17: all match.");
        writeln!(out, "{}", style.wrap(&text, 0))?;
    }
    let old = OldKernels::of(observer);
    let text = style.wrap(&format!("{}: {}", OldKernels::QUESTION, old.answer(observer)), 0);
    let answer = format!(" {}", old.word());
    let painted = match old {
        OldKernels::No => style.bad(&answer),
        OldKernels::Yes => style.good(&answer),
        OldKernels::CannotSay => style.warning(&answer),
    };
    writeln!(out, "{}", text.replacen(&answer, &painted, 1))?;
    Ok(())
}

/// Whether the program would run without the multi-VMA move of the kernel and without the shim.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum OldKernels {
    Yes,
    No,
    CannotSay,
}

impl OldKernels {
    const QUESTION: &'static str = "On Linux 6.16 and older, without the shim";

    fn of(observer: &Observer) -> Self {
        let found = |kind| observer.findings.contains_key(&kind);
        if found(Kind::NeedsMultiVma) {
            Self::No
        } else if found(Kind::NativeUnseen) || found(Kind::NotRecorded) {
            Self::CannotSay
        } else {
            Self::Yes
        }
    }

    /// Its name in JSON.
    fn name(self) -> &'static str {
        match self {
            Self::Yes => "yes",
            Self::No => "no",
            Self::CannotSay => "cannot-say",
        }
    }

    fn word(self) -> &'static str {
        match self {
            Self::Yes => "yes",
            Self::No => "no",
            Self::CannotSay => "unknown",
        }
    }

    fn answer(self, observer: &Observer) -> String {
        let times = |kind| observer.findings.get(&kind).map_or(0, |finding| finding.count);
        match self {
            Self::Yes => "yes, judging by these calls.".to_owned(),
            Self::No => format!("no, {} would fail.", counted(times(Kind::NeedsMultiVma), "call")),
            Self::CannotSay if times(Kind::NativeUnseen) > 0 => format!(
                "unknown, because the VMAs of {} were not recorded (run --detail vmas).",
                counted(times(Kind::NativeUnseen), "move")
            ),
            Self::CannotSay => {
                format!("unknown, because {} were lost.", counted(times(Kind::NotRecorded), "call"))
            }
        }
    }
}

/// Whether the program would run on Linux 6.16 and older without the shim: `yes`, `no` or
/// `unknown`, and a sentence.
pub fn before_6_17(observer: &Observer) -> (&'static str, String) {
    let old = OldKernels::of(observer);
    (old.word(), old.answer(observer))
}

fn write_finding(
    kind: Kind,
    finding: &Finding,
    top: usize,
    style: &TextStyle,
    sites: &BTreeMap<u64, String>,
    out: &mut dyn Write,
) -> Result<()> {
    let severity = kind.severity();
    let label = match severity {
        Severity::Error => style.bad(severity.name()),
        Severity::Warning => style.warning(severity.name()),
        Severity::Note | Severity::CannotSay => style.dim(severity.name()),
    };
    let times = match finding.count {
        1 => "once".to_owned(),
        number => format!("{} times", count(number)),
    };
    let title = kind.title();
    let text = style.wrap(&format!("{} {}: {title} ({times})", severity.name(), kind.name()), 0);
    let text = text.replacen(severity.name(), &label, 1);
    writeln!(out, "{}", text.replacen(title, &style.heading(title), 1))?;
    writeln!(out, "{}", style.wrap(kind.advice(), 2))?;
    for evidence in finding.evidence.iter().take(top) {
        let at = match sites.get(&evidence.event) {
            Some(site) => format!("event {} at {site}: ", evidence.event),
            None => String::new(),
        };
        writeln!(out, "{}", style.item("-", &format!("{at}{}", evidence.what), 4))?;
    }
    let shown = finding.evidence.len().min(top) as u64;
    if finding.count > shown && finding.evidence.len() > 1 {
        writeln!(out, "    ... and {} more (--top N shows more)", count(finding.count - shown))?;
    }
    writeln!(out)?;
    Ok(())
}

fn as_json(
    observer: &Observer,
    verdict: Verdict,
    top: usize,
    sites: &BTreeMap<u64, String>,
) -> Value {
    let evidence = |evidence: &Evidence| {
        json!({
            "event": (evidence.event > 0).then_some(evidence.event),
            "pid": evidence.pid,
            "tid": evidence.tid,
            "site": sites.get(&evidence.event),
            "what": evidence.what,
        })
    };
    let findings: Vec<Value> = Kind::ALL
        .iter()
        .filter_map(|kind| Some((kind, observer.findings.get(kind)?)))
        .map(|(kind, finding)| {
            json!({
                "kind": kind.name(),
                "severity": kind.severity().name(),
                "title": kind.title(),
                "advice": kind.advice(),
                "count": finding.count,
                "evidence": finding.evidence.iter().take(top).map(evidence).collect::<Vec<_>>(),
            })
        })
        .collect();
    json!({
        "verdict": verdict.name(),
        "events": observer.events,
        "conforming": observer.conforming,
        "findings": findings,
        "before_6_17": OldKernels::of(observer).name(),
    })
}
