//! The report's tables, one function each, in the order they are printed.

use std::fmt::Write;

use mremap_trace::Outcome;

use super::table::{Table, TextStyle};
use super::{Options, Sort, sorted};
use crate::load::Traces;
use crate::model::units::{aligned_size, count, counted, duration, percent};
use crate::stats::{Histogram, MAX_SITES, Overview, SiteStats};
use crate::symbols::Symbols;

/// Input of every table.
pub struct Section<'a> {
    pub traces: &'a Traces,
    pub overview: &'a Overview,
    pub symbols: &'a Symbols,
    pub options: &'a Options,
    pub style: TextStyle,
}

/// Every table, in order. Each returns an empty string when it has no rows.
pub const ALL: [fn(&Section<'_>) -> String; 7] =
    [outcomes, placement, moves, failures, sites, processes, chains];

fn headed(section: &Section<'_>, heading: &str, body: &str) -> String {
    format!("\n{}\n{body}", section.style.heading(heading))
}

fn outcomes(section: &Section<'_>) -> String {
    let mut table =
        Table::new(&["outcome", "calls", "failed", "p50", "p90", "p99", "max", "total"]);
    for (name, outcome) in Outcome::NAMES.iter().zip(&section.overview.outcomes) {
        let times = &outcome.times;
        if times.count() == 0 {
            continue;
        }
        let at = |percent| duration(times.percentile(percent));
        table.row([
            (*name).to_owned(),
            count(times.count()),
            count(outcome.failed),
            at(50.0),
            at(90.0),
            at(99.0),
            duration(times.max()),
            duration(times.sum()),
        ]);
    }
    headed(section, "Outcomes and latency", &table.draw(&section.style))
}

fn placement(section: &Section<'_>) -> String {
    let placement = &section.overview.placement;
    let kinds = [
        ("grown in place", placement.grown_in_place),
        ("grown and moved", placement.grown_and_moved),
        ("shrunk", placement.shrunk),
        ("moved, same size", placement.moved),
        ("unchanged", placement.unchanged),
    ];
    let list: Vec<String> = kinds
        .iter()
        .filter(|(_, calls)| *calls > 0)
        .map(|(name, calls)| format!("{} {name}", count(*calls)))
        .collect();
    if list.is_empty() {
        return String::new();
    }
    let body = format!("{}\n", section.style.wrap(&list.join(", "), 2));
    headed(section, "Placement", &body)
}

fn moves(section: &Section<'_>) -> String {
    let moves = &section.overview.moves;
    if moves.parts.count() == 0 {
        return String::new();
    }
    let mut table = Table::new(&["per move", "min", "median", "max", "total"]);
    let mut row = |name: &str, values: &Histogram, text: fn(u64) -> String| {
        table.row([
            name.to_owned(),
            text(values.min()),
            text(values.percentile(50.0)),
            text(values.max()),
            text(values.sum()),
        ]);
    };
    row("VMAs", &moves.parts, count);
    row("gaps", &moves.gaps, count);
    row("bytes", &moves.bytes, aligned_size);
    row("retries", &moves.retries, count);
    headed(section, "Moves with recorded VMAs", &table.draw(&section.style))
}

fn failures(section: &Section<'_>) -> String {
    let mut failures: Vec<_> = section.overview.failures.iter().collect();
    failures.sort_by_key(|(_, failure)| std::cmp::Reverse(failure.calls));
    let mut body = String::new();
    for (why, failure) in failures.iter().take(section.options.top) {
        let head = format!("{} x {}:", count(failure.calls), why.errno());
        let text = format!("{head} {}; {}.", why.reason.cause(), why.reason.remedy());
        let text = section.style.wrap(&text, 2);
        let _ = writeln!(body, "{}", text.replacen(&head, &section.style.bad(&head), 1));
        let site = format!("first from {}", failure.site.name());
        let _ = writeln!(body, "{}", section.style.dim(&section.style.wrap(&site, 4)));
    }
    if body.is_empty() {
        return body;
    }
    more(&mut body, failures.len(), section.options.top, "raise --top");
    headed(section, "Failures", &body)
}

fn sites(section: &Section<'_>) -> String {
    let mut table = Table::new(&[
        "call site",
        "calls",
        "time",
        "share",
        "p50",
        "p99",
        "relocated",
        "grown",
        "failed",
    ])
    .optional(&[4, 3, 7]);
    let sites = sorted(&section.overview.sites, section.options.sort);
    let total = section.overview.total();
    let mut row = |name: String, stats: &SiteStats| {
        table.row([
            name,
            count(stats.calls()),
            duration(stats.times.sum()),
            percent(stats.times.sum(), total.times.sum()),
            duration(stats.times.percentile(50.0)),
            duration(stats.times.percentile(99.0)),
            aligned_size(stats.bytes.relocated()),
            aligned_size(stats.bytes.grown_in_place()),
            count(stats.failed),
        ]);
    };
    for named in sites.iter().take(section.options.top) {
        row(named.site.name(), &named.stats);
    }
    if sites.len() > 1 {
        row(format!("all {}", counted(sites.len() as u64, "call site")), &total);
    }
    let by = match section.options.sort {
        Sort::Calls => "calls",
        Sort::Time => "time",
        Sort::Bytes => "bytes relocated",
        Sort::Failures => "failures",
    };
    let mut body = table.draw(&section.style);
    more(&mut body, sites.len(), section.options.top, "raise --top");
    for process_index in &section.overview.crowded {
        let pid =
            section.traces.processes.get(*process_index).map_or(0, |process| process.header.pid);
        let note = format!(
            "pid {pid} calls from more than {} addresses: calls from further ones are at \"unknown\"",
            count(MAX_SITES as u64)
        );
        let _ = writeln!(body, "{}", section.style.warning(&section.style.wrap(&note, 2)));
    }
    headed(section, &format!("Call sites, by {by}"), &body)
}

fn more(body: &mut String, all: usize, shown: usize, how: &str) {
    if all > shown {
        let _ = writeln!(body, "  ... and {} more ({how})", all - shown);
    }
}

fn processes(section: &Section<'_>) -> String {
    let busy = section.overview.processes.iter().filter(|process| process.total.calls > 0);
    let mut rows = Vec::new();
    let mut processes = 0;
    for stats in busy {
        processes += 1;
        let Some(process) = section.traces.processes.get(stats.process) else {
            continue;
        };
        let name = process.exe.rsplit('/').next().unwrap_or_default();
        let pid = process.header.pid;
        let threads = stats.threads.len();
        let threads_of_it = counted(threads as u64, "thread");
        rows.push((stats.total, format!("{name} (pid {pid}), {threads_of_it}")));
        if threads > 1 {
            rows.extend(
                stats
                    .threads
                    .iter()
                    .map(|(tid, share)| (*share, format!("  thread {tid} of {pid}"))),
            );
        }
    }
    if processes < 2 && rows.len() < 2 {
        return String::new();
    }
    let columns = ["process, thread", "calls", "time", "share", "relocated", "grown", "failed"];
    let mut table = Table::new(&columns).optional(&[3]);
    let time = section.overview.total().times.sum();
    for (share, name) in rows.iter().take(section.options.top) {
        table.row([
            name.clone(),
            count(share.calls),
            duration(share.time),
            percent(share.time, time),
            aligned_size(share.bytes.relocated()),
            aligned_size(share.bytes.grown_in_place()),
            count(share.failed),
        ]);
    }
    let mut body = table.draw(&section.style);
    more(&mut body, rows.len(), section.options.top, "raise --top");
    headed(section, "Processes and threads", &body)
}

fn chains(section: &Section<'_>) -> String {
    let chains = &section.overview.chains;
    let worth = chains.iter().filter(|(_, chain)| chain.calls_saved() > 0);
    let columns = [
        "call site: first address, last address",
        "growths",
        "moved",
        "from",
        "to",
        "doubled",
        "saves",
    ];
    let mut table = Table::new(&columns);
    let mut shown = 0;
    let arrow = if section.style.utf8 { "→" } else { "->" };
    for (process_index, chain) in worth.clone().take(section.options.top) {
        let Some(process) = section.traces.processes.get(*process_index) else {
            continue;
        };
        shown += 1;
        let site = section.overview.chain_site(process, *process_index, chain, section.symbols);
        table.row([
            format!("{}: {:#x} {arrow} {:#x}", site.name(), chain.first, chain.last),
            count(chain.growths),
            count(chain.moves),
            aligned_size(chain.first_len),
            aligned_size(chain.max_len),
            counted(chain.growths_by_doubling(), "call"),
            duration(chain.time_saved()),
        ]);
    }
    if shown == 0 {
        return String::new();
    }
    let mut body = table.draw(&section.style);
    let _ = writeln!(
        body,
        "{}",
        section.style.dim(&section.style.wrap(
            "each row is one mapping, followed from address to address; \"doubled\" is the number of growths had \
             its size doubled each time, \"saves\" the time in mremap this would have saved",
            2
        ))
    );
    more(&mut body, worth.count(), section.options.top, "raise --top");
    headed(section, "Growth chains", &body)
}
