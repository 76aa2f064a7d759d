//! The first sections: who recorded, sums, outcomes, failures, threads, findings, growth chains.

use std::fmt::Write;

use mremap_trace::Outcome;

use super::collect::Examples;
use super::markup::{number, section, table};
use crate::findings::Severity;
use crate::load::Traces;
use crate::model::units::{count, counted, date_and_time, duration, size};
use crate::picture::svg::escape;
use crate::stats::Overview;
use crate::symbols::Symbols;

/// Rows of the table of threads.
const MOST_THREADS: usize = 200;
/// Rows of the table of growth chains.
const MOST_CHAINS: usize = 50;

/// Who recorded, what came of it, and what was found.
pub fn overview(traces: &Traces, overview: &Overview) -> String {
    let mut body = String::new();
    for process in traces.processes.iter().take(20) {
        let _ = write!(
            body,
            "<p><b>{}</b> (pid {}) on {}: <code>{}</code><br>kernel {}, shim {}, started {} UTC; {} calls not recorded</p>",
            escape(&process.exe),
            process.header.pid,
            escape(&process.host),
            escape(&process.command_line),
            escape(&process.kernel),
            escape(&process.shim_version),
            date_and_time(process.header.realtime_ns),
            process.header.lost(),
        );
    }
    for damage in traces.damage() {
        let _ = write!(body, "<p class=\"bad\">DAMAGED: {}</p>", escape(&damage.to_string()));
    }
    body.push_str(&sums(overview));
    let mut rows = String::new();
    for (name, outcome) in Outcome::NAMES.iter().zip(&overview.outcomes) {
        let times = &outcome.times;
        if times.count() == 0 {
            continue;
        }
        let _ = write!(rows, "<tr><td>{name}</td>{}", number(&count(times.count()), times.count()));
        rows.push_str(&number(&count(outcome.failed), outcome.failed));
        for percent in [50.0, 90.0, 99.0, 100.0] {
            let ns = times.percentile(percent);
            rows.push_str(&number(&duration(ns), ns));
        }
        let _ = write!(rows, "{}</tr>", number(&duration(times.sum()), times.sum()));
    }
    let columns = ["outcome", ">calls", ">failed", ">p50", ">p90", ">p99", ">max", ">total"];
    body.push_str(&table("outcomes", &columns, &rows));
    for (why, failure) in &overview.failures {
        let _ = write!(
            body,
            "<p><b class=\"bad\">{} x {}</b>: {} First from {}.</p>",
            count(failure.calls),
            why.errno(),
            escape(&format!("{}; {}.", why.reason.cause(), why.reason.remedy())),
            escape(&failure.site.name())
        );
    }
    body.push_str(&threads(traces, overview));
    section("overview", "Overview", &body)
}

/// The figures that everybody asks for first.
fn sums(overview: &Overview) -> String {
    let failed: u64 = overview.outcomes.iter().map(|outcome| outcome.failed).sum();
    let time: u64 = overview.outcomes.iter().map(|outcome| outcome.times.sum()).sum();
    let moves = &overview.moves;
    let figures = [
        ("calls", count(overview.calls)),
        ("failed", count(failed)),
        ("in mremap", duration(time)),
        ("moves taken apart", count(moves.parts.count())),
        ("VMAs moved", count(moves.parts.sum())),
        ("gaps", count(moves.gaps.sum())),
        ("bytes relocated", size(overview.total().bytes.relocated())),
        ("bytes grown in place", size(overview.total().bytes.grown_in_place())),
    ];
    let list = figures.iter().fold(String::new(), |mut list, (name, value)| {
        let _ = write!(list, "<div><dd>{value}</dd><dt>{name}</dt></div>");
        list
    });
    format!("<dl class=\"sums\">{list}</dl>")
}

/// Processes and threads, where there are several.
fn threads(traces: &Traces, overview: &Overview) -> String {
    let mut rows = String::new();
    let mut shown = 0;
    for stats in overview.processes.iter().filter(|stats| stats.total.calls > 0) {
        let Some(process) = traces.processes.get(stats.process) else {
            continue;
        };
        let name = escape(process.exe.rsplit('/').next().unwrap_or_default());
        for (tid, share) in &stats.threads {
            shown += 1;
            if shown > MOST_THREADS {
                continue;
            }
            let _ = write!(
                rows,
                "<tr><td>{name}</td>{}{}{}{}{}{}</tr>",
                number(&process.header.pid.to_string(), process.header.pid.into()),
                number(&tid.to_string(), (*tid).into()),
                number(&count(share.calls), share.calls),
                number(&duration(share.time), share.time),
                number(&size(share.bytes.relocated()), share.bytes.relocated()),
                number(&count(share.failed), share.failed)
            );
        }
    }
    if shown < 2 {
        return String::new();
    }
    let columns =
        ["program", ">process", ">thread", ">calls", ">time", ">bytes relocated", ">failed"];
    let more = match shown.saturating_sub(MOST_THREADS) {
        0 => String::new(),
        more => format!("<p>... and {more} more threads</p>"),
    };
    format!("<h3>Threads</h3>{}{more}", table("threads", &columns, &rows))
}

/// What `check` says, in short.
pub fn findings(examples: &Examples) -> String {
    let mut body = String::new();
    for (kind, finding) in &examples.observer.findings {
        let class = match kind.severity() {
            Severity::Error => "bad",
            Severity::Warning => "warn",
            Severity::Note | Severity::CannotSay => "dim",
        };
        let first = finding.evidence.first().map_or("", |evidence| evidence.what.as_str());
        let _ = write!(
            body,
            "<p><b class=\"{class}\">{}: {}</b> ({}). {} <span class=\"dim\">First: {}.</span></p>",
            kind.severity().name(),
            escape(kind.title()),
            counted(finding.count, "time"),
            escape(kind.advice()),
            escape(first)
        );
    }
    if body.is_empty() {
        body.push_str("<p>Nothing was found.</p>");
    }
    body
}

/// Mappings grown again and again.
pub fn chains(traces: &Traces, overview: &Overview, symbols: &Symbols) -> String {
    let mut rows = String::new();
    let worth = overview.chains.iter().filter(|(_, chain)| chain.calls_saved() > 0);
    for (of, chain) in worth.take(MOST_CHAINS) {
        let Some(process) = traces.processes.get(*of) else {
            continue;
        };
        let site = overview.chain_site(process, *of, chain, symbols).name();
        let _ = write!(rows, "<tr><td>{}</td>", escape(&site));
        let (doubling, saved) = (chain.growths_by_doubling(), chain.time_saved());
        for (text, value) in [
            (count(chain.growths), chain.growths),
            (count(chain.moves), chain.moves),
            (size(chain.first_len), chain.first_len),
            (size(chain.most_len), chain.most_len),
            (count(doubling), doubling),
            (duration(saved), saved),
        ] {
            rows.push_str(&number(&text, value));
        }
        rows.push_str("</tr>");
    }
    if rows.is_empty() {
        return "<p>No mapping was grown again and again.</p>".to_owned();
    }
    let columns = ["call site", ">calls", ">moved", ">from", ">to", ">calls by doubling", ">saves"];
    let table = table("chain", &columns, &rows);
    format!(
        "<p>One mapping each, followed from address to address, and what doubling it each time would have saved.</p>{table}"
    )
}
