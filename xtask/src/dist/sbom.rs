//! The bill of materials: every crate that is linked into what is shipped, as CycloneDX 1.6.
//!
//! Made from what cargo resolves for the shipped target and from the hashes in `Cargo.lock`. Ready
//! tools exist (cargo-cyclonedx, cargo-sbom), but take longer to build than what they list.
//! [`super::check`] validates the result by the format's schema.

use fs_err as fs;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use anyhow::{Context, Result};
use serde::Deserialize;
use serde_json::{Value, json};

use super::Release;
use super::build::glibc_version;
use crate::repo;

const SHIPPED: [&str; 4] =
    ["mremap-analyzer", "mremap-conformance", "mremap-shim", "mremap-shim-attach-musl"];

#[derive(Debug, Deserialize)]
struct Metadata {
    packages: Vec<Package>,
    resolve: Resolve,
}

#[derive(Debug, Deserialize)]
struct Package {
    id: String,
    name: String,
    version: String,
    license: Option<String>,
    source: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Resolve {
    nodes: Vec<Node>,
}

#[derive(Debug, Deserialize)]
struct Node {
    id: String,
    deps: Vec<Dependency>,
}

#[derive(Debug, Deserialize)]
struct Dependency {
    pkg: String,
    dep_kinds: Vec<Kind>,
}

#[derive(Debug, Deserialize)]
struct Kind {
    /// Nothing for a dependency that is linked in; else `build` or `dev`.
    kind: Option<String>,
}

/// Hashes by name and version.
type Hashes = BTreeMap<(String, String), String>;

/// Returns the bill of materials of what `source` builds.
pub fn bill_of_materials(release: &Release, source: &Path) -> Result<String> {
    let mut metadata = repo::cargo();
    metadata.current_dir(source).args([
        "metadata",
        "--format-version=1",
        "--locked",
        "--filter-platform=x86_64-unknown-linux-gnu",
    ]);
    let metadata: Metadata = serde_json::from_str(&repo::capture(&mut metadata)?)
        .context("cargo metadata: unexpected JSON")?;
    let lock =
        fs::read_to_string(source.join("Cargo.lock")).context("Cargo.lock: cannot be read")?;
    let mut bill = bill(&metadata, &hashes(&lock)?, &release.version, &release.date()?);
    if let Some(components) = bill["components"].as_array_mut() {
        components.extend(c_libraries()?);
    }
    Ok(serde_json::to_string_pretty(&bill)? + "\n")
}

/// The C libraries that static programs contain: `mremap-conformance` this machine's glibc, and the
/// copier of the image zig's musl.
fn c_libraries() -> Result<[Value; 2]> {
    let library = |name: &str, licence: &str| json!({"type": "library", "bom-ref": name, "name": name, "licenses": [{"expression": licence}]});
    let mut glibc = library("glibc", "LGPL-2.1-or-later");
    glibc["version"] = json!(glibc_version()?);
    Ok([glibc, library("musl", "MIT")])
}

fn bill(metadata: &Metadata, hashes: &Hashes, version: &str, time: &str) -> Value {
    let linked: BTreeMap<&str, Vec<&str>> =
        metadata.resolve.nodes.iter().map(|node| (node.id.as_str(), linked(node))).collect();
    let packages: BTreeMap<&str, &Package> =
        metadata.packages.iter().map(|it| (it.id.as_str(), it)).collect();
    let mut shipped = BTreeSet::new();
    let mut queue: Vec<&str> = packages
        .values()
        .filter(|it| SHIPPED.contains(&it.name.as_str()))
        .map(|it| it.id.as_str())
        .collect();
    while let Some(id) = queue.pop() {
        if shipped.insert(id) {
            queue.extend(linked.get(id).into_iter().flatten());
        }
    }
    let mut components: Vec<&Package> =
        shipped.iter().filter_map(|id| packages.get(id).copied()).collect();
    components.sort_by_key(|it| (&it.name, &it.version));
    let dependencies = components.iter().map(|it| {
        let mut on: Vec<String> =
            linked[it.id.as_str()].iter().map(|id| purl(packages[id])).collect();
        on.sort();
        json!({"ref": purl(it), "dependsOn": on})
    });
    let dependencies: Vec<Value> = dependencies.collect();
    let components: Vec<Value> = components.iter().map(|it| component(it, hashes)).collect();
    json!({
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {
            "timestamp": time,
            "component": {"type": "application", "bom-ref": "mremap-shim-dist", "name": "mremap-shim", "version": version},
        },
        "components": components,
        "dependencies": dependencies,
    })
}

fn linked(node: &Node) -> Vec<&str> {
    let is_linked = |it: &&Dependency| it.dep_kinds.iter().any(|it| it.kind.is_none());
    node.deps.iter().filter(is_linked).map(|it| it.pkg.as_str()).collect()
}

fn component(package: &Package, hashes: &Hashes) -> Value {
    let mut component = json!({
        "type": "library",
        "bom-ref": purl(package),
        "name": package.name,
        "version": package.version,
        "licenses": [{"expression": package.license.as_deref().unwrap_or("NOASSERTION").replace('/', " OR ")}],
    });
    // A package URL names a crate of the registry.
    if package.source.is_some() {
        component["purl"] = json!(purl(package));
    }
    if let Some(hash) = hashes.get(&(package.name.clone(), package.version.clone())) {
        component["hashes"] = json!([{"alg": "SHA-256", "content": hash}]);
    }
    component
}

fn purl(package: &Package) -> String {
    format!("pkg:cargo/{}@{}", package.name, package.version)
}

fn hashes(lock: &str) -> Result<Hashes> {
    #[derive(Deserialize)]
    struct Lock {
        package: Vec<Locked>,
    }
    #[derive(Deserialize)]
    struct Locked {
        name: String,
        version: String,
        checksum: Option<String>,
    }
    let lock: Lock = toml::from_str(lock).context("Cargo.lock: not TOML")?;
    let packages = lock.package.into_iter();
    Ok(packages.filter_map(|it| Some(((it.name, it.version), it.checksum?))).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_only_linked_crates() {
        let package = |name: &str| json!({"id": name, "name": name, "version": "1.0.0", "license": "MIT/Apache-2.0", "source": "registry"});
        let packages = ["mremap-shim", "linked", "builder", "stranger"].map(package);
        let edge = |to: &str, kind: Value| json!({"pkg": to, "dep_kinds": [{"kind": kind}]});
        let metadata = json!({
            "packages": packages,
            "resolve": {"nodes": [
                {"id": "mremap-shim", "deps": [edge("linked", Value::Null), edge("builder", json!("build"))]},
                {"id": "linked", "deps": []}, {"id": "builder", "deps": []}, {"id": "stranger", "deps": []},
            ]},
        });
        let metadata: Metadata = serde_json::from_value(metadata).unwrap();
        let hashes =
            hashes("[[package]]\nname = \"linked\"\nversion = \"1.0.0\"\nchecksum = \"ab\"\n")
                .unwrap();
        let bill = bill(&metadata, &hashes, "1", "2026-01-01T00:00:00Z");
        let names: Vec<&Value> =
            bill["components"].as_array().unwrap().iter().map(|it| &it["name"]).collect();
        assert_eq!(names, ["linked", "mremap-shim"]);
        assert_eq!(bill["components"][0]["hashes"][0]["content"], "ab");
        assert_eq!(bill["components"][0]["licenses"][0]["expression"], "MIT OR Apache-2.0");
        assert_eq!(bill["dependencies"][1]["dependsOn"], json!(["pkg:cargo/linked@1.0.0"]));
    }
}
