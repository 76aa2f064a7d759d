//! Which package stands for a kernel of the catalogue: the pinned one, or the newest of its series.

use anyhow::{Context, Result, bail};

use crate::apt::{self, Package};
use crate::catalogue::Entry;

/// What a suite has, asked by name: apt, or a test in its place.
pub type Find<'a> = dyn Fn(&dyn Fn(&str) -> bool) -> Result<Vec<Package>> + 'a;

/// The pinned package if the suite still has it, or else the newest one of the series, and what to say about that.
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
        format!("{} {} is no longer in {}", entry.package, entry.version, entry.suite)
    };
    let warning = format!(
        "kernel {}: {reason}; {} stands in. To pin it, put these lines into tests/kernels.toml:\n{}",
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
        format!("kernel {series}: {suite} has no such image of it any more; name another suite in tests/kernels.toml")
    })
}

/// Whether a package holds an image of the entry's series, of the same kind and flavour as the pinned one; of a kernel
/// that is built, whether it holds the series' source.
fn is_of_series(name: &str, entry: &Entry) -> bool {
    if entry.config.is_some() {
        return name == entry.package;
    }
    let kind =
        if entry.package.starts_with("linux-binary-") { "linux-binary-" } else { "linux-image-" };
    let flavour = flavour(entry);
    let version = name.strip_prefix(kind).and_then(|rest| rest.strip_suffix(flavour));
    // A catalogue may have a series twice, with a word behind it.
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

/// The pin as one line.
pub fn pin_of(entry: &Entry) -> String {
    format!("{} {} {}", entry.package, entry.version, entry.sha256)
}

/// A package as it is told of.
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
    fn the_pinned_package_is_taken_without_a_word_and_never_with_another_hash() {
        let entry = pinned();
        let same = package(&entry.package, &entry.version, &entry.sha256);
        let newer = package("linux-image-6.1.0-99-cloud-amd64", "6.1.999-1", "ff");
        assert_eq!(choose_from(&[newer, same.clone()], &entry).unwrap(), (same, None));
        let forged = package(&entry.package, &entry.version, "00");
        let error = choose_from(&[forged], &entry).unwrap_err().to_string();
        assert!(error.contains("sha256 00") && error.contains(&entry.sha256), "{error}");
    }

    #[test]
    fn a_superseded_pin_gives_way_to_the_newest_of_its_series_and_the_lines_to_paste() {
        let entry = pinned();
        let newer = package("linux-image-6.1.0-99-cloud-amd64", "6.1.999-1", "ff");
        let stranger = package("linux-image-6.12.1+deb13-cloud-amd64", "6.12.1-1", "ee");
        let (chosen, warning) = choose_from(&[stranger, newer.clone()], &entry).unwrap();
        assert_eq!(chosen, newer);
        let warning = warning.expect("the change is said");
        assert!(warning.starts_with("kernel 6.1: "), "{warning}");
        assert!(
            warning.ends_with(
                "package = \"linux-image-6.1.0-99-cloud-amd64\"\nversion = \"6.1.999-1\"\nsha256 = \"ff\""
            ),
            "{warning}"
        );
        let error = choose_from(&[], &entry).unwrap_err().to_string();
        assert!(error.contains("no such image of it any more"), "{error}");
    }

    #[test]
    fn a_series_takes_signed_cloud_images_of_the_pinned_kind() {
        let entry = pinned();
        assert!(is_of_series("linux-image-6.1.0-57-cloud-amd64", &entry));
        assert!(!is_of_series("linux-image-6.12.117+deb13-cloud-amd64", &entry));
        assert!(!is_of_series("linux-image-6.1.0-57-cloud-amd64-unsigned", &entry));
        assert!(!is_of_series("linux-image-6.1.0-57-amd64", &entry));
        assert!(!is_of_series("linux-image-6.1-cloud-amd64", &entry));
    }
}
