//! Compares the table of docs/dependencies.md with the manifests.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::process::Command;

type Users = BTreeMap<String, BTreeSet<String>>;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("a folder of the workspace")
}

fn manifest(folder: &str) -> toml::Table {
    let path = root().join(folder).join("Cargo.toml");
    let text =
        fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    text.parse().unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The external crates in the manifests, each with the members that name it.
fn used() -> Users {
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

fn document() -> String {
    fs::read_to_string(root().join("docs/dependencies.md")).expect("docs/dependencies.md")
}

/// The table's rows: crate, members, number of crates built for it, reason.
fn rows() -> Vec<[String; 4]> {
    let text = document();
    let rows = text.lines().filter_map(|line| line.strip_prefix("| `"));
    rows.map(|row| {
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        let [name, members, weight, reason, ..] = cells[..] else {
            panic!("a row of four cells: {row}")
        };
        [&name.replace('`', ""), members, weight, reason].map(str::to_owned)
    })
    .collect()
}

fn documented() -> Users {
    let mut users = Users::new();
    for [name, members, _, reason] in rows() {
        assert!(!reason.is_empty(), "{name} has no reason");
        let member = |cell: &str| cell.replace("(tests)", "").trim().to_owned();
        users.insert(name, members.split(',').map(member).collect());
    }
    users
}

/// The lines of `cargo tree`, one crate each.
fn tree(arguments: &[&str]) -> Vec<String> {
    let mut tree = Command::new(env!("CARGO"));
    tree.args(["tree", "--locked", "--target=x86_64-unknown-linux-gnu", "--format={p}"]);
    let output = tree.args(arguments).current_dir(root()).output();
    let output = output.expect("cargo tree runs");
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.lines().map(str::to_owned).collect()
}

/// The number of crates built for each crate, including itself and its macros' crates.
fn weights() -> BTreeMap<String, usize> {
    let mut weights = BTreeMap::new();
    let mut below: (String, BTreeSet<String>) = Default::default();
    let everything = ["--workspace", "--all-features", "--no-dedupe", "--prefix=depth"];
    for line in tree(&[&everything[..], &["--edges=normal,build,dev"]].concat()) {
        let Some(at) = line.find(|c: char| !c.is_ascii_digit()) else {
            continue;
        };
        let (depth, package) = line.split_at(at);
        if matches!(depth, "0" | "1") {
            let name = package.split(' ').next().unwrap_or_default().to_owned();
            below = (name, BTreeSet::new());
        }
        below.1.insert(package.to_owned());
        let max: &mut usize = weights.entry(below.0.clone()).or_default();
        *max = below.1.len().max(*max);
    }
    weights
}

#[test]
fn table_has_the_weight_of_every_dependency() {
    let weights = weights();
    for [name, _, weight, _] in rows() {
        let built = weights[&name].to_string();
        assert_eq!(weight, built, "docs/dependencies.md: the weight of `{name}`");
    }
}

#[test]
fn document_has_the_weight_of_library_and_analyzer() {
    let others = |product| {
        let lines = tree(&["--edges=normal,no-proc-macro", "--prefix=none", "--package", product]);
        let crates = lines.iter().map(|line| line.trim_end_matches(" (*)"));
        let others = crates.filter(|it| !it.is_empty() && !it.starts_with("mremap-"));
        others.collect::<BTreeSet<_>>().len()
    };
    let (library, analyzer) = (others("mremap-shim"), others("mremap-analyzer"));
    let sentence = format!(
        "The library links {library} crates besides this repository's own, the analyzer {analyzer}"
    );
    assert!(document().contains(&sentence), "docs/dependencies.md does not say: {sentence}");
}

#[test]
fn table_has_a_reason_for_every_dependency() {
    let (used, documented) = (used(), documented());
    assert!(used.len() > 10, "the manifests are read: {used:?}");
    for (name, members) in &used {
        let row = documented.get(name);
        assert_eq!(row, Some(members), "docs/dependencies.md: the row of `{name}`");
    }
    let gone: Vec<&String> = documented.keys().filter(|name| !used.contains_key(*name)).collect();
    assert!(gone.is_empty(), "docs/dependencies.md has rows of unused crates: {gone:?}");
}
