//! The page itself.

use std::collections::BTreeMap;
use std::fmt::Write;

use super::collect::Examples;
use super::markup::{number, section, table};
use super::{charts, overview};
use crate::load::Traces;
use crate::model::names;
use crate::model::units::{count, duration, size};
use crate::named::Named;
use crate::picture::svg::{self, escape};
use crate::show;
use crate::stats::Overview;
use crate::symbols::Symbols;

/// Pieces of one drawing.
const MOST_PIECES: usize = 400;
/// Rows of the table of call sites.
const MOST_SITES: usize = 500;

const STYLE: &str = include_str!("page.css");
const SCRIPT: &str = include_str!("page.js");

/// The whole document.
pub fn render(
    traces: &Traces,
    overview: &Overview,
    examples: &Examples,
    symbols: &Symbols,
) -> String {
    let title = traces.processes.first().map_or_else(String::new, |process| escape(&process.exe));
    let mut page = format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><title>mremap: {title}</title>\
         <meta name=\"viewport\" content=\"width=device-width\"><link rel=\"icon\" href=\"data:,\">\
         <style>{STYLE}</style></head><body><h1>mremap: {title}</h1>\
         <nav><a href=\"#overview\">Overview</a> <a href=\"#findings\">Findings</a> <a href=\"#timeline\">Timeline</a> \
         <a href=\"#latency\">Latency</a> <a href=\"#sites\">Call sites</a> <a href=\"#chains\">Growth chains</a> \
         <a href=\"#events\">Events</a> <a href=\"#moves\">Moves</a></nav><main>"
    );
    page.push_str(&overview::overview(traces, overview));
    page.push_str(&section("findings", "Findings", &overview::findings(examples)));
    page.push_str(&section("timeline", "Timeline", &charts::timeline(overview)));
    page.push_str(&section("latency", "Latency", &charts::latency(overview)));
    page.push_str(&sites(overview));
    page.push_str(&section(
        "chains",
        "Growth chains",
        &overview::chains(traces, overview, symbols),
    ));
    page.push_str(&events(examples));
    page.push_str(&moves(examples));
    let _ = writeln!(page, "</main><script>{SCRIPT}</script></body></html>");
    page
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
            (duration(stats.times.percentile(50.0)), stats.times.percentile(50.0)),
            (duration(stats.times.percentile(99.0)), stats.times.percentile(99.0)),
            (size(stats.bytes.relocated()), stats.bytes.relocated()),
            (count(stats.failed), stats.failed),
        ] {
            rows.push_str(&number(&text, value));
        }
        rows.push_str("</tr>");
    }
    let columns = ["call site", ">calls", ">time", ">p50", ">p99", ">bytes relocated", ">failed"];
    let body =
        format!("{}<h3>As a tree, by time</h3>{}", table("site", &columns, &rows), tree(overview));
    section("sites", "Call sites", &body)
}

/// Modules, functions, lines: nested, each with its share of the time.
fn tree(overview: &Overview) -> String {
    let total: u64 = overview.sites.iter().map(|named| named.stats.times.sum()).sum();
    let mut modules: BTreeMap<String, Vec<(String, u64, u64)>> = BTreeMap::new();
    for named in overview.sites.iter().take(MOST_SITES) {
        let module = named.site.module.clone().unwrap_or_else(|| "no module".to_owned());
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
        number(&format!("{:.6} s", named.since_start as f64 / 1e9), named.since_start),
        number(&event.tid.to_string(), event.tid.into()),
        call.outcome.name(),
        number(&duration(named.duration), named.duration),
        number(&size(bytes), bytes),
        number(&event.parts.len().to_string(), event.parts.len() as u64),
        number(&event.gaps.len().to_string(), event.gaps.len() as u64),
        escape(&named.site.name)
    )
}

fn moves(examples: &Examples) -> String {
    let mut body = String::new();
    for named in examples.events.iter().filter(|named| examples.drawn.contains(&named.event.number))
    {
        if named.event.parts.len() + named.event.gaps.len() > MOST_PIECES {
            continue;
        }
        let title = show::title_of(named);
        let picture = svg::document(&named.event, &title);
        let _ = write!(body, "<figure id=\"e{}\">{picture}</figure>", named.event.number);
    }
    if body.is_empty() {
        body.push_str(
            "<p>No move was taken apart: emulated ones are, and with --detail vmas all.</p>",
        );
    }
    section("moves", "Moves", &body)
}
