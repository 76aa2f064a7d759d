//! The page itself.

use std::collections::BTreeMap;
use std::fmt::Write;

use super::collect::Examples;
use crate::load::Traces;
use crate::model::names;
use crate::model::units::{count, date_and_time, duration, size};
use crate::named::Named;
use crate::picture::svg::{self, escape};
use crate::show;
use crate::stats::{Histogram, Overview};

/// Pieces of one drawing.
const MOST_PIECES: usize = 400;
/// Rows of the table of call sites.
const MOST_SITES: usize = 500;

const STYLE: &str = include_str!("page.css");
const SCRIPT: &str = include_str!("page.js");

/// The whole document.
pub fn render(traces: &Traces, overview: &Overview, examples: &Examples) -> String {
    let title = traces
        .processes
        .first()
        .map_or_else(String::new, |process| escape(&process.exe));
    let mut page = format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><title>mremap: {title}</title>\
         <meta name=\"viewport\" content=\"width=device-width\"><link rel=\"icon\" href=\"data:,\">\
         <style>{STYLE}</style></head><body><h1>mremap: {title}</h1>\
         <nav><a href=\"#overview\">Overview</a> <a href=\"#timeline\">Timeline</a> <a href=\"#latency\">Latency</a> \
         <a href=\"#sites\">Call sites</a> <a href=\"#events\">Events</a> <a href=\"#moves\">Moves</a></nav><main>"
    );
    page.push_str(&heads(traces, overview));
    page.push_str(&timeline(overview));
    page.push_str(&latency(overview));
    page.push_str(&sites(overview));
    page.push_str(&events(examples));
    page.push_str(&moves(examples));
    let _ = writeln!(page, "</main><script>{SCRIPT}</script></body></html>");
    page
}

fn section(id: &str, heading: &str, body: &str) -> String {
    format!("<section id=\"{id}\"><h2>{heading}</h2>{body}</section>")
}

/// A table; numbers carry what they are sorted by.
fn table(id: &str, columns: &[&str], rows: &str) -> String {
    let heads = columns.iter().fold(String::new(), |mut heads, name| {
        let _ = write!(
            heads,
            "<th scope=\"col\"><button type=\"button\">{name}</button></th>"
        );
        heads
    });
    format!(
        "<table id=\"{id}\" class=\"sortable\"><thead><tr>{heads}</tr></thead><tbody>{rows}</tbody></table>"
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
    let columns = ["outcome", "calls", "failed", "p50", "p90", "p99", "max", "total"];
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
    section("overview", "Overview", &body)
}

/// Bars; the script zooms by narrowing the view box.
fn bars(id: &str, label: &str, values: &[(String, u64, u64)]) -> String {
    let most = values.iter().map(|(_, all, _)| *all).max().unwrap_or(0).max(1) as f64;
    let mut text = format!(
        "<svg id=\"{id}\" class=\"bars\" tabindex=\"0\" role=\"img\" aria-label=\"{label}\" preserveAspectRatio=\"none\" \
         viewBox=\"0 0 {} 100\">",
        values.len().max(1)
    );
    for (at, (title, all, bad)) in values.iter().enumerate().filter(|(_, (_, all, _))| *all > 0) {
        let height = |value: u64| value as f64 / most * 98.0;
        let _ = write!(
            text,
            "<g><title>{title}</title><rect x=\"{at}\" y=\"{:.1}\" width=\".9\" height=\"{:.1}\"/>",
            100.0 - height(*all).max(1.0),
            height(*all).max(1.0)
        );
        if *bad > 0 {
            let tall = height(*bad).max(1.0);
            let _ = write!(
                text,
                "<rect class=\"x\" x=\"{at}\" y=\"{:.1}\" width=\".9\" height=\"{tall:.1}\"/>",
                100.0 - tall
            );
        }
        text.push_str("</g>");
    }
    text.push_str("</svg>");
    text
}

fn timeline(overview: &Overview) -> String {
    let (bins, each) = overview.timeline.columns(600);
    let values: Vec<(String, u64, u64)> = bins
        .iter()
        .enumerate()
        .map(|(at, bin)| {
            let title = format!(
                "from {}: {} calls, {} failed, {} in mremap",
                duration(each.saturating_mul(at as u64)),
                count(bin.calls),
                count(bin.failed),
                duration(bin.time)
            );
            (title, bin.calls, bin.failed)
        })
        .collect();
    let body = format!(
        "<p>Calls over time; one bar is {}. Drag or press + and - to zoom, arrows to move, 0 for all.</p>{}\
         <p id=\"range\" aria-live=\"polite\" data-bin=\"{each}\">all: {}</p>",
        duration(each),
        bars("time", "calls over time", &values),
        duration(each.saturating_mul(values.len() as u64))
    );
    section("timeline", "Timeline", &body)
}

fn latency(overview: &Overview) -> String {
    let mut all = Histogram::default();
    for outcome in &overview.outcomes {
        all.merge(&outcome.times);
    }
    let values: Vec<(String, u64, u64)> = all
        .coarse(8)
        .into_iter()
        .map(|(from, to, calls)| {
            let title = format!("{} to {}: {} calls", duration(from), duration(to), count(calls));
            (title, calls, 0)
        })
        .collect();
    let body = format!(
        "<p>Calls by duration, from {} to {}; eight bars double it.</p>{}",
        duration(all.least()),
        duration(all.most()),
        bars("histogram", "calls by duration", &values)
    );
    section("latency", "Latency", &body)
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
            (size(stats.bytes), stats.bytes),
            (count(stats.failed), stats.failed),
        ] {
            rows.push_str(&number(&text, value));
        }
        rows.push_str("</tr>");
    }
    let columns = ["call site", "calls", "time", "p50", "p99", "bytes", "failed"];
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
        rows.push_str(&event_row(named));
    }
    let body = format!(
        "<p>{} of {} events: the slowest, failed ones, moves taken apart, and an even sample of the rest. \
         <label>Only with <input id=\"filter\" type=\"search\"></label></p>{}",
        count(examples.events.len() as u64),
        count(examples.of),
        table(
            "event",
            &[
                "event",
                "since start",
                "thread",
                "outcome",
                "result",
                "took",
                "bytes",
                "VMAs",
                "gaps",
                "call site"
            ],
            &rows
        )
    );
    section("events", "Events", &body)
}

fn event_row(named: &Named) -> String {
    let (event, call) = (&named.event, &named.event.call);
    let errno = call.errno();
    let result = errno.map_or_else(|| format!("{:#x}", call.result), names::errno);
    let bytes = call.old_len.max(call.new_len);
    format!(
        "<tr>{}{}{}<td>{}</td><td{}>{result}</td>{}{}{}{}<td>{}</td></tr>",
        number(&event.number.to_string(), event.number),
        number(
            &format!("{:.6} s", named.since_start as f64 / 1e9),
            named.since_start
        ),
        number(&event.tid.to_string(), event.tid.into()),
        names::outcome(call.outcome),
        if errno.is_some() { " class=\"bad\"" } else { "" },
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
        let _ = write!(body, "<figure>{}</figure>", svg::document(&named.event, &title));
    }
    if body.is_empty() {
        body.push_str("<p>No move was taken apart: emulated ones are, and with --detail vmas all.</p>");
    }
    section("moves", "Moves", &body)
}
