//! The library alone as an OCI image: an image layout in a tar archive, made without an engine.
//!
//! Its entry point copies the library into a directory, for the init container of
//! `docs/old-kernels.md`.

use fs_err as fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::Release;
use super::pack::{archive, compress, sha256};

/// The library's path in the image.
pub const LIBRARY: &str = "usr/lib/libmremap_shim.so";
/// The entry point.
const COPIER: &str = "mremap-shim-copy";
/// The directory that it copies into unless the container's arguments name another.
const TARGET: &str = "/shim";
/// Documents of the packages that the image has, too.
const DOCUMENTS: [&str; 4] = ["LICENSE-APACHE", "LICENSE-MIT", "copyright", "sbom.cdx.json"];

/// The name of the image's file.
pub fn file_name(release: &Release) -> String {
    format!("mremap-shim-{}-oci.tar", release.version)
}

/// Writes the image of the library in `tree`, and of the program `copier`.
pub fn write(release: &Release, copier: &Path, tree: &Path, into: &Path) -> Result<PathBuf> {
    let scratch = tempfile::tempdir_in(into)?;
    let (root, layout) = (scratch.path().join("root"), scratch.path().join("layout"));
    lay_out(copier, tree, &root)?;
    let blobs = layout.join("blobs/sha256");
    fs::create_dir_all(&blobs)?;

    let (layer, compressed) = (scratch.path().join("layer.tar"), scratch.path().join("layer.gz"));
    archive(release, &root, ".", &layer)?;
    compress(&layer, &compressed)?;
    let media = |kind: &str| format!("application/vnd.oci.image.{kind}");
    let layers = [add(&blobs, &compressed, &media("layer.v1.tar+gzip"))?];
    let date = release.date()?;
    let config = json!({
        "architecture": "amd64",
        "os": "linux",
        "created": date,
        "config": {"Entrypoint": [format!("/{COPIER}")], "Cmd": [TARGET]},
        "rootfs": {"type": "layers", "diff_ids": [format!("sha256:{}", sha256(&layer)?)]},
        "history": [{"created": date, "created_by": "cargo xtask dist"}],
    });
    let add_json = |value: &Value, kind: &str| -> Result<Value> {
        let path = scratch.path().join("json");
        write_json(&path, value)?;
        add(&blobs, &path, &media(kind))
    };
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": media("manifest.v1+json"),
        "config": add_json(&config, "config.v1+json")?,
        "layers": layers,
        "annotations": {
            "org.opencontainers.image.title": "mremap-shim",
            "org.opencontainers.image.version": release.version,
            "org.opencontainers.image.licenses": "MIT OR Apache-2.0",
            "org.opencontainers.image.created": date,
        },
    });
    let mut listed = add_json(&manifest, "manifest.v1+json")?;
    listed["platform"] = json!({"architecture": "amd64", "os": "linux"});
    listed["annotations"] = json!({"org.opencontainers.image.ref.name": release.version});
    let index = json!({
        "schemaVersion": 2, "mediaType": media("index.v1+json"), "manifests": [listed],
    });
    write_json(&layout.join("index.json"), &index)?;
    write_json(&layout.join("oci-layout"), &json!({"imageLayoutVersion": "1.0.0"}))?;
    let path = into.join(file_name(release));
    archive(release, &layout, ".", &path)?;
    Ok(path)
}

/// Writes the image's files below `root`.
fn lay_out(copier: &Path, tree: &Path, root: &Path) -> Result<()> {
    let library = tree.join("lib/libmremap_shim.so");
    let mut files = vec![(library, LIBRARY.to_owned()), (copier.to_owned(), COPIER.to_owned())];
    files.extend(DOCUMENTS.map(|name| {
        let path = format!("share/doc/mremap-shim/{name}");
        (tree.join(&path), format!("usr/{path}"))
    }));
    for (from, to) in files {
        let to = root.join(to);
        fs::create_dir_all(to.parent().context("a path below the root")?)?;
        fs::copy(from, &to)?;
    }
    Ok(())
}

/// Copies a file to the blobs, and returns its descriptor.
fn add(blobs: &Path, file: &Path, media_type: &str) -> Result<Value> {
    let hash = sha256(file)?;
    fs::copy(file, blobs.join(&hash))?;
    let size = fs::metadata(file)?.len();
    Ok(json!({"mediaType": media_type, "digest": format!("sha256:{hash}"), "size": size}))
}

fn write_json(path: &Path, value: &Value) -> Result<()> {
    Ok(fs::write(path, serde_json::to_string(value)?)?)
}
