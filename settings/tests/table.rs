//! The table of settings is consistent, and README shows it.

use std::collections::BTreeSet;
use std::fs;

use mremap_settings::{
    ALL, CHILDREN, LIBRARY, MODE, PREFIX, Recorded, STACK, Setting, TRACE, TRACE_SIZE, Values,
    find, is_known, parse_number,
};

#[test]
fn names_are_unique_and_share_the_prefix() {
    let names: BTreeSet<_> = ALL.iter().map(|setting| setting.name).collect();
    assert_eq!(names.len(), ALL.len());
    assert!(ALL.iter().enumerate().all(|(index, setting)| setting.id as usize == index));
    assert!(names.iter().all(|name| name.starts_with(PREFIX)), "{names:?}");
}

#[test]
fn defaults_are_values_of_their_setting() {
    for setting in ALL {
        let is_text = matches!(setting.values, Values::Text { .. });
        assert_eq!(setting.default.is_none(), is_text, "{}", setting.name);
        let default = setting.default.unwrap_or_default();
        assert!(setting.parse(default.as_bytes()).is_some(), "{}={default}", setting.name);
    }
}

#[test]
fn words_are_parsed_as_their_index() {
    assert_eq!(MODE.parse(b"auto"), Some(0));
    assert_eq!(MODE.parse(b"passthrough"), Some(2));
    for bad in ["", "AUTO", "auto ", "emul"] {
        assert_eq!(MODE.parse(bad.as_bytes()), None, "{bad:?}");
    }
}

#[test]
fn numbers_are_parsed_within_their_range() {
    for (text, number) in [("65536", 65536), ("64K", 65536), ("1m", 1 << 20), ("16G", 16 << 30)] {
        assert_eq!(TRACE_SIZE.parse(text.as_bytes()), Some(number), "{text}");
    }
    for bad in
        ["", "K", "65535", "63K", "-1", "1T", "0x10000", "18446744073709551616", "20000000000G"]
    {
        assert_eq!(TRACE_SIZE.parse(bad.as_bytes()), None, "{bad}");
    }
    assert_eq!(STACK.parse(b"60"), Some(60));
    assert_eq!(STACK.parse(b"61"), None);
    assert_eq!(parse_number(b"0"), Some(0));
}

#[test]
fn children_may_name_the_process_to_record() {
    for (value, expected) in [
        ("0", Some(Recorded::First)),
        ("1", Some(Recorded::All)),
        ("0:1", Some(Recorded::Only(1))),
        ("0:", None),
        ("0:4294967296", None),
        ("2", None),
    ] {
        assert_eq!(Recorded::parse(value.as_bytes()), expected, "{value}");
    }
    assert_eq!(CHILDREN.parse(b"0:4711"), None, "not a value for users");
}

#[test]
fn knows_its_own_variables_alone() {
    assert!(ALL.iter().all(|setting| is_known(setting.name.as_bytes())));
    assert!(is_known(LIBRARY.as_bytes()) && find(LIBRARY.as_bytes()).is_none());
    assert!(!is_known(b"MREMAP_SHIM_MODES") && !is_known(b"MREMAP_SHIM_"));
}

fn complaint(setting: &Setting) -> String {
    let mut text = String::new();
    setting.complain(|piece| text.push_str(piece));
    text
}

#[test]
fn complaints_name_the_values_and_the_default() {
    assert_eq!(complaint(&MODE), " must be auto, emulate or passthrough; using auto");
    assert_eq!(complaint(&CHILDREN), " must be 0 or 1; using 1");
    assert_eq!(complaint(&STACK), " must be 0 to 60; using 0");
    assert_eq!(
        complaint(&TRACE_SIZE),
        " must be 64K or more, as bytes or with K, M or G; using 64M"
    );
    assert!(complaint(&TRACE).starts_with(" must be a directory"));
}

/// The row of README's table for a setting.
fn row(setting: &Setting) -> String {
    let words = setting.words().iter().map(|it| format!("`{}` ({})", it.word, it.meaning));
    let (values, default) = match setting.values {
        Values::Words(_) => (words.collect::<Vec<_>>().join(", "), String::new()),
        Values::Number { form, .. } => (form.to_owned(), String::new()),
        Values::Text { form, unset } => (form.to_owned(), format!("unset: {unset}")),
    };
    let default = setting.default.map_or(default, |default| format!("`{default}`"));
    format!("| `{}` | {} | {values} | {default} |", setting.name, setting.help)
}

#[test]
fn readme_has_the_table() {
    let readme = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../README.md"))
        .expect("README is readable");
    let found: Vec<_> = readme.lines().filter(|line| line.starts_with("| `MREMAP_")).collect();
    let rows: Vec<_> = ALL.iter().map(|setting| row(setting)).collect();
    assert_eq!(found, rows, "README must have these rows:\n{}", rows.join("\n"));
}
