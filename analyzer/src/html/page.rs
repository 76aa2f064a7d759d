//! The layout of the page.

use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::{Content, charts, flame, summary, tables};
use crate::load::Process;
use crate::model::units::{count, counted, date_and_time};

const STYLE: &str = include_str!("page.css");
const SCRIPT: &str = include_str!("page.js");

/// The whole document.
pub fn render(content: &mut Content<'_>) -> Markup {
    let tree = flame::tree(content).to_string().replace('<', "\\u003c");
    let content = &*content;
    let title = title(content);
    let flame = html! {
        p {
            "Width: " select #weight aria-label="width of frames" {
                option value="2" { "time" } option value="1" { "calls" } option value="3" { "bytes relocated" }
            }
            " Click a frame to zoom, the lowest one to go back. "
            @if tree.len() < 8 { "No call was recorded." }
        }
        div #flame {}
        p #frame aria-live="polite" { noscript { "The flame graph needs scripts; the table below has the same figures." } }
        script #tree type="application/json" { (PreEscaped(tree)) }
    };
    let sections = [
        ("summary", "Summary", summary::cards(content)),
        ("timeline", "Timeline", charts::timeline(content.overview)),
        (
            "latency",
            "Latency",
            html! { (charts::latency(content.overview)) (tables::outcomes(content)) },
        ),
        ("flames", "Flame graph", flame),
        ("sites", "Call sites", tables::sites(content)),
        ("failures", "Failures", tables::failures(content)),
        ("findings", "Findings", tables::findings(content)),
        ("chains", "Growth chains", tables::chains(content)),
        ("processes", "Processes", tables::processes(content)),
        ("moves", "Moves", tables::moves(content)),
        ("events", "Calls", tables::calls(content)),
    ];
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                title { "mremap: " (title) }
                meta name="viewport" content="width=device-width, initial-scale=1";
                link rel="icon" href="data:,";
                style { (PreEscaped(STYLE)) }
            }
            body {
                header {
                    h1 { (title) }
                    p.dim { (recorded(content)) }
                    nav { @for (id, heading, _) in &sections { a href=(format!("#{id}")) { (heading) } " " } }
                }
                main {
                    @for (id, heading, body) in &sections {
                        section #(id) { h2 { (heading) } (body) }
                    }
                }
                script { (PreEscaped(SCRIPT)) }
            }
        }
    }
}

/// Processes with calls, the busiest first; all of them if none has calls.
fn busiest<'a>(content: &Content<'a>) -> Vec<&'a Process> {
    let mut stats: Vec<_> =
        content.overview.processes.iter().filter(|stats| stats.total.calls > 0).collect();
    stats.sort_by_key(|stats| std::cmp::Reverse(stats.total.calls));
    let processes = &content.traces.processes;
    let busy: Vec<&Process> =
        stats.iter().filter_map(|stats| processes.get(stats.process)).collect();
    if busy.is_empty() { processes.iter().collect() } else { busy }
}

/// The programs: two by name, the others by number.
fn title(content: &Content<'_>) -> String {
    let mut programs: Vec<&str> = Vec::new();
    for process in busiest(content) {
        let name = tables::program(process);
        if !programs.contains(&name) {
            programs.push(name);
        }
    }
    match programs[..] {
        [] => "no program".to_owned(),
        [one] => one.to_owned(),
        [one, two] => format!("{one}, {two}"),
        [one, two, ..] => {
            format!("{one}, {two} and {}", counted(programs.len() as u64 - 2, "other"))
        }
    }
}

/// Where and when.
fn recorded(content: &Content<'_>) -> String {
    let processes = busiest(content);
    let Some(first) = processes.first() else { return String::new() };
    let start = date_and_time(content.traces.start());
    let (host, kernel) = (&first.host, &first.kernel);
    let processes = match processes.len() {
        1 => "1 process".to_owned(),
        number => format!("{} processes", count(number as u64)),
    };
    format!("{host}, Linux {kernel}, {start} UTC, {processes}")
}
