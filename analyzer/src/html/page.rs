//! The page itself.

use std::collections::BTreeMap;
use std::fmt::Write;

use super::charts;
use super::collect::Examples;
use crate::findings::Severity;
use crate::load::Traces;
use crate::model::names;
use crate::model::units::{count, date_and_time, duration, size};
use crate::named::Named;
use crate::picture::svg::{self, escape};
use crate::show;
use crate::stats::Overview;
use crate::symbols::Symbols;

/// Pieces of one drawing.
const MOST_PIECES: usize = 400;
/// Rows of the table of threads.
const MOST_THREADS: usize = 200;
/// Rows of the table of growth chains.
const MOST_CHAINS: usize = 50;
/// Rows of the table of call sites.
const MOST_SITES: usize = 500;

const STYLE: &str = include_str!("page.css");
const SCRIPT: &str = include_str!("page.js");

/// The whole document.
pub fn render(traces: &Traces, overview: &Overview, examples: &Examples, symbols: &Symbols) -> String {
    let title = traces
        .processes
        .first()
        .map_or_else(String::new, |process| escape(&process.exe));
    let mut page = format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><title>mremap: {title}</title>\
         <meta name=\"viewport\" content=\"width=device-width\"><link rel=\"icon\" href=\"data:,\">\
         <style>{STYLE}</style></head><body><h1>mremap: {title}</h1>\
         <nav><a href=\"#overview\">Overview</a> <a href=\"#findings\">Findings</a> <a href=\"#timeline\">Timeline</a> \
         <a href=\"#latency\">Latency</a> <a href=\"#sites\">Call sites</a> <a href=\"#chains\">Growth chains</a> \
         <a href=\"#events\">Events</a> <a href=\"#moves\">Moves</a></nav><main>"
    );
    page.push_str(&heads(traces, overview));
    page.push_str(&section("findings", "Findings", &findings(examples)));
    page.push_str(&section("timeline", "Timeline", &charts::timeline(overview)));
    page.push_str(&section("latency", "Latency", &charts::latency(overview)));
    page.push_str(&sites(overview));
    page.push_str(&section(
        "chains",
        "Growth chains",
        &chains(traces, overview, symbols),
    ));
    page.push_str(&events(examples));
    page.push_str(&moves(examples));
    let _ = writeln!(page, "</main><script>{SCRIPT}</script></body></html>");
    page
}

fn section(id: &str, heading: &str, body: &str) -> String {
    format!("<section id=\"{id}\"><h2>{heading}</h2>{body}</section>")
}

/// A table that scrolls by itself where the page is narrow. A `>` before a column's name stands for numbers,
/// which carry what they are sorted by.
fn table(id: &str, columns: &[&str], rows: &str) -> String {
    let heads = columns.iter().fold(String::new(), |mut heads, name| {
        let (class, name) = match name.strip_prefix('>') {
            Some(name) => (" class=\"n\"", name),
            None => ("", *name),
        };
        let _ = write!(
            heads,
            "<th scope=\"col\"{class}><button type=\"button\">{name}</button></th>"
        );
        heads
    });
    format!(
        "<div class=\"scroll\" tabindex=\"0\"><table id=\"{id}\" class=\"sortable\"><thead><tr>{heads}</tr></thead>\
         <tbody>{rows}</tbody></table></div>"
    )
}

fn number(text: &str, value: u64) -> String {
    format!("<td class=\"n\" data-v=\"{value}\">{text}</td>")
}

fn heads(traces: &Traces, overview: &Overview) -> String {
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
        let _ = write!(
            body,
            "<p class=\"bad\">DAMAGED: {}</p>",
            escape(&damage.to_string())
        );
    }
    body.push_str(&sums(overview));
    let mut rows = String::new();
    for (name, outcome) in names::OUTCOMES.iter().zip(&overview.outcomes) {
        let times = &outcome.times;
        if times.count() == 0 {
            continue;
        }
        let _ = write!(
            rows,
            "<tr><td>{name}</td>{}",
            number(&count(times.count()), times.count())
        );
        rows.push_str(&number(&count(outcome.failed), outcome.failed));
        for percent in [50.0, 90.0, 99.0, 100.0] {
            let ns = times.percentile(percent);
            rows.push_str(&number(&duration(ns), ns));
        }
        let _ = write!(rows, "{}</tr>", number(&duration(times.sum()), times.sum()));
    }
    let columns = [
        "outcome", ">calls", ">failed", ">p50", ">p90", ">p99", ">max", ">total",
    ];
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
        ("memory moved", size(moves.bytes.sum())),
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
                number(&size(share.bytes), share.bytes),
                number(&count(share.failed), share.failed)
            );
        }
    }
    if shown < 2 {
        return String::new();
    }
    let columns = [
        "program", ">process", ">thread", ">calls", ">time", ">bytes", ">failed",
    ];
    let more = match shown.saturating_sub(MOST_THREADS) {
        0 => String::new(),
        more => format!("<p>... and {more} more threads</p>"),
    };
    format!("<h3>Threads</h3>{}{more}", table("threads", &columns, &rows))
}

/// What `check` says, in short.
fn findings(examples: &Examples) -> String {
    let mut body = String::new();
    for (kind, finding) in &examples.observer.findings {
        let class = match kind.severity() {
            Severity::Error => "bad",
            Severity::Warning => "warn",
            Severity::Note | Severity::CannotSay => "dim",
        };
        let first = finding
            .evidence
            .first()
            .map_or("", |evidence| evidence.what.as_str());
        let _ = write!(
            body,
            "<p><b class=\"{class}\">{}: {}</b> ({} times). {} <span class=\"dim\">First: {}.</span></p>",
            kind.severity().name(),
            escape(kind.title()),
            count(finding.count),
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
fn chains(traces: &Traces, overview: &Overview, symbols: &Symbols) -> String {
    let mut rows = String::new();
    let worth = overview
        .chains
        .iter()
        .filter(|(_, chain)| chain.calls_saved() > 0);
    for (of, chain) in worth.take(MOST_CHAINS) {
        let Some(process) = traces.processes.get(*of) else {
            continue;
        };
        let site = symbols.site(process, *of, chain.caller).name();
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
    let columns = [
        "call site",
        ">calls",
        ">moved",
        ">from",
        ">to",
        ">calls by doubling",
        ">saves",
    ];
    let table = table("chain", &columns, &rows);
    format!(
        "<p>One mapping each, followed from address to address, and what doubling it each time would have saved.</p>{table}"
    )
}

fn sites(overview: &Overview) -> String {
    let mut rows = String::new();
    for named in overview.sites.iter().take(MOST_SITES) {
        let stats = &named.stats;
        let _ = write!(
            rows,
            "<tr><td title=\"{}\">{}</td>",
            escape(&named.site.place()),
            escape(&named.site.name())
        );
        for (text, value) in [
            (count(stats.calls()), stats.calls()),
            (duration(stats.times.sum()), stats.times.sum()),
            (
                duration(stats.times.percentile(50.0)),
                stats.times.percentile(50.0),
            ),
            (
                duration(stats.times.percentile(99.0)),
                stats.times.percentile(99.0),
            ),
            (size(stats.bytes()), stats.bytes()),
            (count(stats.failed), stats.failed),
        ] {
            rows.push_str(&number(&text, value));
        }
        rows.push_str("</tr>");
    }
    let columns = [
        "call site",
        ">calls",
        ">time",
        ">p50",
        ">p99",
        ">bytes",
        ">failed",
    ];
    let body = format!(
        "{}<h3>As a tree, by time</h3>{}",
        table("site", &columns, &rows),
        tree(overview)
    );
    section("sites", "Call sites", &body)
}

/// Modules, functions, lines: nested, each with its share of the time.
fn tree(overview: &Overview) -> String {
    let total: u64 = overview.sites.iter().map(|named| named.stats.times.sum()).sum();
    let mut modules: BTreeMap<String, Vec<(String, u64, u64)>> = BTreeMap::new();
    for named in overview.sites.iter().take(MOST_SITES) {
        let module = named
            .site
            .module
            .clone()
            .unwrap_or_else(|| "no module".to_owned());
        let stack = named.site.stack().join(" › ");
        let entry = (stack, named.stats.times.sum(), named.stats.calls());
        modules.entry(module).or_default().push(entry);
    }
    let percent = |time: u64| time as f64 * 100.0 / total.max(1) as f64;
    let mut text = String::new();
    for (module, mut stacks) in modules {
        stacks.sort_by_key(|(_, time, _)| std::cmp::Reverse(*time));
        let time: u64 = stacks.iter().map(|(_, time, _)| time).sum();
        let _ = write!(
            text,
            "<details open><summary>{} <span>{:.1} %, {}</span></summary><ul>",
            escape(&module),
            percent(time),
            duration(time)
        );
        for (stack, time, calls) in stacks {
            let share = percent(time);
            let _ = write!(
                text,
                "<li><i style=\"width:{share:.1}%\"></i>{} <span>{share:.1} %, {} calls</span></li>",
                escape(&stack),
                count(calls)
            );
        }
        text.push_str("</ul></details>");
    }
    text
}

fn events(examples: &Examples) -> String {
    let mut rows = String::new();
    for named in &examples.events {
        rows.push_str(&event_row(named, examples.drawn.contains(&named.event.number)));
    }
    let body = format!(
        "<p>{} of {} events: the slowest, failed ones, moves taken apart, and an even sample of the rest. \
         Those drawn below are links. <label>Only with <input id=\"filter\" type=\"search\"></label> \
         <span id=\"shown\" aria-live=\"polite\"></span></p>{}",
        count(examples.events.len() as u64),
        count(examples.of),
        table(
            "event",
            &[
                ">event",
                ">since start",
                ">thread",
                "outcome",
                "result",
                ">took",
                ">bytes",
                ">VMAs",
                ">gaps",
                "call site"
            ],
            &rows
        )
    );
    section("events", "Events", &body)
}

fn event_row(named: &Named, drawn: bool) -> String {
    let (event, call) = (&named.event, &named.event.call);
    let number_of_it = if drawn {
        format!("<a href=\"#e{0}\">{0}</a>", event.number)
    } else {
        event.number.to_string()
    };
    let bad = named.why.map_or_else(String::new, |why| {
        format!(" class=\"bad\" title=\"{}\"", escape(why.reason.cause()))
    });
    let errno = call.errno();
    let result = errno.map_or_else(|| format!("{:#x}", call.result), names::errno);
    let bytes = call.old_len.max(call.new_len);
    format!(
        "<tr>{}{}{}<td>{}</td><td{bad}>{result}</td>{}{}{}{}<td>{}</td></tr>",
        number(&number_of_it, event.number),
        number(
            &format!("{:.6} s", named.since_start as f64 / 1e9),
            named.since_start
        ),
        number(&event.tid.to_string(), event.tid.into()),
        names::outcome(call.outcome),
        number(&duration(named.duration), named.duration),
        number(&size(bytes), bytes),
        number(&event.parts.len().to_string(), event.parts.len() as u64),
        number(&event.gaps.len().to_string(), event.gaps.len() as u64),
        escape(&named.site.name)
    )
}

fn moves(examples: &Examples) -> String {
    let mut body = String::new();
    for named in examples
        .events
        .iter()
        .filter(|named| examples.drawn.contains(&named.event.number))
    {
        if named.event.parts.len() + named.event.gaps.len() > MOST_PIECES {
            continue;
        }
        let title = show::title_of(named);
        let picture = svg::document(&named.event, &title);
        let _ = write!(body, "<figure id=\"e{}\">{picture}</figure>", named.event.number);
    }
    if body.is_empty() {
        body.push_str("<p>No move was taken apart: emulated ones are, and with --detail vmas all.</p>");
    }
    section("moves", "Moves", &body)
}
