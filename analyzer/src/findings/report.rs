//! Findings before people, or as JSON.

use std::io::Write;

use anyhow::Result;
use serde_json::{Value, json};

use super::finding::{Evidence, Finding, Kind, Severity};
use super::observer::Observer;
use crate::load::Traces;
use crate::model::units::count;
use crate::report::table::Paper;
use crate::symbols::Symbols;

/// What a script wants to know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing was found.
    Clean,
    /// Something was found.
    Findings,
    /// Nothing was found, and not everything could be looked at.
    CannotSay,
}

impl Verdict {
    fn of(observer: &Observer) -> Self {
        let severities = || observer.findings.keys().map(|kind| kind.severity());
        if severities().any(|severity| severity != Severity::CannotSay) {
            Self::Findings
        } else if severities().count() > 0 {
            Self::CannotSay
        } else {
            Self::Clean
        }
    }

    /// Exit status.
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

/// Writes what was found.
///
/// # Errors
/// Standard output cannot be written.
pub fn write(
    traces: &Traces,
    observer: &Observer,
    symbols: &Symbols,
    (json, top): (bool, usize),
    out: &mut dyn Write,
) -> Result<Verdict> {
    let verdict = Verdict::of(observer);
    let site = |evidence: &Evidence| {
        let (of, caller) = evidence.site;
        let process = traces.processes.get(of).filter(|_| evidence.event > 0);
        process.map(|process| symbols.site(process, of, caller).name())
    };
    if json {
        let value = as_json(observer, verdict, top, &site);
        serde_json::to_writer_pretty(&mut *out, &value)?;
        writeln!(out)?;
        return Ok(verdict);
    }
    let paper = Paper::of_stdout();
    for kind in Kind::ALL {
        if let Some(finding) = observer.findings.get(&kind) {
            write_finding(kind, finding, top, &paper, &site, out)?;
        }
    }
    writeln!(
        out,
        "{} events looked at, {} emulated calls recomputed and the same: {}",
        count(observer.events),
        count(observer.conforming),
        match verdict {
            Verdict::Clean => "nothing found",
            Verdict::Findings => "see above",
            Verdict::CannotSay => "nothing found, but not everything could be looked at",
        }
    )?;
    Ok(verdict)
}

fn write_finding(
    kind: Kind,
    finding: &Finding,
    top: usize,
    paper: &Paper,
    site: &dyn Fn(&Evidence) -> Option<String>,
    out: &mut dyn Write,
) -> Result<()> {
    let severity = kind.severity();
    let label = match severity {
        Severity::Error => paper.bad(severity.name()),
        Severity::Warning => paper.doubtful(severity.name()),
        Severity::Note | Severity::CannotSay => paper.faint(severity.name()),
    };
    let times = if finding.count == 1 { "" } else { " times" };
    let counted = if finding.count == 1 {
        "once".to_owned()
    } else {
        count(finding.count)
    };
    writeln!(
        out,
        "{label} {}: {} ({counted}{times})",
        kind.name(),
        paper.heading(kind.title())
    )?;
    writeln!(out, "{}", paper.wrap(kind.advice(), 2))?;
    for evidence in finding.evidence.iter().take(top) {
        let place = match site(evidence) {
            Some(site) => format!("event {} at {site}: ", evidence.event),
            None => String::new(),
        };
        writeln!(out, "{}", paper.wrap(&format!("- {place}{}", evidence.what), 4))?;
    }
    let shown = finding.evidence.len().min(top) as u64;
    if finding.count > shown && finding.evidence.len() > 1 {
        writeln!(
            out,
            "    ... and {} more (--top N shows more)",
            count(finding.count - shown)
        )?;
    }
    writeln!(out)?;
    Ok(())
}

fn as_json(
    observer: &Observer,
    verdict: Verdict,
    top: usize,
    site: &dyn Fn(&Evidence) -> Option<String>,
) -> Value {
    let evidence = |evidence: &Evidence| {
        json!({
            "event": (evidence.event > 0).then_some(evidence.event),
            "pid": evidence.pid,
            "tid": evidence.tid,
            "site": site(evidence),
            "what": evidence.what,
        })
    };
    let findings: Vec<Value> = Kind::ALL
        .into_iter()
        .filter_map(|kind| Some((kind, observer.findings.get(&kind)?)))
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
    })
}
