//! Chooses the package of a kernel: the pinned one, or else the newest of its series.

use anyhow::{Context, Result, bail};

use crate::apt::{self, Package};
use crate::catalogue::Entry;

/// Returns a suite's packages whose names a predicate accepts.
pub type Find<'a> = dyn Fn(&dyn Fn(&str) -> bool) -> Result<Vec<Package>> + 'a;

/// Returns the pinned package if the suite has it, or else the newest one of the series and a
/// warning.
pub fn choose(find: &Find<'_>, entry: &Entry) -> Result<(Package, Option<String>)> {
    let of_name = find(&|name| name == entry.package)?;
    let pinned = of_name.into_iter().find(|it| it.version == entry.version);
    if let Some(package) = pinned {
        if package.sha256 != entry.sha256 {
            bail!(
                "kernel {}: {} has sha256 {} in {}, not {} as in tests/kernels.toml",
                entry.series,
                shown(&package),
                package.sha256,
                entry.suite,
                entry.sha256
            );
        }
        return Ok((package, None));
    }
    let package = newest_of(find, entry)?;
    let reason = if entry.version.is_empty() {
        "not pinned".to_owned()
    } else {
        format!("{} no longer has {} {}", entry.suite, entry.package, entry.version)
    };
    let warning = format!(
        "kernel {}: {reason}; using {}. To pin it, put these lines into tests/kernels.toml:\n{}",
        entry.series,
        shown(&package),
        pin_lines(&package)
    );
    Ok((package, Some(warning)))
}

/// The lines of `tests/kernels.toml` that pin a package.
pub fn pin_lines(package: &Package) -> String {
    let Package { name, version, sha256 } = package;
    format!("package = \"{name}\"\nversion = \"{version}\"\nsha256 = \"{sha256}\"")
}

pub fn newest_of(find: &Find<'_>, entry: &Entry) -> Result<Package> {
    let packages = find(&|name| is_of_series(name, entry))?;
    apt::newest(packages).with_context(|| {
        let Entry { series, suite, .. } = entry;
        format!(
            "kernel {series}: {suite} has no image of it; name another suite in tests/kernels.toml"
        )
    })
}

/// Whether a package holds an image of the entry's series, of the pinned package's kind and
/// flavour. For an entry that names a source, whether it holds that.
fn is_of_series(name: &str, entry: &Entry) -> bool {
    if entry.package.starts_with("linux-source-") {
        return name == entry.package;
    }
    let kind =
        if entry.package.starts_with("linux-binary-") { "linux-binary-" } else { "linux-image-" };
    let flavour = flavour(entry);
    let version = name.strip_prefix(kind).and_then(|rest| rest.strip_suffix(flavour));
    // A series such as 6.12-arm64-16k is 6.12.
    let series = entry.series.split('-').next().unwrap_or_default();
    let patch = version.and_then(|version| version.strip_prefix(series));
    patch.is_some_and(|patch| patch.starts_with('.') && !patch.ends_with("-cloud"))
}

/// The end of the pinned package's name: `-cloud-amd64`, `-arm64-16k`.
fn flavour(entry: &Entry) -> &str {
    let package = entry.package.as_str();
    let plain = format!("-{}", entry.arch.name());
    let at = package.find("-cloud-").or_else(|| package.find(&plain));
    at.map_or("", |at| &package[at..])
}

/// The pin in one line.
pub fn pin_of(entry: &Entry) -> String {
    format!("{} {} {}", entry.package, entry.version, entry.sha256)
}

/// Name and version.
pub fn shown(package: &Package) -> String {
    format!("{} {}", package.name, package.version)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalogue::Catalogue;

    fn pinned() -> Entry {
        Catalogue::read().unwrap().select(&["6.1".to_owned()]).unwrap().remove(0)
    }

    fn package(name: &str, version: &str, sha256: &str) -> Package {
        Package { name: name.to_owned(), version: version.to_owned(), sha256: sha256.to_owned() }
    }

    fn choose_from(packages: &[Package], entry: &Entry) -> Result<(Package, Option<String>)> {
        let find = |is_wanted: &dyn Fn(&str) -> bool| {
            Ok(packages.iter().filter(|it| is_wanted(&it.name)).cloned().collect())
        };
        choose(&find, entry)
    }

    #[test]
    fn takes_the_pinned_package_only_with_the_pinned_hash() {
        let entry = pinned();
        let same = package(&entry.package, &entry.version, &entry.sha256);
        let newer = package("linux-image-6.1.0-99-cloud-amd64", "6.1.999-1", "ff");
        assert_eq!(choose_from(&[newer, same.clone()], &entry).unwrap(), (same, None));
        let forged = package(&entry.package, &entry.version, "00");
        let error = choose_from(&[forged], &entry).unwrap_err().to_string();
        assert!(error.contains("sha256 00") && error.contains(&entry.sha256), "{error}");
    }

    #[test]
    fn falls_back_to_the_newest_package_and_prints_its_pin() {
        let entry = pinned();
        let newer = package("linux-image-6.1.0-99-cloud-amd64", "6.1.999-1", "ff");
        let stranger = package("linux-image-6.12.1+deb13-cloud-amd64", "6.12.1-1", "ee");
        let (chosen, warning) = choose_from(&[stranger, newer.clone()], &entry).unwrap();
        assert_eq!(chosen, newer);
        let warning = warning.expect("a warning");
        assert!(warning.starts_with("kernel 6.1: "), "{warning}");
        assert!(
            warning.ends_with(
                "package = \"linux-image-6.1.0-99-cloud-amd64\"\nversion = \"6.1.999-1\"\nsha256 = \"ff\""
            ),
            "{warning}"
        );
        let error = choose_from(&[], &entry).unwrap_err().to_string();
        assert!(error.contains("has no image of it"), "{error}");
    }

    #[test]
    fn accepts_signed_cloud_images_of_the_series() {
        let entry = pinned();
        assert!(is_of_series("linux-image-6.1.0-57-cloud-amd64", &entry));
        assert!(!is_of_series("linux-image-6.12.117+deb13-cloud-amd64", &entry));
        assert!(!is_of_series("linux-image-6.1.0-57-cloud-amd64-unsigned", &entry));
        assert!(!is_of_series("linux-image-6.1.0-57-amd64", &entry));
        assert!(!is_of_series("linux-image-6.1-cloud-amd64", &entry));
    }
}
