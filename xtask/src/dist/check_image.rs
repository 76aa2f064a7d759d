//! Tests the image: skopeo and umoci read it, and its entry point copies a library that works.

use fs_err as fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::{Release, image};
use crate::repo;

/// Tests the image in the folder `made`, as an init container uses it.
pub fn run(release: &Release, made: &Path) -> Result<()> {
    let scratch = tempfile::tempdir().context("no temporary directory")?;
    let bundle = scratch.path().join("bundle");
    unpack(release, made, scratch.path(), &bundle)
        .context("the image cannot be read (apt-get install skopeo umoci)")?;
    let root = bundle.join("rootfs");
    let library = made.join("tree/lib/libmremap_shim.so");
    let is_equal = |file: &Path| Ok::<_, anyhow::Error>(fs::read(&library)? == fs::read(file)?);
    ensure!(is_equal(&root.join(image::LIBRARY))?, "the image has another library");

    let shared = root.join("shim");
    ensure!(copy(&bundle).is_err(), "the entry point succeeds without its directory");
    fs::create_dir(&shared)?;
    // Twice, since an init container may be started again.
    for _ in 0..2 {
        copy(&bundle).context("the image's entry point fails")?;
    }
    let names: Vec<_> = repo::files_below(&shared)?;
    let copy = shared.join("libmremap_shim.so");
    ensure!(names == [copy.clone()], "the entry point left {names:?}");
    ensure!(is_equal(&copy)?, "the entry point copied something else");
    let mut example = Command::new(made.join("tree/lib/mremap-shim/neighbour_under_gap"));
    example.env("LD_PRELOAD", &copy).env("MREMAP_SHIM_MODE", "emulate");
    let output = repo::capture(&mut example).context("under the copied library")?;
    ensure!(output.contains("as one"), "under the copied library: {output}");
    println!("image: read by skopeo and umoci, its entry point copied a library that works");
    Ok(())
}

/// Copies the image to a layout, which checks its digests, and unpacks it to a runtime's bundle.
fn unpack(release: &Release, made: &Path, scratch: &Path, bundle: &Path) -> Result<()> {
    let layout = format!("{}:{}", scratch.join("layout").display(), release.version);
    let mut skopeo = Command::new("skopeo");
    skopeo.args(["--insecure-policy", "copy", "--quiet"]);
    skopeo.arg(format!("oci-archive:{}", made.join(image::file_name(release)).display()));
    repo::capture(skopeo.arg(format!("oci:{layout}")))?;
    let mut umoci = Command::new("umoci");
    umoci.args(["unpack", "--image", &layout]);
    repo::capture(umoci.arg(bundle)).map(drop)
}

/// Runs the command of the bundle's configuration in its root.
fn copy(bundle: &Path) -> Result<()> {
    let config: Value = serde_json::from_slice(&fs::read(bundle.join("config.json"))?)?;
    let arguments = config["process"]["args"].as_array().context("config.json: no arguments")?;
    let mut chroot = Command::new("chroot");
    chroot.arg(bundle.join("rootfs")).args(arguments.iter().filter_map(Value::as_str));
    repo::capture(&mut chroot).map(drop)
}
