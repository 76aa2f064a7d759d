//! The page's tables.

use maud::{Markup, PreEscaped, html};
use mremap_trace::Outcome;
use serde_json::{Value, json};

use super::Content;
use crate::findings::Severity;
use crate::load::Process;
use crate::model::names;
use crate::model::text::{Hex, Interner};
use crate::model::units::{aligned_size, count, counted, date_and_time, duration, percent, size};
use crate::named::Named;
use crate::picture::svg;
use crate::report::{self, Sort, sorted};
use crate::show;

/// Limit on rows of a table.
const MAX_ROWS: usize = 500;
/// Rows of the table of calls in the markup. The script has the others as data.
const ROWS_WITHOUT_SCRIPT: usize = 20;

/// A cell with a number and the value it is sorted by.
fn number(text: &str, value: u64) -> Markup {
    html! { td.n data-v=(value) { (text) } }
}

/// A table that scrolls by itself. A `>` before a column's name marks numbers.
fn table(id: &str, columns: &[&str], rows: &[Markup]) -> Markup {
    html! {
        div.scroll tabindex="0" {
            table #(id) .paged {
                thead { tr { @for column in columns {
                    @let name = column.trim_start_matches('>');
                    th.n[*column != name] scope="col" { button type="button" { (name) } }
                } } }
                tbody { @for row in rows { (row) } }
            }
        }
    }
}

/// Calls by outcome.
pub fn outcomes(content: &Content<'_>) -> Markup {
    let named = Outcome::NAMES.iter().zip(&content.overview.outcomes);
    let rows: Vec<Markup> = named
        .filter(|(_, outcome)| outcome.times.count() > 0)
        .map(|(name, outcome)| {
            let times = &outcome.times;
            html! { tr {
                td { (name) }
                (number(&count(times.count()), times.count()))
                (number(&count(outcome.failed), outcome.failed))
                @for percent in [50.0, 90.0, 99.0, 100.0] {
                    @let ns = times.percentile(percent);
                    (number(&duration(ns), ns))
                }
                (number(&duration(times.sum()), times.sum()))
            } }
        })
        .collect();
    let columns = ["outcome", ">calls", ">failed", ">p50", ">p90", ">p99", ">max", ">total"];
    table("outcomes", &columns, &rows)
}

/// Call sites by time.
pub fn sites(content: &Content<'_>) -> Markup {
    let time = content.overview.total().times.sum();
    let sites = sorted(&content.overview.sites, Sort::Time).into_iter().take(MAX_ROWS);
    let rows: Vec<Markup> = sites
        .map(|named| {
            let (stats, times) = (&named.stats, &named.stats.times);
            html! { tr {
                td title=(named.site.place()) { (named.site.name()) }
                (number(&count(stats.calls()), stats.calls()))
                (number(&duration(times.sum()), times.sum()))
                (number(&percent(times.sum(), time), times.sum()))
                @for share in [50.0, 99.0] {
                    @let ns = times.percentile(share);
                    (number(&duration(ns), ns))
                }
                @for bytes in [stats.bytes.relocated(), stats.bytes.grown_in_place()] {
                    (number(&aligned_size(bytes), bytes))
                }
                (number(&count(stats.failed), stats.failed))
            } }
        })
        .collect();
    let columns = [
        "call site",
        ">calls",
        ">time",
        ">share",
        ">p50",
        ">p99",
        ">relocated",
        ">grown in place",
        ">failed",
    ];
    table("site", &columns, &rows)
}

/// Failures by errno and reason.
pub fn failures(content: &Content<'_>) -> Markup {
    let mut failures: Vec<_> = content.overview.failures.iter().collect();
    failures.sort_by_key(|(_, failure)| std::cmp::Reverse(failure.calls));
    let rows: Vec<Markup> = failures
        .into_iter()
        .map(|(why, failure)| {
            html! { tr {
                (number(&count(failure.calls), failure.calls))
                td.bad { (why.errno()) }
                td.text { (why.reason.cause()) }
                td.text { (why.reason.remedy()) }
                td { (failure.site.name()) }
            } }
        })
        .collect();
    if rows.is_empty() {
        return html! { p { "No call failed." } };
    }
    table("failure", &[">calls", "errno", "cause", "what to do", "first call site"], &rows)
}

/// Findings of `check`.
pub fn findings(content: &Content<'_>) -> Markup {
    let rows: Vec<Markup> = content
        .examples
        .observer
        .findings
        .iter()
        .map(|(kind, finding)| {
            let class = match kind.severity() {
                Severity::Error => "bad",
                Severity::Warning => "warn",
                Severity::Note | Severity::CannotSay => "dim",
            };
            let first = finding.evidence.first().map_or("", |evidence| evidence.what.as_str());
            html! { tr {
                td.(class) { (kind.severity().name()) }
                (number(&count(finding.count), finding.count))
                td.text { (kind.title()) }
                td.text { (kind.advice()) }
                td.text { (first) }
            } }
        })
        .collect();
    if rows.is_empty() {
        return html! { p { "Nothing was found." } };
    }
    table("finding", &["severity", ">times", "finding", "what to do", "first evidence"], &rows)
}

/// Processes with calls, and what is known of each. Those without calls are only counted.
pub fn processes(content: &Content<'_>) -> Markup {
    let (traces, overview) = (content.traces, content.overview);
    let time = overview.total().times.sum();
    let busy = overview.processes.iter().filter(|stats| stats.total.calls > 0);
    let rows: Vec<Markup> = busy
        .clone()
        .take(MAX_ROWS)
        .filter_map(|stats| {
            let process = traces.processes.get(stats.process)?;
            let (header, total) = (&process.header, &stats.total);
            Some(html! { tr {
                td title=(process.command_line) { (program(process)) }
                (number(&header.pid.to_string(), header.pid.into()))
                (number(&count(stats.threads.len() as u64), stats.threads.len() as u64))
                (number(&count(total.calls), total.calls))
                (number(&duration(total.time), total.time))
                (number(&percent(total.time, time), total.time))
                (number(&aligned_size(total.bytes.relocated()), total.bytes.relocated()))
                (number(&count(total.failed), total.failed))
                (number(&count(header.lost()), header.lost()))
                td { (process.host) ", Linux " (process.kernel) }
                td { (date_and_time(header.realtime_ns)) }
            } })
        })
        .collect();
    let columns = [
        "program",
        ">pid",
        ">threads",
        ">calls",
        ">time",
        ">share",
        ">relocated",
        ">failed",
        ">lost",
        "host",
        "started (UTC)",
    ];
    let all = traces.processes.iter().filter(|process| overview.counts(process)).count();
    let idle = all - busy.count().min(all);
    let notes = report::notes(content.traces, content.overview, content.symbols);
    html! {
        (table("process", &columns, &rows))
        @if idle > 0 { p.dim { (counted(idle as u64, "process image")) " without calls." } }
        @for damage in traces.damage().iter().take(20) { p.bad { (damage) } }
        @if !notes.is_empty() {
            details.dim {
                summary { (counted(notes.len() as u64, "note")) " on the names of call sites" }
                @for note in notes.iter().take(20) { p { (note) } }
            }
        }
    }
}

/// Name of a process's program.
pub fn program(process: &Process) -> &str {
    process.exe.rsplit('/').next().unwrap_or_default()
}

/// Mappings that grew step by step.
pub fn chains(content: &Content<'_>) -> Markup {
    let worth = content.overview.chains.iter().filter(|(_, chain)| chain.calls_saved() > 0);
    let rows: Vec<Markup> = worth
        .take(MAX_ROWS)
        .filter_map(|(process_index, chain)| {
            let process = content.traces.processes.get(*process_index)?;
            let site =
                content.overview.chain_site(process, *process_index, chain, content.symbols).name();
            let (doubled, saved) = (chain.growths_by_doubling(), chain.time_saved());
            Some(html! { tr {
                td { (site) }
                td { (Hex(chain.first)) " → " (Hex(chain.last)) }
                (number(&count(chain.growths), chain.growths))
                (number(&count(chain.moves), chain.moves))
                (number(&aligned_size(chain.first_len), chain.first_len))
                (number(&aligned_size(chain.max_len), chain.max_len))
                (number(&count(doubled), doubled))
                (number(&duration(saved), saved))
            } })
        })
        .collect();
    if rows.is_empty() {
        return html! { p { "No mapping grew step by step." } };
    }
    let columns =
        ["call site", "addresses", ">growths", ">moved", ">from", ">to", ">if doubled", ">saves"];
    html! {
        p { "Each row is one mapping, followed from address to address, and what doubling its size would save." }
        (table("chain", &columns, &rows))
    }
}

/// Pictures of moves, side by side or one at a time.
pub fn moves(content: &Content<'_>) -> Markup {
    let examples = &content.examples;
    let drawn = examples.events.iter().filter(|named| examples.drawn.contains(&named.event.number));
    html! {
        @if examples.drawn.is_empty() {
            p { "No parts were recorded: emulated moves have them, and all moves with " code { "--detail vmas" } "." }
        } @else {
            div #pictures {
                @for named in drawn {
                    figure id=(format!("e{}", named.event.number)) {
                        (PreEscaped(svg::document(&named.event, &show::title_of(named))))
                    }
                }
            }
        }
    }
}

/// Listed calls: a first page in the markup, all of them as data for the script.
pub fn calls(content: &Content<'_>) -> Markup {
    let examples = &content.examples;
    let start = content.traces.start();
    let rows: Vec<Markup> = examples
        .events
        .iter()
        .take(ROWS_WITHOUT_SCRIPT)
        .map(|named| call_row(named, start))
        .collect();
    let columns = [
        ">event",
        ">time",
        ">thread",
        "outcome",
        "result",
        ">took",
        ">requested",
        ">relocated",
        ">parts",
        ">gaps",
        "call site",
    ];
    html! {
        p {
            (count(examples.events.len() as u64)) " of " (counted(examples.total, "call"))
            ": the slowest, failed ones, moves with recorded parts, and an even sample of the rest."
        }
        (table("call", &columns, &rows))
        script #calls type="application/json" { (PreEscaped(data(content, start).to_string().replace('<', "\\u003c"))) }
    }
}

fn call_row(named: &Named, start: u64) -> Markup {
    let event = &named.event;
    let since = named.wall_clock.saturating_sub(start);
    html! { tr {
        (number(&event.number.to_string(), event.number))
        (number(&format!("{:.6} s", since as f64 / 1e9), since))
        (number(&event.tid.to_string(), event.tid.into()))
        td { (event.call.outcome.name()) }
        td.bad[event.call.errno().is_some()] { (result(named)) }
        (number(&duration(named.duration), named.duration))
        (number(&size(named.bytes.requested()), named.bytes.requested()))
        (number(&size(named.bytes.relocated()), named.bytes.relocated()))
        (number(&count(event.parts.len() as u64), event.parts.len() as u64))
        (number(&count(event.gaps.len() as u64), event.gaps.len() as u64))
        td { (named.site.name) }
    } }
}

fn result(named: &Named) -> String {
    let call = &named.event.call;
    call.errno().map_or_else(|| Hex(call.result as u64).to_string(), names::errno)
}

/// `sites`, `causes` and `drawn`, and rows that refer to them.
fn data(content: &Content<'_>, start: u64) -> Value {
    let mut texts = Interner::<String>::default();
    let examples = &content.examples;
    let rows: Vec<Value> = examples
        .events
        .iter()
        .map(|named| {
            let event = &named.event;
            json!([
                event.number,
                named.wall_clock.saturating_sub(start),
                event.tid,
                texts.index(event.call.outcome.name()),
                texts.index(&result(named)),
                named.duration,
                named.bytes.requested(),
                named.bytes.relocated(),
                event.parts.len(),
                event.gaps.len(),
                texts.index(&named.site.name),
                named.why.map(|why| texts.index(why.reason.cause())),
            ])
        })
        .collect();
    json!({"texts": texts.all, "drawn": examples.drawn, "rows": rows})
}
