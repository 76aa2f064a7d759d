//! Charts as SVG: calls over time, calls by duration.

use maud::{Markup, html};

use crate::model::units::{count, counted, duration};
use crate::stats::{Histogram, Overview};

/// Least number of columns: a single call must not fill the chart.
const MIN_COLUMNS: usize = 60;

/// A bar: title, calls, failed calls.
struct Bar(String, u64, u64);

/// Bars, with the highest value above and both ends of the axis below. The script zooms by
/// narrowing the view box.
fn chart(id: &str, label: &str, bars: &[Bar], ends: (&str, &str)) -> Markup {
    let max = bars.iter().map(|bar| bar.1).max().unwrap_or(0);
    let height = |value: u64| (value as f64 / max.max(1) as f64 * 98.0).max(1.0);
    let rect = |at: usize, class: &str, value: u64| {
        let tall = height(value);
        html! { rect.(class) x=(at) y=(format!("{:.1}", 100.0 - tall)) width=".9" height=(format!("{tall:.1}")) {} }
    };
    html! {
        p.scale { span { (counted(max, "call")) } }
        svg #(id) .bars tabindex="0" role="img" aria-label=(label) preserveAspectRatio="none"
            viewBox=(format!("0 0 {} 100", bars.len().max(MIN_COLUMNS))) {
            @for (at, Bar(title, all, failed)) in bars.iter().enumerate().filter(|(_, bar)| bar.1 > 0) {
                g {
                    title { (title) }
                    (rect(at, "all", *all))
                    @if *failed > 0 { (rect(at, "failed", *failed)) }
                }
            }
        }
        p.scale { span { (ends.0) } span { (ends.1) } }
    }
}

/// Calls over time.
pub fn timeline(overview: &Overview) -> Markup {
    let (bins, each) = overview.timeline.columns(600);
    let bars: Vec<Bar> = bins
        .iter()
        .enumerate()
        .map(|(at, bin)| {
            let title = format!(
                "from {}: {}, {} failed, {} in mremap",
                duration(each.saturating_mul(at as u64)),
                counted(bin.calls, "call"),
                count(bin.failed),
                duration(bin.time)
            );
            Bar(title, bin.calls, bin.failed)
        })
        .collect();
    let end = duration(each.saturating_mul(bars.len().max(MIN_COLUMNS) as u64));
    html! {
        p { "Each bar is " (duration(each)) "; failed calls are red. Drag to zoom; keys: + and -, arrows, 0." }
        (chart("time", "calls over time", &bars, ("0 s", &end)))
        p #range aria-live="polite" data-bin=(each) {}
    }
}

/// Calls by duration.
pub fn latency(overview: &Overview) -> Markup {
    let mut all = Histogram::default();
    for outcome in &overview.outcomes {
        all.merge(&outcome.times);
    }
    let buckets = all.coarse(8);
    let bars: Vec<Bar> = buckets
        .iter()
        .map(|(from, to, calls)| {
            let title =
                format!("{} to {}: {}", duration(*from), duration(*to), counted(*calls, "call"));
            Bar(title, *calls, 0)
        })
        .collect();
    let min = buckets.first().map_or(1, |bucket| bucket.0.max(1)) as f64;
    let end = min * 2_f64.powf(bars.len().max(MIN_COLUMNS) as f64 / 8.0);
    html! {
        p { "Calls by duration, log scale: eight bars per doubling." }
        (chart("histogram", "calls by duration", &bars, (&duration(min as u64), &duration(end as u64))))
    }
}
