//! Programs whose `malloc` is not libc's: preloaded before the library or after it, linked as a
//! library, or part of the program. Signal handlers call `mremap` in the middle of an allocation.

use std::path::{Path, PathBuf};
use std::process::Command;

use mremap_tests::artifacts::{Artifacts, cargo, cargo_messages};
use mremap_tests::need;
use mremap_tests::output::text;
use mremap_tests::preload::{Preload, Trace, alone, sum_of_calls};
use mremap_tests::records;
use object::{Object as _, ObjectSymbol as _};

/// Source, arguments and number of calls of each program.
const PROGRAMS: [(&str, &[&str], u64); 3] = [
    ("examples/signal_moves.c", &[], 100),
    ("tests/fixtures/children.c", &["fork", "2"], 16),
    ("tests/fixtures/small_stacks.c", &[], 20),
];

/// The program built from `source`.
fn built(source: &str) -> PathBuf {
    let artifacts = Artifacts::get();
    let name = stem(source);
    if source.starts_with("examples") { artifacts.example(name) } else { artifacts.fixture(name) }
}

fn stem(source: &str) -> &str {
    Path::new(source).file_stem().and_then(|name| name.to_str()).expect("a source has a name")
}

/// Runs a program with every move emulated. All its calls must be in its traces.
fn check(run: Preload, arguments: &[&str], calls: u64, what: &str) -> Vec<Trace> {
    let (output, traces) = run.args(arguments).setting("MODE", "emulate").traced_with_children();
    assert!(output.status.success(), "{what}: {output:?}");
    assert_eq!(sum_of_calls(&traces), calls, "{what}: {output:?}");
    traces
}

#[test]
fn works_with_preloaded_allocators_before_and_after() {
    let allocators = [
        ("libjemalloc.so.2", "libjemalloc2"),
        ("libmimalloc.so.2.0", "libmimalloc2.0"),
        ("libtcmalloc_minimal.so.4", "libtcmalloc-minimal4"),
        ("libtbbmalloc_proxy.so.2", "libtbbmalloc2"),
    ];
    for (name, package) in allocators {
        let Some(allocator) = need::library(name, package) else {
            continue;
        };
        let allocator = &[allocator.as_path()][..];
        for (before, after) in [(allocator, &[][..]), (&[][..], allocator)] {
            for (source, arguments, calls) in PROGRAMS {
                let run = Preload::new(built(source)).with_libraries(before, after);
                check(run, arguments, calls, &format!("{name}, {source}"));
            }
        }
    }
}

/// Compiles a program together with an allocator.
fn compile_with(allocator: &Path, source: &str, into: &Path) -> Option<PathBuf> {
    let compiler = need::program("gcc", "gcc")?;
    let program = into.join(stem(source));
    let repository = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let status = Command::new(compiler)
        .args(["-std=gnu11", "-O2", "-pthread"])
        // Link the allocator even if the program itself never allocates: libc does.
        .args(["-Wl,--no-as-needed", "-Wl,--undefined=malloc", "-o"])
        .args([&program, &repository.join(source), &allocator.to_path_buf()])
        .args(["-lstdc++", "-lm"])
        .status()
        .expect("the compiler runs");
    assert!(status.success(), "{source} with {}", allocator.display());
    Some(program)
}

fn exports_malloc(program: &Path) -> bool {
    let bytes = std::fs::read(program).expect("the program is readable");
    let file = object::File::parse(&*bytes).expect("an ELF file");
    file.dynamic_symbols().any(|symbol| symbol.name() == Ok("malloc") && symbol.is_definition())
}

/// Whether a trace names a library, whatever its version: the loader resolves links to a versioned
/// file.
fn names_module(trace: &Trace, library: &str) -> bool {
    let stem = library.split('.').next().unwrap_or(library);
    let texts: Vec<u8> = records!(trace, Text).flatten().copied().collect();
    text(&texts).contains(stem)
}

#[test]
fn works_with_linked_allocators() {
    let allocators = [
        ("libjemalloc.so", "libjemalloc-dev"),
        ("libjemalloc.a", "libjemalloc-dev"),
        ("libmimalloc.so", "libmimalloc-dev"),
        ("libtcmalloc_minimal.so", "libgoogle-perftools-dev"),
        ("libtcmalloc_minimal.a", "libgoogle-perftools-dev"),
    ];
    for (name, package) in allocators {
        let Some(allocator) = need::library(name, package) else {
            continue;
        };
        let directory = tempfile::tempdir().expect("a directory");
        for (source, arguments, calls) in PROGRAMS {
            let Some(program) = compile_with(&allocator, source, directory.path()) else {
                return;
            };
            let traces =
                check(Preload::new(&program), arguments, calls, &format!("{name}, {source}"));
            let is_in_use = if allocator.extension().is_some_and(|it| it == "a") {
                exports_malloc(&program)
            } else {
                names_module(&traces[0], name)
            };
            assert!(is_in_use, "{source} uses the malloc of {name}");
        }
    }
}

#[test]
fn works_with_debugging_allocators() {
    for (name, package) in [
        ("libtcmalloc_minimal_debug.so.4", "libgoogle-perftools-dev"),
        ("libefence.so.0", "electric-fence"),
    ] {
        // Electric Fence is in /usr/lib itself.
        let file = Path::new("/usr/lib").join(name);
        let found = Some(file).filter(|file| file.exists());
        let Some(allocator) = found.or_else(|| need::library(name, package)) else {
            continue;
        };
        let (source, arguments, calls) = PROGRAMS[0];
        let run = Preload::new(built(source)).with_libraries(&[], &[&allocator]);
        check(run, arguments, calls, name);
    }
}

/// Builds the example of this crate that contains jemalloc.
fn build_on_jemalloc() -> PathBuf {
    let mut cargo = cargo();
    cargo.args(["build", "--quiet", "-p", "mremap-tests"]);
    cargo.args(["--features", "jemalloc", "--example", "on_jemalloc"]);
    let messages = cargo_messages(&mut cargo).expect("the example builds");
    let executable = messages.iter().find_map(|message| {
        let path = message["executable"].as_str()?;
        path.ends_with("/on_jemalloc").then(|| PathBuf::from(path))
    });
    executable.expect("cargo prints its path")
}

#[test]
#[ignore = "jemalloc has to be built; cargo xtask test --programs runs it"]
fn works_with_the_jemalloc_of_a_rust_program() {
    const RESIZES: u64 = 4 * 1000;
    let program = build_on_jemalloc();
    assert!(exports_malloc(&program), "libc uses jemalloc, too");
    let alone = alone(&program, &[]);
    assert!(alone.status.success(), "{alone:?}");
    for mode in ["auto", "emulate"] {
        let (output, traces) = Preload::new(&program).setting("MODE", mode).traced_with_children();
        assert_eq!(output.stdout, alone.stdout, "{mode}: {output:?}");
        assert_eq!(sum_of_calls(&traces), RESIZES, "{mode}: calls in the traces");
    }
}
