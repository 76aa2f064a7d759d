//! Charts as SVG: bars over time, bars by duration.

use std::fmt::Write;

use crate::model::units::{count, counted, duration};
use crate::stats::{Histogram, Overview};

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

/// A chart with its scales: the highest value above, both ends below.
fn chart(bars: &str, highest: &str, ends: (&str, &str)) -> String {
    format!(
        "<p class=\"scale\">{highest}</p>{bars}<p class=\"scale\"><span>{}</span><span>{}</span></p>",
        ends.0, ends.1
    )
}

fn highest(values: &[(String, u64, u64)]) -> String {
    let most = values.iter().map(|(_, all, _)| *all).max().unwrap_or(0);
    counted(most, "call")
}

/// Calls over time; the script zooms it.
pub fn timeline(overview: &Overview) -> String {
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
    let whole = duration(each.saturating_mul(values.len() as u64));
    format!(
        "<p>Calls over time, failed ones in red; one bar is {}. Drag or press + and - to zoom, arrows to move, 0 for \
         all.</p>{}<p id=\"range\" aria-live=\"polite\" data-bin=\"{each}\">all: {whole}</p>",
        duration(each),
        chart(&bars("time", "calls over time", &values), &highest(&values), ("0 s", &whole))
    )
}

/// Calls by duration.
pub fn latency(overview: &Overview) -> String {
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
    let chart = chart(
        &bars("histogram", "calls by duration", &values),
        &highest(&values),
        (&duration(all.least()), &duration(all.most())),
    );
    format!("<p>Calls by duration; eight bars double it.</p>{chart}")
}
