//! Whether a program can be reached, and which of its calls will be seen.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::check::{Check, Group};
use crate::program::{self, Elf, Program};

const HERE: Group = Group::Program;
/// Where a system keeps its loader.
const SYSTEM: [&str; 3] = ["/lib/", "/lib64/", "/usr/lib"];
/// Libraries whose calls are known: the loader's and libc's own `mremap` are hidden ones.
const KNOWN: [&str; 8] = [
    "libc.so",
    "ld-linux",
    "linux-vdso",
    "libmremap_shim",
    "libasan",
    "libtsan",
    "liblsan",
    "libhwasan",
];

/// Examines it.
pub fn look(name: &OsStr, library: Option<&Path>) -> Vec<Check> {
    let inspected = program::find(name).and_then(|path| program::inspect(&path));
    let program = match inspected {
        Ok(program) => program,
        Err(obstacle) => {
            return vec![Check::problem(
                HERE,
                "reach",
                format!("{}: {}", obstacle.file.display(), obstacle.reason),
                obstacle.remedy,
            )];
        }
    };
    let mut checks = vec![reachable(&program)];
    if !program.scripts.is_empty() {
        checks.push(Check::note(
            HERE,
            "script",
            "what a script starts is not known before it runs: look at those programs with `doctor`, too",
        ));
    }
    let Some(elf) = &program.elf else {
        return checks;
    };
    if elf.is_go {
        checks.push(
            Check::note(
                HERE,
                "go",
                "written in Go, whose packages make their system calls themselves: those are not seen; calls made \
                 by C code in it are",
            )
            .with_fix("record it under QEMU's user mode (qemu-user), whose own calls go through libc"),
        );
    }
    for sanitizer in elf.sanitizers() {
        checks.push(Check::note(
            HERE,
            "sanitizer",
            format!("linked with {sanitizer}, which insists on being the first library: `run` puts it before the shim"),
        ));
    }
    match libraries(&program, elf, library) {
        Ok(files) => {
            checks.extend(loads(&files, library));
            checks.extend(callers(&program, &files));
        }
        Err(why) => checks.push(Check::problem(
            HERE,
            "libraries",
            format!("its libraries cannot be listed: {why}"),
            "does it start at all without the shim?",
        )),
    }
    checks
}

fn reachable(program: &Program) -> Check {
    let file = program.file.display();
    let scripts: Vec<String> = program
        .scripts
        .iter()
        .map(|script| format!("{} is a script; ", script.display()))
        .collect();
    let behind = scripts.concat();
    if program.elf.is_none() {
        return Check::note(
            HERE,
            "reach",
            format!(
                "{behind}{file} may be executed and not read, so whether a preload library gets there is not known"
            ),
        );
    }
    Check::fine(
        HERE,
        "reach",
        format!(
            "{behind}{file} is dynamically linked with glibc, without privileges: the loader will preload the shim"
        ),
    )
}

/// What the loader would load, by its own account; nothing of the program runs.
fn libraries(
    program: &Program,
    elf: &Elf,
    library: Option<&Path>,
) -> Result<Vec<(String, PathBuf)>, String> {
    // A loader in another place may be anything, and nothing of the program is to run.
    let is_the_systems = |loader: &&String| SYSTEM.iter().any(|place| loader.starts_with(place));
    let Some(loader) = elf.loader.as_ref().filter(is_the_systems) else {
        return Ok(Vec::new());
    };
    let mut command = Command::new(loader);
    command.arg("--list").arg(&program.file).env_remove("LD_PRELOAD");
    if let Some(library) = library {
        command.env("LD_PRELOAD", library);
    }
    let output = command.output().map_err(|error| format!("{loader}: {error}"))?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        return Err(if said.is_empty() { text.trim().to_owned() } else { said });
    }
    Ok(text.lines().filter_map(listed).collect())
}

/// `NAME => PATH (ADDRESS)`, or `PATH (ADDRESS)`; the path is empty where it says "not found".
fn listed(line: &str) -> Option<(String, PathBuf)> {
    let line = line.trim();
    let (name, place) = line.split_once(" => ").unwrap_or((line, line));
    let path = place.rsplit_once(" (").map_or("", |(path, _)| path);
    let name = name.split(" (").next()?.rsplit('/').next()?;
    Some((name.to_owned(), PathBuf::from(path)))
}

fn loads(files: &[(String, PathBuf)], library: Option<&Path>) -> Vec<Check> {
    let mut checks = Vec::new();
    for (name, path) in files {
        if path.as_os_str().is_empty() {
            checks.push(Check::problem(
                HERE,
                "libraries",
                format!("{name} is not found, so that it cannot start"),
                "install it, or name its directory in LD_LIBRARY_PATH",
            ));
        }
    }
    let shim = library.and_then(Path::file_name);
    let listed =
        files.iter().any(|(name, _)| shim.is_some_and(|shim| shim.to_string_lossy() == *name));
    if !files.is_empty() && shim.is_some() {
        checks.push(if listed {
            Check::fine(
                HERE,
                "preload",
                "the loader, asked what it would load, lists the shim among it",
            )
        } else {
            Check::problem(
                HERE,
                "preload",
                "the loader, asked what it would load, does not list the shim",
                "see what doctor says of the shim above",
            )
        });
    }
    checks
}

/// Who in it calls `mremap`, and how.
fn callers(program: &Program, files: &[(String, PathBuf)]) -> Vec<Check> {
    let own = program.file.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let libraries = files.iter().filter(|(name, path)| {
        !path.as_os_str().is_empty() && !KNOWN.iter().any(|known| name.starts_with(known))
    });
    let all = std::iter::once((own, program.file.clone())).chain(libraries.cloned());
    let (mut by_symbol, mut by_number, mut hidden) = (Vec::new(), Vec::new(), Vec::new());
    for (name, path) in all {
        let Some(calls) = program::calls_of(&path) else {
            continue;
        };
        if let Some(address) = calls.own {
            hidden.push(format!("{name} at {address:#x}"));
        }
        if calls.imports_mremap {
            by_symbol.push(name);
        } else if calls.imports_syscall {
            by_number.push(name);
        }
    }
    told(&by_symbol, &by_number, &hidden)
}

fn told(by_symbol: &[String], by_number: &[String], hidden: &[String]) -> Vec<Check> {
    let mut checks = Vec::new();
    if by_symbol.is_empty() {
        checks.push(
            Check::note(
                HERE,
                "callers",
                "neither it nor its libraries import mremap: seen will be only calls of libraries loaded later \
                 (dlopen). realloc's own calls are made inside libc",
            )
            .with_fix("to see those of realloc: mremap-analyzer run --libc patch -- PROGRAM"),
        );
    } else {
        checks.push(Check::fine(
            HERE,
            "callers",
            format!("mremap is called by symbol, and will be seen, from {}", by_symbol.join(", ")),
        ));
    }
    if !by_number.is_empty() {
        checks.push(Check::fine(
            HERE,
            "by-number",
            format!(
                "syscall() is called, and mremap through it will be seen, from {}",
                by_number.join(", ")
            ),
        ));
    }
    if !hidden.is_empty() {
        checks.push(
            Check::note(
                HERE,
                "inline",
                format!(
                    "what looks like a system call mremap of its own stands in {}: not seen, and not emulated",
                    hidden.join(", ")
                ),
            )
            .with_fix("record it under QEMU's user mode (qemu-user), whose own calls go through libc"),
        );
    }
    checks
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::listed;

    #[test]
    fn the_loaders_list_is_understood() {
        let line = |text| listed(text).expect("a library");
        assert_eq!(line("\tlinux-vdso.so.1 (0x7f00)").0, "linux-vdso.so.1");
        let (name, path) = line("\tlibm.so.6 => /lib/libm.so.6 (0x00007f)");
        assert_eq!((name.as_str(), path.as_path()), ("libm.so.6", Path::new("/lib/libm.so.6")));
        assert_eq!(line("\tlibx.so => not found").1, Path::new(""));
        assert_eq!(line("\t/opt/a b/libmremap_shim.so (0x7f)").0, "libmremap_shim.so");
    }
}
