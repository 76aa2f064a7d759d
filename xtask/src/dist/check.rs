//! Tests the packages: installs them in minimal systems, runs the demo, removes them; on this
//! kernel and on the kernels of the Debian releases.

use fs_err as fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use super::{Release, check_image};
use crate::debian::{Debian, Stage};
use crate::guest::{self, Guest};
use crate::tools;
use crate::{kernels, repo};

/// Debian releases, oldest first, each with the series of its kernel.
const RELEASES: [(&str, &str); 3] = [("bullseye", "5.10"), ("bookworm", "6.1"), ("trixie", "6.12")];

/// The test of the Debian package. Each line must succeed.
const INSTALL_AND_REMOVE: &str = r#"
dpkg -l mremap-shim 2>&1 | grep -q "no packages found"
dpkg -i /given/package.deb
test -z "$(dpkg --verify mremap-shim)"
dpkg -L mremap-shim | while read -r path; do test -f "$path" && echo "$path"; done > /tmp/files || true
test -s /tmp/files
version=$(dpkg-query -W -f '${Version}' mremap-shim)
mremap-analyzer --version | grep -Fx "mremap-analyzer $version"
grep -qF "$version" /usr/lib/libmremap_shim.so
grep -qF "$version" /usr/lib/libmremap_shim_attach_musl.so
mremap-demo > /tmp/demo
grep -F "emulated" /tmp/demo
grep -F "░░░ kept ░░░" /tmp/demo
grep -F "mapping at the target of a gap, left in place" /tmp/demo
LD_PRELOAD=/usr/lib/libmremap_shim.so /usr/lib/mremap-shim/neighbour_under_gap
mremap-conformance --version | grep -Fx "mremap-conformance $version"
mremap-conformance --filter resize: --cases 0 | grep -F ", 0 differ from Linux 6.17"
mremap-analyzer run --trace /tmp/traces -- /bin/sh -c '/usr/lib/mremap-shim/neighbour_under_gap; exit 7' || test $? = 7
mremap-analyzer report /tmp/traces | grep -F "shim $version"
export MALLOC_MMAP_THRESHOLD_=100000
perl -e 'open my $file, ">", "/tmp/ready"; for (;;) { my @list; push @list, $_ for 1..200000; undef @list }' &
program=$!
while ! test -e /tmp/ready; do sleep 0.1; done
mremap-analyzer attach --trace /tmp/attached $program
sleep 1
mremap-analyzer detach $program
kill $program
mremap-analyzer report /tmp/attached | grep -F " calls, none failed"
dpkg --purge mremap-shim
! command -v mremap-analyzer
while read -r path; do test ! -e "$path"; done < /tmp/files
test ! -e /usr/share/doc/mremap-shim
"#;

/// The test of the tarball.
const UNPACK: &str = "
mkdir -p /opt/shim
tar -xzf /given/package.tar.gz -C /opt/shim --strip-components=1
/opt/shim/bin/mremap-demo | grep -F 'left in place'
/opt/shim/bin/mremap-conformance --list | grep -F gap_keeps_what_is_under_its_target
";

/// The test of the RPM package, in an empty root. It must have no scriptlets.
const INSTALL_RPM: &str = r#"
test -z "$(rpm -qp --scripts "$2")"
test "$(rpm -qp --requires "$2" | grep -v '^rpmlib')" = "glibc >= 2.17"
rpm="rpm --root=$1 --force-debian"
$rpm --nodeps --install "$2"
$rpm --nodeps --verify mremap-shim
$rpm -ql mremap-shim | grep -Fx /usr/lib/libmremap_shim.so
$rpm -ql mremap-shim | grep -Fx /usr/lib/libmremap_shim_attach_musl.so
"$1/usr/bin/mremap-demo" | grep -F 'left in place'
"$1/usr/bin/mremap-conformance" --list | grep -F gap_keeps_what_is_under_its_target
LD_PRELOAD=$1/usr/lib/libmremap_shim.so "$1/usr/lib/mremap-shim/neighbour_under_gap"
$rpm --nodeps --erase mremap-shim
test -z "$(find "$1/usr" ! -type d)"
"#;

/// Tests the packages in the folder `made`.
pub fn run(release: &Release, made: &Path, is_quick: bool) -> Result<()> {
    check_schema(&made.join(format!("mremap-shim-{}.cdx.json", release.version)))?;
    check_image::run(release, made)?;
    let root = tempfile::tempdir().context("no temporary directory")?;
    let rpm = made.join(format!("mremap-shim-{}-1.x86_64.rpm", release.version));
    let mut script = Command::new("sh");
    script.args(["-euxc", INSTALL_RPM, "sh"]).arg(root.path()).arg(rpm);
    repo::capture(&mut script).context("the .rpm does not work (apt-get install rpm)")?;
    println!("rpm: installed, demonstrated, removed");
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
        let userland = Debian::get(suite, Stage::Configured, &[])?;
        for script in [INSTALL_AND_REMOVE, UNPACK] {
            userland
                .run(script, given.path())
                .with_context(|| format!("{suite}: the packages do not work"))?;
        }
        println!("{suite}: installed, demonstrated, removed");
        on_kernel(&userland, series, given.path())?;
        println!("{suite} on Linux {series}: installed, demonstrated, removed");
    }
    // Last, since the second build takes longer than all the rest.
    if !is_quick {
        is_reproducible(release, made)?;
    }
    Ok(())
}

/// Runs the tests in a guest with the release's kernel, where the library emulates in mode `auto`.
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

/// Builds the sources in another folder, and compares the checksums.
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
    release.make(&source, &again, false)?;
    let sums = |folder: &Path| fs::read_to_string(folder.join("SHA256SUMS"));
    let (first, second) = (sums(made)?, sums(&again)?);
    if first != second {
        let kept = elsewhere.keep();
        bail!("not reproducible:\n{first}and in {}:\n{second}", kept.display());
    }
    println!("reproducible: a build in another folder gives the same bytes");
    Ok(())
}

/// Validates the bill of materials by `CycloneDX`'s schema.
fn check_schema(bill: &Path) -> Result<()> {
    const SCRIPT: &str = "import sys\n\
        from cyclonedx.schema import SchemaVersion\n\
        from cyclonedx.validation.json import JsonStrictValidator\n\
        error = JsonStrictValidator(SchemaVersion.V1_6).validate_str(open(sys.argv[1]).read())\n\
        sys.exit(str(error) if error else 0)\n";
    let mut python = Command::new(tools::get("schema")?.join("python3"));
    repo::capture(python.args(["-c", SCRIPT]).arg(bill)).map(drop)
}
