//! The cards at the top of the page: questions and their answers.

use maud::{Markup, html};

use super::Content;
use crate::findings::{self, Kind, Severity};
use crate::model::units::{count, counted, duration, percent, size};
use crate::report::{Sort, sorted};

/// A question, its answer, and a sentence on it. The class colours the answer.
struct Card {
    question: &'static str,
    answer: String,
    class: &'static str,
    detail: String,
    link: &'static str,
}

impl Card {
    fn new(
        question: &'static str,
        link: &'static str,
        answer: impl Into<String>,
        detail: impl Into<String>,
    ) -> Self {
        Self { question, answer: answer.into(), class: "", detail: detail.into(), link }
    }

    fn class(mut self, class: &'static str) -> Self {
        self.class = class;
        self
    }
}

/// The cards.
pub fn cards(content: &Content<'_>) -> Markup {
    let cards = [
        time(content),
        slowest(content),
        failures(content),
        old_kernels(content),
        memory(content),
        growth(content),
        found(content),
        complete(content),
    ];
    html! {
        div.cards {
            @for card in cards {
                a.card href=(format!("#{}", card.link)) {
                    span.question { (card.question) }
                    strong.(card.class) { (card.answer) }
                    span.detail { (card.detail) }
                }
            }
        }
    }
}

fn time(content: &Content<'_>) -> Card {
    let (total, span) = (content.overview.total(), content.overview.timeline.span());
    let at = |share| duration(total.times.percentile(share));
    let detail = format!(
        "{} of {}; {}, median {}, 99 % within {}, longest {}",
        percent(total.times.sum(), span),
        duration(span),
        counted(total.calls(), "call"),
        at(50.0),
        at(99.0),
        duration(total.times.max())
    );
    Card::new("How much time is spent in mremap?", "timeline", duration(total.times.sum()), detail)
}

fn slowest(content: &Content<'_>) -> Card {
    let question = "Which line makes the slow calls?";
    let Some(named) = sorted(&content.overview.sites, Sort::Time).into_iter().next() else {
        return Card::new(question, "sites", "None", "no call was recorded");
    };
    let stats = &named.stats;
    let detail = format!(
        "{} of the time, in {}; median {}, 99 % within {}",
        percent(stats.times.sum(), content.overview.total().times.sum()),
        counted(stats.calls(), "call"),
        duration(stats.times.percentile(50.0)),
        duration(stats.times.percentile(99.0))
    );
    Card::new(question, "sites", named.site.name(), detail)
}

fn failures(content: &Content<'_>) -> Card {
    let question = "What fails, and why?";
    let failures = &content.overview.failures;
    let Some((why, failure)) = failures.iter().max_by_key(|(_, failure)| failure.calls) else {
        return Card::new(question, "failures", "Nothing", "every call succeeded").class("good");
    };
    let detail = format!("{} x {}: {}", count(failure.calls), why.errno(), why.reason.cause());
    let failed = content.overview.total().failed;
    let answer = format!("{} of {}", counted(failed, "call"), count(content.overview.calls));
    Card::new(question, "failures", answer, detail).class("bad")
}

fn old_kernels(content: &Content<'_>) -> Card {
    let question = "Would it run on Linux 6.16 and older?";
    let (word, answer) = findings::before_6_17(&content.examples.observer);
    let class = match word {
        "yes" => "good",
        "no" => "bad",
        _ => "warn",
    };
    let reason = answer.split_once(", ").map_or(answer.as_str(), |(_, reason)| reason);
    let detail = match word {
        "yes" | "no" => format!("without the shim, {reason}"),
        _ => reason.to_owned(),
    };
    let mut word = word.to_owned();
    word.get_mut(..1).into_iter().for_each(str::make_ascii_uppercase);
    Card::new(question, "findings", word, detail).class(class)
}

fn memory(content: &Content<'_>) -> Card {
    let (bytes, placement) = (content.overview.total().bytes, &content.overview.placement);
    let kinds = [
        ("grown in place", placement.grown_in_place),
        ("grown and moved", placement.grown_and_moved),
        ("moved", placement.moved),
        ("shrunk", placement.shrunk),
        ("unchanged", placement.unchanged),
    ];
    let kinds = kinds.iter().filter(|(_, calls)| *calls > 0);
    let kinds: Vec<String> =
        kinds.map(|(name, calls)| format!("{} {name}", count(*calls))).collect();
    let detail = format!(
        "{} grown in place, {} requested; calls: {}",
        size(bytes.grown_in_place()),
        size(bytes.requested()),
        if kinds.is_empty() { "none succeeded".to_owned() } else { kinds.join(", ") }
    );
    let answer = format!("{} relocated", size(bytes.relocated()));
    Card::new("How much memory moved, and how?", "sites", answer, detail)
}

fn growth(content: &Content<'_>) -> Card {
    let question = "Would growing by doubling help?";
    let chains = content.overview.chains.iter().map(|(_, chain)| chain);
    let worth: Vec<_> = chains.filter(|chain| chain.calls_saved() > 0).collect();
    if worth.is_empty() {
        return Card::new(question, "chains", "No", "no mapping grew step by step").class("good");
    }
    let saved = worth.iter().fold(0, |sum: u64, chain| sum.saturating_add(chain.time_saved()));
    let calls: u64 = worth.iter().map(|chain| chain.calls_saved()).fold(0, u64::saturating_add);
    let detail = format!(
        "{} grew step by step: doubling saves {}",
        counted(worth.len() as u64, "mapping"),
        counted(calls, "call")
    );
    Card::new(question, "chains", format!("It saves {}", duration(saved)), detail)
}

fn found(content: &Content<'_>) -> Card {
    let question = "What else was found?";
    // Other cards answer the rest.
    let others = [Kind::NeedsMultiVma, Kind::NativeUnseen, Kind::NotRecorded];
    let kinds = content.examples.observer.findings.keys();
    let kinds: Vec<&Kind> = kinds.filter(|kind| !others.contains(kind)).collect();
    let number = |severity| kinds.iter().filter(|kind| kind.severity() == severity).count();
    let (errors, warnings) = (number(Severity::Error), number(Severity::Warning));
    let answer = match (errors, warnings) {
        (0, 0) => "Nothing".to_owned(),
        (0, _) => counted(warnings as u64, "warning"),
        (_, 0) => counted(errors as u64, "error"),
        _ => {
            format!("{}, {}", counted(errors as u64, "error"), counted(warnings as u64, "warning"))
        }
    };
    let class = match (errors, warnings) {
        (0, 0) => "good",
        (0, _) => "warn",
        _ => "bad",
    };
    let titles: Vec<&str> = kinds.iter().map(|kind| kind.title()).take(3).collect();
    let detail = if titles.is_empty() {
        "races, partial moves, misuse".to_owned()
    } else {
        titles.join("; ")
    };
    Card::new(question, "findings", answer, detail).class(class)
}

fn complete(content: &Content<'_>) -> Card {
    let question = "Is the recording complete?";
    let counted_ones = content.traces.processes.iter().filter(|it| content.overview.counts(it));
    let lost: u64 = counted_ones.map(|process| process.header.lost()).fold(0, u64::saturating_add);
    let damage = content.traces.damage().len() as u64;
    match (lost, damage) {
        (0, 0) => Card::new(question, "processes", "Yes", "no call was lost").class("good"),
        (0, _) => {
            let answer = counted(damage, "damaged place");
            Card::new(question, "processes", answer, "see the processes").class("warn")
        }
        _ => {
            let answer = format!("{} lost", counted(lost, "call"));
            let detail = format!("of {} made", count(lost.saturating_add(content.overview.calls)));
            Card::new(question, "processes", answer, detail).class("warn")
        }
    }
}
