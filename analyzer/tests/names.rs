//! Names of call sites: modules, debug information, packs.
#![allow(missing_docs)]

use std::fs;
use std::process::Command;

use common::*;
use mremap_tests::need::skip;
use mremap_trace::{Call, Outcome, Record, Stack, StackWords};
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

#[test]
fn says_how_to_see_who_called_realloc() {
    let frames = [0x7777_0000_1000, 0, 0, 0, 0, 0];
    let stack = Record::Stack(Stack { call: 3, first: 1, count: 1, frames });
    for (stack, is_said) in [(None, true), (Some(stack), false)] {
        let (_trace, file) = trace(&records_of("/lib/libc.so.6", &[], 0x1234, stack));
        let (name, notes) = first_site(&file, &[]);
        assert_eq!(name.starts_with("libc.so.6+0x1234"), is_said, "{name}");
        assert_eq!(notes.contains("record with --stack 8"), is_said, "{notes}");
        assert_eq!(stdout(&analyzer(&["report", &file])).contains("--stack 8"), is_said);
    }
}

/// A call of a function in a library, and its stack.
fn records_of(path: &str, id: &[u8], offset: u64, stack: Option<Record>) -> Vec<Record> {
    let mut records = library_records(path, id);
    let made = made(Outcome::PassedThrough, 3_000, 1, NEW as i64);
    records.push(Record::Call(Call { caller: 0x5555_0000_0000 + offset, ..made }));
    records.extend(stack);
    records
}

#[test]
fn a_pack_names_the_frames_of_stacks_without_the_program() {
    for options in [&[][..], &["--redact"]] {
        let directory = TempDir::new().unwrap();
        let (path, id, offset) = library(&directory, "");
        let call = library_records(&path, &id).len() as u32 + 1;
        let frames = [0x7777_0000_1000, 0x5555_0000_0000 + offset, 0, 0, 0, 0];
        let stack = Record::Stack(Stack { call, first: 1, count: 2, frames });
        let (_trace, file) = trace(&records_of(&path, &id, 0, Some(stack)));
        let pack = directory.path().join("x.mremapz").display().to_string();
        let output = analyzer(&[&["pack", &file, "-o", &pack], options].concat());
        assert!(output.status.success(), "{}", stderr(&output));
        fs::remove_file(path).unwrap();
        let event = json(&analyzer(&["events", "--json", &pack]));
        assert_eq!(event["stack"][0], "0x777700001000", "{options:?} {event}");
        assert_eq!(event["stack"][1], "grow_pool (grow.c:3)", "{options:?} {event}");
        let folded = stdout(&analyzer(&["export", "--format", "folded", &pack]));
        assert!(folded.contains(";grow_pool (grow.c:3);0x777700001000;"), "{folded}");
    }
}

#[test]
fn reads_debug_sections_compressed_by_zstd() {
    use object::{Object, ObjectSection};
    let directory = TempDir::new().unwrap();
    let functions = (0..500).map(|n| format!("int f{n}(int n) {{ return n; }}\n"));
    let (path, id, offset) = library(&directory, &functions.collect::<Vec<_>>().concat());
    let compress = ["--compress-debug-sections=zstd", &path];
    if !Command::new("objcopy").args(compress).status().unwrap().success() {
        return skip("debug sections compressed by zstd: apt-get install binutils (2.40 or newer)");
    }
    // ELFCOMPRESS_ZSTD.
    let bytes = fs::read(&path).unwrap();
    let file = object::File::parse(&*bytes).unwrap();
    let start = file.section_by_name(".debug_info").unwrap().file_range().unwrap().0 as usize;
    assert_eq!(bytes[start..start + 4], 2_u32.to_ne_bytes());
    let (_trace, file) = trace_of_library(&path, &id, offset, 1);
    assert_eq!(first_site(&file, &[]).0, "grow_pool (grow.c:503)");
}

#[test]
fn says_which_split_debug_information_is_missing() {
    let directory = TempDir::new().unwrap();
    let (path, id, offset) = library_built_with(&directory, "", &["-gsplit-dwarf"]);
    let (_trace, file) = trace_of_library(&path, &id, offset, 1);
    let (name, notes) = first_site(&file, &[]);
    assert_eq!((&*name, &*notes), ("grow_pool (grow.c:3)", "[]"));
    let dwo = fs::read_dir(directory.path()).unwrap().map(|entry| entry.unwrap().path());
    let dwo = dwo.into_iter().find(|path| path.extension().is_some_and(|it| it == "dwo")).unwrap();
    fs::remove_file(&dwo).unwrap();
    let (name, notes) = first_site(&file, &[]);
    assert!(name.starts_with("grow_pool"), "{name}");
    assert!(notes.contains(dwo.to_str().unwrap()), "{notes}");
}

#[test]
fn reads_debug_information_that_dwz_has_moved() {
    let directory = TempDir::new().unwrap();
    // What both have in common is moved to a third file.
    let types = (0..40).map(|n| format!("struct s{n} {{ long field_{n}, other_{n}; }} v{n};\n"));
    let (path, id, offset) = library(&directory, &types.collect::<Vec<_>>().concat());
    let copy = directory.path().join("copy.so");
    fs::copy(&path, &copy).unwrap();
    let common = directory.path().join("common.debug");
    let dwz = Command::new("dwz").arg("-m").arg(&common).args(["-r", &path]).arg(&copy).status();
    if !dwz.is_ok_and(|status| status.success()) {
        return skip("debug information moved by dwz: apt-get install dwz");
    }
    let (_trace, file) = trace_of_library(&path, &id, offset, 1);
    let (name, notes) = first_site(&file, &[]);
    assert_eq!((&*name, &*notes), ("grow_pool (grow.c:43)", "[]"));
    let elsewhere = TempDir::new().unwrap();
    fs::rename(&common, elsewhere.path().join("common.debug")).unwrap();
    let (_, notes) = first_site(&file, &[]);
    assert!(notes.contains("common.debug (dwz), which was not found"), "{notes}");
    let (name, _) = first_site(&file, &["--debug-path", elsewhere.path().to_str().unwrap()]);
    assert_eq!(name, "grow_pool (grow.c:43)");
}

#[test]
fn says_why_debug_information_cannot_be_read() {
    use object::{Object, ObjectSection};
    let directory = TempDir::new().unwrap();
    let (path, id, offset) = library(&directory, "");
    let mut bytes = fs::read(&path).unwrap();
    let file = object::File::parse(&*bytes).unwrap();
    let start = file.section_by_name(".debug_info").unwrap().file_range().unwrap().0 as usize;
    // A unit's length.
    bytes[start..start + 4].copy_from_slice(&0xffff_fff1_u32.to_ne_bytes());
    fs::write(&path, &bytes).unwrap();
    let (_trace, file) = trace_of_library(&path, &id, offset, 1);
    let (_, notes) = first_site(&file, &[]);
    assert!(notes.contains("libgrow.so: its debug information cannot be read"), "{notes}");
}

#[test]
fn names_a_call_by_the_library_that_was_loaded_then() {
    let directory = TempDir::new().unwrap();
    let module = |path: &str, since: u64| {
        let mut records = library_records(path, &[]);
        if let Record::Module(module) = &mut records[0] {
            module.since = since;
        }
        records
    };
    let call = |ticks: u64| {
        let made = made(Outcome::PassedThrough, ticks, 1, -14);
        Record::Call(Call { caller: 0x5555_0000_1234, ..made })
    };
    // In the order in which threads may store them.
    let records = [
        module("/opt/libsecond.so", 2_000),
        vec![call(1_500), call(3_500), call(2_999), call(3_600)],
        module("/opt/libfirst.so", 0),
        module("/opt/libthird.so", 2_500),
    ];
    let (_trace, file) = trace(&records.concat());
    let pack = directory.path().join("x.mremapz").display().to_string();
    assert!(analyzer(&["pack", "-o", &pack, &file]).status.success());
    for file in [&file, &pack] {
        let events = stdout(&analyzer(&["events", file]));
        let names: Vec<_> = events.lines().filter_map(|line| line.split(" lib").nth(1)).collect();
        let expected = ["first", "first", "third", "third"];
        assert!(names.iter().zip(expected).all(|(name, lib)| name.starts_with(lib)), "{events}");
        let report = json(&analyzer(&["report", "--json", file]));
        let sites = report["sites"].as_array().unwrap().iter();
        let calls: Vec<_> =
            sites.map(|it| (it["site"].as_str().unwrap(), it["calls"].as_u64().unwrap())).collect();
        assert_eq!(calls, [("libfirst.so+0x1234", 2), ("libthird.so+0x1234", 2)]);
        let of_site = json(&analyzer(&["report", "--json", "--site", "libthird", file]));
        assert_eq!((&of_site["calls"], &of_site["failed"]), (&2.into(), &2.into()));
        let folded = stdout(&analyzer(&["export", "--format", "folded", file]));
        assert!(folded.contains(";libthird.so+0x1234 2\n"), "{folded}");
    }
}

/// A directory of debug files by build id, as the debuginfod client finds or fetches them.
fn served(directory: &TempDir) -> (String, String, TempDir) {
    let (path, id, offset) = library(directory, "");
    let (trace, file) = trace_of_library(&path, &id, offset, 1);
    let hex = id.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().concat();
    let by_id = directory.path().join("buildid").join(hex);
    fs::create_dir_all(&by_id).unwrap();
    fs::rename(&path, by_id.join("debuginfo")).unwrap();
    (file, path, trace)
}

fn first_site_by_client(file: &str, path: &str, home: &TempDir, url: &str) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_mremap-analyzer"))
        .args(["report", "--json", file])
        .env("PATH", path)
        .env("DEBUGINFOD_URLS", url)
        .env("DEBUGINFOD_CACHE_PATH", home.path().join("cache"))
        .output()
        .unwrap();
    json(&output)["sites"][0]["site"].as_str().unwrap().to_owned()
}

#[test]
fn fetches_debug_information_by_debuginfods_client() {
    use std::os::unix::fs::PermissionsExt as _;
    let directory = TempDir::new().unwrap();
    let (file, _, _trace) = served(&directory);
    let client = write(
        &directory,
        "debuginfod-find",
        b"#!/bin/sh\necho \"$1\" >>\"${0%/*}/asked\"\nfile=${0%/*}/buildid/$2/$1\n\
          test -f \"$file\" && echo \"$file\"\n",
    );
    fs::set_permissions(client, fs::Permissions::from_mode(0o755)).unwrap();
    let path = format!("{}:/usr/bin:/bin", directory.path().display());
    let name = first_site_by_client(&file, &path, &directory, "http://127.0.0.1:1");
    assert_eq!(name, "grow_pool (grow.c:3)");
    assert_eq!(fs::read_to_string(directory.path().join("asked")).unwrap(), "debuginfo\n");
    // Without servers nobody is asked.
    let name = first_site_by_client(&file, &path, &directory, "");
    assert!(name.starts_with("libgrow.so+"), "{name}");
    assert_eq!(fs::read_to_string(directory.path().join("asked")).unwrap(), "debuginfo\n");
}

#[test]
fn fetches_debug_information_from_a_server() {
    let directory = TempDir::new().unwrap();
    let (file, _, _trace) = served(&directory);
    let path = std::env::var("PATH").unwrap();
    let url = format!("file://{}", directory.path().display());
    if Command::new("debuginfod-find").arg("--version").output().is_err() {
        return skip("debuginfod's client: apt-get install debuginfod");
    }
    let name = first_site_by_client(&file, &path, &directory, &url);
    assert_eq!(name, "grow_pool (grow.c:3)");
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

/// A pack with a recorded stack, whose unwind table is in it.
fn packed_stack() -> (TempDir, String, TempDir) {
    let directory = TempDir::new().unwrap();
    let (path, id, offset) = library(&directory, "");
    let call = library_records(&path, &id).len() as u32 + 1;
    let mut words = StackWords { call, first: 0, count: 2, ..StackWords::default() };
    words.entries[..2].copy_from_slice(&[0x7fff_0000_0000; 2]);
    let words = Record::StackWords(words);
    let (trace, file) = trace(&records_of(&path, &id, offset, Some(words)));
    let pack = directory.path().join("x.mremapz").display().to_string();
    assert!(analyzer(&["pack", &file, "-o", &pack]).status.success());
    (directory, pack, trace)
}

/// Code words in a text of FORMAT.md.
fn code_words(text: &str) -> Vec<&str> {
    text.split('`').skip(1).step_by(2).collect()
}

#[test]
fn a_pack_has_the_documented_entries_and_fields() {
    let document = include_str!("../../trace/FORMAT.md");
    let (_, document) = document.split_once("\n## Pack\n").unwrap();
    let rows = document.lines().filter_map(|line| line.strip_prefix("| `"));
    let rows: Vec<(&str, &str)> = rows.map(|row| row.split_once("` | ").unwrap()).collect();
    let (_, site) = document.split_once("A site has ").unwrap();
    let site = code_words(site.split_once(". ").unwrap().0);

    let (_directory, pack, _) = packed_stack();
    let file = zstd::Decoder::new(fs::File::open(pack).unwrap()).unwrap();
    let mut archive = tar::Archive::new(file);
    let mut entries = archive.entries().unwrap().map(Result::unwrap);
    let mut next = || {
        let mut entry = entries.next().unwrap();
        let (path, mode) = (entry.path().unwrap().display().to_string(), entry.header().mode());
        let mut bytes = Vec::new();
        std::io::Read::read_to_end(&mut entry, &mut bytes).unwrap();
        (path, mode.unwrap(), bytes)
    };
    let parse = |bytes: &[u8]| serde_json::from_slice::<serde_json::Value>(bytes).unwrap();
    let fields = |value: &serde_json::Value| {
        let object = value.as_object().unwrap();
        object.keys().cloned().collect::<std::collections::BTreeSet<_>>()
    };
    let documented = |words: &[&str]| {
        words.iter().map(|word| (*word).to_owned()).collect::<std::collections::BTreeSet<_>>()
    };
    let (name, _, bytes) = next();
    let modules = parse(&bytes);
    assert_eq!((&*name, &*name), (rows[0].0, "unwind.json"));
    assert_eq!(fields(&modules[0]), documented(&code_words(rows[0].1)));
    let (name, _, bytes) = next();
    assert_eq!(name, rows[1].0.replace('N', "0"));
    assert!(!bytes.is_empty());
    let (name, _, bytes) = next();
    assert_eq!(name, rows[2].0.replace('T', "0"));
    let sites = parse(&bytes);
    let [address, module, named] = &sites[0].as_array().unwrap()[..] else { panic!("{sites}") };
    assert!(address.is_u64() && module == 0, "{sites}");
    assert_eq!(fields(named), documented(&[&site[..5], &site[8..]].concat()));
    assert_eq!(fields(&named["frames"][0]), documented(&site[5..8]));
    let (name, mode, bytes) = next();
    assert!(rows[3].0.ends_with(".mremap") && name.ends_with("/t.mremap"), "{name}");
    assert!(rows[3].1.contains(&format!("0{mode:o}")) && bytes.starts_with(b"MREMAPTR"));
    assert!(entries.next().is_none());
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
