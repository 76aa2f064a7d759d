//! The width of comments and Markdown, and the words that the glossary of `ARCHITECTURE.md`
//! replaces.

use std::fs;
use std::path::Path;
use std::process::Command;

const WIDTH: usize = 100;

/// Words and phrases that are not used, and what to write instead.
const BANNED: &[(&str, &str)] = &[
    ("dear", "expensive"),
    ("dearer", "more expensive"),
    ("dearest", "most expensive"),
    ("told", "given, described, printed; told apart: distinguished"),
    ("gives way", "falls back"),
    ("give way", "fall back"),
    ("gave way", "fell back"),
    ("lies", "is at, starts at; a folder: is in"),
    ("in vain", "without result"),
    ("border", "boundary"),
    ("borders", "boundaries"),
    ("be had", "be available, be fetched, be opened"),
    ("becomes of", "say what happens to it"),
    ("became of", "say what happened to it"),
    ("hears of", "is called with, is notified of"),
    ("held against", "compared with"),
    ("practised", "warmed up"),
];

/// Where a banned word is right: the file and a part of the line.
const EXEMPT: &[(&str, &str)] = &[
    ("xtask/tests/tidy.rs", "(\""),
    ("xtask/tests/tidy.rs", "Words and phrases"),
    // The names of a library's types.
    ("analyzer/src/live/view.rs", "order"),
];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("this crate is a folder of the workspace")
}

/// The texts of the tracked files whose names end so, by path.
fn files(extensions: &[&str]) -> Vec<(String, String)> {
    let output = Command::new("git").args(["ls-files", "-z"]).current_dir(root()).output();
    let names = String::from_utf8(output.expect("git runs").stdout).expect("names in UTF-8");
    let is_wanted = |name: &&str| {
        let extension = Path::new(name).extension().and_then(|it| it.to_str());
        extension.is_some_and(|it| extensions.contains(&it))
    };
    let files: Vec<_> = names
        .split('\0')
        .filter(is_wanted)
        .filter_map(|name| Some((name.to_owned(), fs::read_to_string(root().join(name)).ok()?)))
        .collect();
    assert!(!files.is_empty(), "git lists the repository's files");
    files
}

fn assert_none(offences: &[String]) {
    assert!(offences.is_empty(), "{}\n{} offences", offences.join("\n"), offences.len());
}

fn is_too_wide(line: &str) -> bool {
    line.chars().count() > WIDTH
}

#[test]
fn comments_fit_in_100_columns() {
    let is_comment = |line: &str| {
        let text = line.trim_start();
        text.starts_with("//")
            || text.starts_with("/*")
            || text.starts_with("* ")
            || line.contains(" // ")
    };
    let is_script_comment = |line: &str| line.trim_start().starts_with('#');
    let mut offences = Vec::new();
    for (name, text) in files(&["rs", "c", "h", "js", "toml", "sh", "py", "rb"]) {
        let has_slashes = [".rs", ".c", ".h", ".js"].iter().any(|end| name.ends_with(end));
        for (index, line) in text.lines().enumerate().filter(|(_, line)| is_too_wide(line)) {
            let is_of_comment =
                if has_slashes { is_comment(line) } else { is_script_comment(line) };
            if is_of_comment {
                let width = line.chars().count();
                offences.push(format!("{name}:{}: a comment of {width} columns", index + 1));
            }
        }
    }
    assert_none(&offences);
}

/// Whether a line of Markdown has a space at which it can be broken before the limit.
fn can_be_wrapped(line: &str) -> bool {
    let text = line.trim_start_matches([' ', '-', '*', '>', '#']);
    let indent = line.chars().count() - text.chars().count();
    text.chars().take(WIDTH - indent.min(WIDTH)).any(|it| it == ' ')
}

#[test]
fn markdown_is_wrapped_at_100() {
    let mut offences = Vec::new();
    for (name, text) in files(&["md"]) {
        let mut is_code = false;
        for (index, line) in text.lines().enumerate() {
            if line.trim_start().starts_with("```") {
                is_code = !is_code;
            }
            let is_exempt =
                is_code || line.starts_with("    ") || line.trim_start().starts_with('|');
            if !is_exempt && is_too_wide(line) && can_be_wrapped(line) {
                let width = line.chars().count();
                offences.push(format!("{name}:{}: {width} columns", index + 1));
            }
        }
    }
    assert_none(&offences);
}

/// Whether the phrase stands in a line in lower case, with no letter or digit next to it. An
/// underscore is a space: names have the same words.
fn has_phrase(line: &str, phrase: &str) -> bool {
    let is_apart = |it: Option<char>| it.is_none_or(|it| !it.is_alphanumeric());
    line.match_indices(phrase).any(|(at, _)| {
        is_apart(line[..at].chars().next_back())
            && is_apart(line[at + phrase.len()..].chars().next())
    })
}

#[test]
fn banned_words_are_absent() {
    let mut offences = Vec::new();
    for (name, text) in
        files(&["rs", "c", "h", "md", "toml", "sh", "py", "rb", "erl", "java", "js"])
    {
        let mut in_glossary = false;
        for (index, line) in text.lines().enumerate() {
            if name == "ARCHITECTURE.md" && line.starts_with('#') {
                in_glossary = line.contains("Glossary");
            }
            let is_exempt = |(file, part): &(&str, &str)| *file == name && line.contains(part);
            if in_glossary || EXEMPT.iter().any(is_exempt) {
                continue;
            }
            let words = line.to_lowercase().replace('_', " ");
            for (phrase, instead) in BANNED.iter().filter(|(phrase, _)| has_phrase(&words, phrase))
            {
                offences.push(format!("{name}:{}: \"{phrase}\": write {instead}", index + 1));
            }
        }
    }
    assert_none(&offences);
}

#[test]
fn offences_are_recognised() {
    assert!(has_phrase("what is told here", "told"));
    assert!(has_phrase("told", "told"));
    assert!(!has_phrase("untold", "told"));
    assert!(can_be_wrapped(&format!("- a {}", "b".repeat(120))));
    assert!(!can_be_wrapped(&format!("- {} b", "a".repeat(120))));
}
