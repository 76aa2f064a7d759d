//! Names of call sites: modules, debug information, packs.
#![allow(missing_docs)]

use std::fs;
use std::process::Command;

use common::*;
use mremap_trace::Outcome;
use tempfile::TempDir;

mod common;

/// Name of the first call site, and the notes on missing symbols.
fn first_site(file: &str, arguments: &[&str]) -> (String, String) {
    let report = json(&analyzer(&[&["report", "--json", file], arguments].concat()));
    let site = report["sites"][0]["site"].as_str().unwrap();
    (site.to_owned(), report["symbol_notes"].to_string())
}

#[test]
fn names_a_call_site_by_function_and_line() {
    let directory = TempDir::new().unwrap();
    let (path, id, offset) = library(&directory, "");
    let (_trace, file) = trace_of_library(&path, &id, offset, 1);
    let (name, note) = first_site(&file, &[]);
    assert!(name.starts_with("grow_pool (grow.c:"), "{name} {note}");
    assert_eq!(json(&analyzer(&["report", "--json", "--site", "grow.c", &file]))["calls"], 1);
    let (name, _) = first_site(&file, &["--no-symbols"]);
    assert_eq!(name, format!("libgrow.so+{offset:#x}"));
}

#[test]
fn debug_path_finds_moved_libraries_and_debug_files() {
    let (directory, elsewhere) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let (path, id, offset) = library(&directory, "");
    let (_trace, file) = trace_of_library(&path, &id, offset, 1);
    let moved = elsewhere.path().join("libgrow.so");
    fs::rename(&path, &moved).unwrap();
    let (name, note) = first_site(&file, &[]);
    assert!(name.starts_with("libgrow.so+") && note.contains("--debug-path"), "{name} {note}");
    let debug_path = ["--debug-path", elsewhere.path().to_str().unwrap()];
    let (name, _) = first_site(&file, &debug_path);
    assert!(name.starts_with("grow_pool (grow.c:"), "{name}");

    // Stripped at its own path, with the debug information by build id.
    let bytes: Vec<String> = id.iter().map(|byte| format!("{byte:02x}")).collect();
    let hex = bytes.concat();
    let by_id = elsewhere.path().join(".build-id").join(&hex[..2]);
    fs::create_dir_all(&by_id).unwrap();
    let debug = by_id.join(format!("{}.debug", &hex[2..]));
    let moved = moved.to_str().unwrap();
    for arguments in
        [["--only-keep-debug", moved, debug.to_str().unwrap()], ["--strip-all", moved, &path]]
    {
        assert!(Command::new("objcopy").args(arguments).status().unwrap().success());
    }
    fs::remove_file(moved).unwrap();
    let (name, _) = first_site(&file, &debug_path);
    assert!(name.starts_with("grow_pool (grow.c:"), "{name}");
}

#[test]
fn refuses_symbols_of_another_build() {
    let directory = TempDir::new().unwrap();
    let (path, mut id, offset) = library(&directory, "");
    id[0] ^= 1;
    let (_trace, file) = trace_of_library(&path, &id, offset, 1);
    let report = json(&analyzer(&["report", "--json", &file]));
    assert_eq!(report["sites"][0]["site"], format!("libgrow.so+{offset:#x}"));
    assert!(
        report["symbol_notes"][0]
            .as_str()
            .unwrap()
            .contains("its build id is not the recorded one")
    );
}

#[test]
fn bounds_what_a_module_expands_to() {
    use object::{Object, ObjectSection};
    let directory = TempDir::new().unwrap();
    let functions = (0..500).map(|n| format!("int f{n}(int n) {{ return n; }}\n"));
    let many = functions.collect::<Vec<_>>().concat();
    let (path, id, offset) = library(&directory, &many);
    let compress = ["--compress-debug-sections=zlib", &path];
    assert!(Command::new("objcopy").args(compress).status().unwrap().success());
    let mut bytes = fs::read(&path).unwrap();
    let file = object::File::parse(&*bytes).unwrap();
    let section = file.section_by_name(".debug_info").unwrap();
    let claimed_size = section.file_range().unwrap().0 as usize + 8;
    bytes[claimed_size..claimed_size + 8].copy_from_slice(&(6_u64 << 30).to_le_bytes());
    fs::write(&path, &bytes).unwrap();
    let (_trace, file) = trace_of_library(&path, &id, offset, 1);
    let (name, note) = first_site(&file, &[]);
    assert!(name.starts_with("libgrow.so+"), "{name}");
    assert!(note.contains("compressed sections claim 64424"), "{note}");
}

#[test]
fn a_module_that_is_a_fifo_blocks_nothing() {
    let directory = TempDir::new().unwrap();
    let fifo = directory.path().join("libfifo.so");
    rustix::fs::mkfifoat(rustix::fs::CWD, &fifo, 0o600.into()).unwrap();
    let (_trace, file) = trace_of_library(fifo.to_str().unwrap(), &[1; 20], 0x1234, 1);
    let (name, note) = first_site(&file, &[]);
    assert_eq!(name, "libfifo.so+0x1234");
    assert!(note.contains("not found on this machine"), "{note}");
}

/// Packs a trace of a call in `grow_pool`, and deletes program and trace.
fn packed(options: &[&str]) -> (TempDir, String, String) {
    let directory = TempDir::new().unwrap();
    let (path, id, offset) = library(&directory, "");
    let (trace, file) = trace_of_library(&path, &id, offset, 2);
    let pack = directory.path().join("x.mremapz").display().to_string();
    let output = analyzer(&[&["pack", &file, "-o", &pack], options].concat());
    assert!(output.status.success(), "{}", stderr(&output));
    fs::remove_file(path).unwrap();
    drop(trace);
    let user = directory.path().file_name().unwrap().to_str().unwrap().to_owned();
    (directory, pack, user)
}

#[test]
fn a_pack_names_functions_and_lines_without_the_program() {
    let (directory, pack, _) = packed(&[]);
    let (name, note) = first_site(&pack, &[]);
    assert!(name.starts_with("grow_pool (grow.c:"), "{name} {note}");
    let (name, _) = first_site(&pack, &["--no-symbols"]);
    assert!(name.starts_with("libgrow.so+"), "{name}");
    let page = directory.path().join("x.html").display().to_string();
    for command in [
        &["report"][..],
        &["events"],
        &["events", "--follow"],
        &["events", "--site", "grow_pool"],
        &["export", "--format", "csv"],
        &["html", "-o", &page],
        &["show", "--event", "1"],
        &["diff", &pack],
    ] {
        let output = analyzer(&[command, &[&pack]].concat());
        assert_eq!(output.status.code(), Some(0), "{command:?}: {}", stderr(&output));
    }
    assert!(fs::read_to_string(page).unwrap().contains("grow.c"));
    // A pack is packed like a trace.
    let again = directory.path().join("again.mremapz").display().to_string();
    assert!(analyzer(&["pack", &pack, "-o", &again]).status.success());
    assert!(first_site(&again, &[]).0.starts_with("grow_pool (grow.c:"));
    let into_itself = analyzer(&["pack", &pack, "-o", &pack]);
    assert_eq!(into_itself.status.code(), Some(2));
}

#[test]
fn a_redacted_pack_has_no_directories_arguments_or_host() {
    for (options, is_kept) in [(&[][..], true), (&["--redact"], false)] {
        let (_directory, pack, user) = packed(options);
        let bytes = zstd::decode_all(fs::File::open(&pack).unwrap()).unwrap();
        let text = String::from_utf8_lossy(&bytes);
        for secret in [&*user, "--fast", "/usr/bin", "here"] {
            assert_eq!(text.contains(secret), is_kept, "{secret} {options:?}");
        }
        let (name, _) = first_site(&pack, &[]);
        assert!(name.starts_with("grow_pool (grow.c:"), "{name}");
    }
}

#[test]
fn a_damaged_pack_is_reported() {
    let (directory, pack, _) = packed(&[]);
    let bytes = fs::read(&pack).unwrap();
    let damaged = directory.path().join("damaged.mremapz").display().to_string();
    for len in [4, 20, bytes.len() / 2, bytes.len() - 1] {
        fs::write(&damaged, &bytes[..len]).unwrap();
        let output = analyzer(&["report", &damaged]);
        assert_eq!(output.status.code(), Some(2), "{len}: {output:?}");
        assert!(stderr(&output).contains("pack"), "{len}: {}", stderr(&output));
    }
    for at in (0..bytes.len()).step_by(29) {
        let mut bytes = bytes.clone();
        bytes[at] ^= 0x55;
        fs::write(&damaged, &bytes).unwrap();
        let status = analyzer(&["report", &damaged]).status.code();
        assert!(matches!(status, Some(0 | 2)), "{at}: {status:?}");
    }
}

#[test]
fn bounds_what_a_pack_expands_to() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("bomb.mremapz");
    let mut archive =
        tar::Builder::new(zstd::Encoder::new(fs::File::create(&path).unwrap(), 1).unwrap());
    let size = 300_u64 << 20;
    let mut header = tar::Header::new_ustar();
    header.set_size(size);
    header.set_mode(0o444);
    let ones = std::io::Read::take(std::io::repeat(1), size);
    archive.append_data(&mut header, "0/bomb.mremap", ones).unwrap();
    archive.into_inner().unwrap().finish().unwrap();
    let output = analyzer(&["report", path.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("more bytes than a real pack"), "{}", stderr(&output));
}

#[test]
fn reads_more_traces_than_files_may_be_open() {
    let directory = TempDir::new().unwrap();
    for pid in 1..=1_100 {
        let bytes = trace_bytes(&header(pid, 1), &sample());
        write(&directory, &format!("{pid}.mremap"), &bytes);
    }
    let traces = directory.path().to_str().unwrap();
    let pack = directory.path().join("all.mremapz").display().to_string();
    let page = directory.path().join("x.html").display().to_string();
    let lake = directory.path().join("lake").display().to_string();
    for (command, expected) in [
        (&["report", "--json", traces][..], 0),
        (&["events", "--json", traces], 0),
        (&["events", "--follow", "--json", traces], 0),
        (&["show", "--event", "2200", traces], 0),
        (&["check", traces], 1),
        (&["diff", traces, traces], 0),
        (&["export", "--format", "csv", traces], 0),
        (&["export", "--format", "parquet", "-o", &lake, traces], 0),
        (&["html", "-o", &page, traces], 0),
        (&["pack", "-o", &pack, traces], 0),
        (&["report", "--json", &pack], 0),
        (&["events", "--json", &pack], 0),
    ] {
        let output = Command::new("prlimit")
            .args(["--nofile=1024:1024", env!("CARGO_BIN_EXE_mremap-analyzer")])
            .args(command)
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(expected), "{command:?}: {}", stderr(&output));
        let is_counted = stdout(&output).contains("\"calls\": 2200");
        assert!(is_counted || command[0] != "report", "{command:?}");
        if command[0] == "events" {
            assert_eq!(stdout(&output).lines().count(), 2_200, "{command:?}");
        }
    }
}

#[test]
fn names_code_of_jit_compilers_by_perf_maps() {
    let directory = TempDir::new().unwrap();
    let (_trace, file) = trace(&[call(Outcome::PassedThrough, 3_000, 1, NEW as i64)]);
    write(&directory, "perf-42.map", b"555500001200 80 py::grow:/app/pool.py\n");
    let (name, _) = first_site(&file, &["--debug-path", directory.path().to_str().unwrap()]);
    assert_eq!(name, "py::grow (pool.py)");
}

#[test]
fn finds_debug_information_in_debuginfods_cache() {
    let directory = TempDir::new().unwrap();
    let (path, id, offset) = library(&directory, "");
    let (_trace, file) = trace_of_library(&path, &id, offset, 1);
    let bytes: Vec<String> = id.iter().map(|byte| format!("{byte:02x}")).collect();
    let hex = bytes.concat();
    let cached = directory.path().join(hex);
    fs::create_dir(&cached).unwrap();
    fs::rename(&path, cached.join("debuginfo")).unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_mremap-analyzer"))
        .args(["report", "--json", &file])
        .env("DEBUGINFOD_CACHE_PATH", directory.path())
        .output()
        .unwrap();
    let report = json(&output);
    let name = report["sites"][0]["site"].as_str().unwrap();
    assert!(name.starts_with("grow_pool (grow.c:"), "{name}");
}
