//! Checks of a program: whether the shim can reach it, and which of its calls the shim will see.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::check::{Check, Group};
use crate::program::{self, Elf, Program};

const GROUP: Group = Group::Program;
/// Directories of the system's loader.
const LOADER_DIRECTORIES: [&str; 3] = ["/lib/", "/lib64/", "/usr/lib"];
/// Libraries that are not searched for calls of `mremap`: some contain it.
const NOT_SEARCHED: [&str; 8] = [
    "libc.so",
    "ld-linux",
    "linux-vdso",
    "libmremap_shim",
    "libasan",
    "libtsan",
    "liblsan",
    "libhwasan",
];

/// Checks the program that `run` would start by this name.
pub fn check(name: &OsStr, library: Option<&Path>) -> Vec<Check> {
    let inspected = program::find(name).and_then(|path| program::inspect(&path));
    let program = match inspected {
        Ok(program) => program,
        Err(obstacle) => {
            return vec![Check::problem(
                GROUP,
                "reach",
                format!("{}: {}", obstacle.file.display(), obstacle.reason),
                obstacle.remedy,
            )];
        }
    };
    let mut checks = vec![reachable(&program)];
    if !program.scripts.is_empty() {
        checks.push(Check::note(
            GROUP,
            "script",
            "doctor does not know which programs the script starts; check them as well",
        ));
    }
    let Some(elf) = &program.elf else {
        return checks;
    };
    if elf.is_go {
        checks.push(
            Check::note(
                GROUP,
                "go",
                "written in Go, whose packages make system calls themselves: the shim sees calls of its C code \
                 alone",
            )
            .with_fix("run it with --reach all, whose tracer sees every call"),
        );
    }
    for sanitizer in elf.sanitizers() {
        checks.push(Check::note(
            GROUP,
            "sanitizer",
            format!("linked with {sanitizer}, which must be the first library: `run` puts it before the shim"),
        ));
    }
    match libraries(&program, elf, library) {
        Ok(files) => {
            checks.extend(check_libraries(&files, library));
            checks.extend(check_callers(&program, &files));
        }
        Err(why) => checks.push(Check::problem(
            GROUP,
            "libraries",
            format!("the loader cannot list its libraries: {why}"),
            "check whether it starts without the shim",
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
    let scripts = scripts.concat();
    if program.elf.is_none() {
        return Check::note(
            GROUP,
            "reach",
            format!(
                "{scripts}{file} may be executed but not read: unknown whether a preload library can reach it"
            ),
        );
    }
    Check::fine(
        GROUP,
        "reach",
        format!(
            "{scripts}{file} is dynamically linked with glibc and runs without privileges: the loader preloads the shim"
        ),
    )
}

/// Has the loader list the libraries that it would load. No code of the program runs.
fn libraries(
    program: &Program,
    elf: &Elf,
    library: Option<&Path>,
) -> Result<Vec<(String, PathBuf)>, String> {
    // Runs the system's loader only: any other file could be an arbitrary program.
    let is_in_system_directory =
        |loader: &&String| LOADER_DIRECTORIES.iter().any(|it| loader.starts_with(it));
    let Some(loader) = elf.loader.as_ref().filter(is_in_system_directory) else {
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
        let message = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        return Err(if message.is_empty() { text.trim().to_owned() } else { message });
    }
    Ok(text.lines().filter_map(parse_library).collect())
}

/// Parses `NAME => PATH (ADDRESS)` or `PATH (ADDRESS)`. The path is empty for "not found".
fn parse_library(line: &str) -> Option<(String, PathBuf)> {
    let line = line.trim();
    let (name, file) = line.split_once(" => ").unwrap_or((line, line));
    let path = file.rsplit_once(" (").map_or("", |(path, _)| path);
    let name = name.split(" (").next()?.rsplit('/').next()?;
    Some((name.to_owned(), PathBuf::from(path)))
}

fn check_libraries(files: &[(String, PathBuf)], library: Option<&Path>) -> Vec<Check> {
    let mut checks = Vec::new();
    for (name, path) in files {
        if path.as_os_str().is_empty() {
            checks.push(Check::problem(
                GROUP,
                "libraries",
                format!("the loader does not find {name}, so the program cannot start"),
                "install it, or add its directory to LD_LIBRARY_PATH",
            ));
        }
    }
    let shim = library.and_then(Path::file_name);
    let listed =
        files.iter().any(|(name, _)| shim.is_some_and(|shim| shim.to_string_lossy() == *name));
    if !files.is_empty() && shim.is_some() {
        checks.push(if listed {
            Check::fine(
                GROUP,
                "preload",
                "the loader lists the shim among the libraries that it would load",
            )
        } else {
            Check::problem(
                GROUP,
                "preload",
                "the loader does not list the shim among the libraries that it would load",
                "see the checks of the shim above",
            )
        });
    }
    checks
}

/// Searches the program and its libraries for calls of `mremap`.
fn check_callers(program: &Program, files: &[(String, PathBuf)]) -> Vec<Check> {
    let own = program.file.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let libraries = files.iter().filter(|(name, path)| {
        !path.as_os_str().is_empty() && !NOT_SEARCHED.iter().any(|known| name.starts_with(known))
    });
    let all = std::iter::once((own, program.file.clone())).chain(libraries.cloned());
    let (mut by_symbol, mut by_number, mut inline) = (Vec::new(), Vec::new(), Vec::new());
    for (name, path) in all {
        let Some(calls) = program::calls_of(&path) else {
            continue;
        };
        if let Some(address) = calls.inline {
            inline.push(format!("{name} at {address:#x}"));
        }
        if calls.imports_mremap {
            by_symbol.push(name);
        } else if calls.imports_syscall {
            by_number.push(name);
        }
    }
    describe_callers(&by_symbol, &by_number, &inline)
}

fn describe_callers(by_symbol: &[String], by_number: &[String], inline: &[String]) -> Vec<Check> {
    let mut checks = Vec::new();
    if by_symbol.is_empty() {
        checks.push(
            Check::note(
                GROUP,
                "callers",
                "neither the program nor its libraries import mremap: only calls from libraries loaded later \
                 (dlopen) will be seen. Those of realloc stay inside libc",
            )
            .with_fix(
                "to see those of realloc: mremap-analyzer run --libc patch PROGRAM; in a process \
                 that runs already: mremap-analyzer attach PID",
            ),
        );
    } else {
        checks.push(Check::fine(
            GROUP,
            "callers",
            format!("calls by symbol will be seen, from {}", by_symbol.join(", ")),
        ));
    }
    if !by_number.is_empty() {
        checks.push(Check::fine(
            GROUP,
            "by-number",
            format!("calls through syscall() will be seen, from {}", by_number.join(", ")),
        ));
    }
    if !inline.is_empty() {
        checks.push(
            Check::note(
                GROUP,
                "inline",
                format!(
                    "{} may contain inline mremap system calls, which the shim neither sees nor emulates",
                    inline.join(", ")
                ),
            )
            .with_fix("run it with --reach all, whose tracer sees every call"),
        );
    }
    checks
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::parse_library;

    #[test]
    fn parses_the_list_of_the_loader() {
        let line = |text| parse_library(text).expect("a library");
        assert_eq!(line("\tlinux-vdso.so.1 (0x7f00)").0, "linux-vdso.so.1");
        let (name, path) = line("\tlibm.so.6 => /lib/libm.so.6 (0x00007f)");
        assert_eq!((name.as_str(), path.as_path()), ("libm.so.6", Path::new("/lib/libm.so.6")));
        assert_eq!(line("\tlibx.so => not found").1, Path::new(""));
        assert_eq!(line("\t/opt/a b/libmremap_shim.so (0x7f)").0, "libmremap_shim.so");
    }
}
