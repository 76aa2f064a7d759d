//! The table of dependencies, held to the manifests: each crate has a reason, and each reason a crate.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

type Users = BTreeMap<String, BTreeSet<String>>;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("a folder of the workspace")
}

fn manifest(folder: &str) -> toml::Table {
    let path = root().join(folder).join("Cargo.toml");
    let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    text.parse()
        .unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The crates that manifests name, without this repository's own, and the members that name them.
fn named() -> Users {
    let mut users = Users::new();
    for member in manifest("")["workspace"]["members"].as_array().expect("members") {
        let member = member.as_str().expect("a name");
        let manifest = manifest(member);
        let kinds = ["dependencies", "dev-dependencies", "build-dependencies"];
        for table in kinds.iter().filter_map(|kind| manifest.get(*kind)?.as_table()) {
            for name in table.keys().filter(|name| !name.starts_with("mremap-")) {
                users.entry(name.clone()).or_default().insert(member.to_owned());
            }
        }
    }
    users
}

/// The rows of the table.
fn explained() -> Users {
    let text = fs::read_to_string(root().join("docs/dependencies.md")).expect("docs/dependencies.md");
    let mut users = Users::new();
    for row in text.lines().filter_map(|line| line.strip_prefix("| `")) {
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        let [name, members, reason, ..] = cells[..] else {
            panic!("a row of three cells: {row}")
        };
        assert!(!reason.is_empty(), "{name} has no reason");
        let member = |cell: &str| cell.replace("(tests)", "").trim().to_owned();
        users.insert(name.replace('`', ""), members.split(',').map(member).collect());
    }
    users
}

#[test]
fn every_dependency_has_its_reason_in_the_table() {
    let (named, explained) = (named(), explained());
    assert!(named.len() > 10, "the manifests are read: {named:?}");
    for (name, members) in &named {
        let said = explained.get(name);
        assert_eq!(said, Some(members), "docs/dependencies.md: the row of `{name}`");
    }
    let gone: Vec<&String> = explained
        .keys()
        .filter(|name| !named.contains_key(*name))
        .collect();
    assert!(
        gone.is_empty(),
        "docs/dependencies.md has rows for what nobody uses: {gone:?}"
    );
}
