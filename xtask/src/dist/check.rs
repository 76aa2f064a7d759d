//! Tries the packages as somebody would who has nothing but them: installs, runs the demo, removes; in Debian releases,
//! and on the kernels that the releases came with.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use super::Release;
use crate::debian::Debian;
use crate::guest::{self, Guest};
use crate::tools::SCHEMA;
use crate::{kernels, repo};

/// Debian releases, oldest first, each with the kernel series it came with.
const RELEASES: [(&str, &str); 3] = [("bullseye", "5.10"), ("bookworm", "6.1"), ("trixie", "6.12")];

/// What is done with the Debian package. Each line must succeed.
const INSTALL_AND_REMOVE: &str = r#"
dpkg -l mremap-shim 2>&1 | grep -q "no packages found"
dpkg -i /given/package.deb
test -z "$(dpkg --verify mremap-shim)"
dpkg -L mremap-shim | while read -r path; do test -f "$path" && echo "$path"; done > /tmp/files || true
test -s /tmp/files
version=$(dpkg-query -W -f '${Version}' mremap-shim)
mremap-analyzer --version | grep -Fx "mremap-analyzer $version"
grep -qF "$version" /usr/lib/libmremap_shim.so
mremap-demo > /tmp/demo
grep -F "emulated" /tmp/demo
grep -F "░░░ kept ░░░" /tmp/demo
grep -F "somebody else's mapping under the target of a gap, left alone" /tmp/demo
LD_PRELOAD=/usr/lib/libmremap_shim.so /usr/lib/mremap-shim/neighbour_under_gap
mremap-analyzer run --trace /tmp/traces -- /bin/sh -c 'exit 7' || test $? = 7
mremap-analyzer report /tmp/traces | grep -F "shim $version"
dpkg --purge mremap-shim
! command -v mremap-analyzer
while read -r path; do test ! -e "$path"; done < /tmp/files
test ! -e /usr/share/doc/mremap-shim
"#;

/// What is done with the tarball.
const UNPACK: &str = "
mkdir -p /opt/it
tar -xzf /given/package.tar.gz -C /opt/it --strip-components=1
/opt/it/bin/mremap-demo | grep -F 'somebody else'
";

/// Tries what `made` holds.
pub fn run(release: &Release, made: &Path, is_quick: bool) -> Result<()> {
    check_schema(&made.join(format!("mremap-shim-{}.cdx.json", release.version)))?;
    if !is_quick {
        is_reproducible(release, made)?;
    }
    let given = tempfile::tempdir().context("no temporary directory")?;
    let copies = [
        (format!("mremap-shim_{}_amd64.deb", release.version), "package.deb"),
        (format!("{}.tar.gz", release.name()), "package.tar.gz"),
    ];
    for (from, to) in copies {
        fs::copy(made.join(&from), given.path().join(to))
            .with_context(|| format!("{from}: cannot be copied"))?;
    }
    let releases = if is_quick { &RELEASES[..1] } else { &RELEASES[..] };
    for (suite, series) in releases {
        let userland = Debian::get(suite)?;
        for script in [INSTALL_AND_REMOVE, UNPACK] {
            userland
                .run(script, given.path())
                .with_context(|| format!("{suite}: the packages do not work"))?;
        }
        println!("{suite}: installed, demonstrated, removed");
        on_kernel(&userland, series, given.path())?;
        println!("{suite} on Linux {series}: installed, demonstrated, removed");
    }
    Ok(())
}

/// The same in a guest with the release's own kernel: there the library has something to do by itself.
fn on_kernel(userland: &Debian, series: &str, given: &Path) -> Result<()> {
    if let Some(missing) = guest::missing() {
        bail!("no guests here: {missing}");
    }
    let archive = given.join("userland.tar");
    userland.archive(&archive)?;
    let mut guest = Guest { timeout: Duration::from_mins(5), ..Guest::default() };
    guest.add(&archive, "/userland.tar");
    for package in ["package.deb", "package.tar.gz"] {
        guest.add(given.join(package), format!("/{package}"));
    }
    let script = format!(
        "mkdir /u && tar -xf /userland.tar -C /u && rm /userland.tar && mkdir /u/given && mv /package.* /u/given/ && \
         mount -t proc proc /u/proc && mount -o bind /dev /u/dev && exec chroot /u /bin/sh -euxc '{}'",
        (INSTALL_AND_REMOVE.to_owned() + UNPACK).replace('\'', r"'\''")
    );
    guest.command_with(["sh", "-c", &script], &[("LC_ALL", "C.UTF-8")]);
    let outcomes = guest::run(&kernels::get_one(series)?, &guest)?;
    fs::remove_file(&archive).ok();
    for outcome in &outcomes {
        ensure!(
            outcome.is_success(),
            "Linux {series}: the packages do not work (status {})\n{}\n{}",
            outcome.status,
            outcome.output,
            outcome.kernel_log.as_deref().unwrap_or_default()
        );
    }
    Ok(())
}

/// Builds the same sources in another folder, with another target folder, and compares the checksums.
fn is_reproducible(release: &Release, made: &Path) -> Result<()> {
    let elsewhere = tempfile::tempdir().context("no temporary directory")?;
    let source = elsewhere.path().join("another/place");
    for file in repo::tracked()? {
        let to = source.join(&file);
        fs::create_dir_all(to.parent().unwrap_or(&source))?;
        fs::copy(repo::root().join(&file), &to)
            .with_context(|| format!("{}: cannot be copied", file.display()))?;
    }
    let again = elsewhere.path().join("made");
    release.make(&source, &again)?;
    let sums = |folder: &Path| fs::read_to_string(folder.join("SHA256SUMS"));
    let (first, second) = (sums(made)?, sums(&again)?);
    if first != second {
        let kept = elsewhere.keep();
        bail!("not reproducible:\n{first}and in {}:\n{second}", kept.display());
    }
    println!("reproducible: another folder gives the same bytes");
    Ok(())
}

/// Holds the bill of materials to CycloneDX's own schema.
fn check_schema(bill: &Path) -> Result<()> {
    const SCRIPT: &str = "import sys\n\
        from cyclonedx.schema import SchemaVersion\n\
        from cyclonedx.validation.json import JsonStrictValidator\n\
        error = JsonStrictValidator(SchemaVersion.V1_6).validate_str(open(sys.argv[1]).read())\n\
        sys.exit(str(error) if error else 0)\n";
    let mut python = Command::new(SCHEMA.get()?.join("python3"));
    repo::capture(python.args(["-c", SCRIPT]).arg(bill)).map(drop)
}
