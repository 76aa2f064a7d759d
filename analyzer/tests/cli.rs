//! The command line, and what `run` refuses. With the real library: `tests/tests/run_command.rs`.
#![allow(missing_docs)]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use common::*;
use tempfile::TempDir;

mod common;

#[test]
fn run_help_explains_every_value_of_every_setting() {
    let help = stdout(&analyzer(&["run", "--help"]));
    for setting in mremap_settings::ALL {
        for word in setting.words().iter().filter(|_| setting.id != mremap_settings::Id::Children) {
            let line = format!("- {}:", word.word);
            let explained = help.lines().any(|it| it.trim_start().starts_with(&line));
            assert!(explained, "{}: {line:?} in:\n{help}", setting.name);
        }
    }
    for option in ["--trace <", "--trace-size <", "--stack <", "--programs <", "--no-children"] {
        assert!(help.contains(option), "{option} in:\n{help}");
    }
    let bad = analyzer(&["run", "--stack", "61", "true"]);
    assert_eq!(bad.status.code(), Some(2));
    assert!(stderr(&bad).contains("must be 0 to 60"), "{}", stderr(&bad));
}

#[test]
fn doctor_knows_every_setting() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mremap-analyzer"));
    command.args(["doctor", "--json"]);
    for setting in mremap_settings::ALL {
        command.env(setting.name, setting.default.unwrap_or("x"));
    }
    let output = command.output().expect("the analyzer runs");
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let checks = report["checks"].as_array().expect("checks");
    let known = checks.iter().filter(|it| it["check"] == "setting" && it["state"] == "note");
    assert_eq!(known.count(), mremap_settings::ALL.len(), "{report}");
}

/// What `run` says when it refuses a program.
fn refusal(program: &Path, status: i32) -> String {
    let output = analyzer(&["run", program.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(status), "{}", stderr(&output));
    stderr(&output)
}

fn executable(directory: &TempDir, name: &str, bytes: &[u8], mode: u32) -> PathBuf {
    let path = write(directory, name, bytes);
    fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    path
}

/// An ELF header of this class and machine, without program headers: a static program.
fn elf(class: u8, machine: u16) -> Vec<u8> {
    let mut bytes = vec![0; 64];
    bytes[..7].copy_from_slice(&[0x7f, b'E', b'L', b'F', class, 1, 1]);
    bytes[16] = 2;
    bytes[18..20].copy_from_slice(&machine.to_le_bytes());
    bytes[20] = 1;
    bytes[52] = 64;
    bytes[54] = 56;
    bytes
}

#[test]
fn run_refuses_unreachable_programs_with_the_reason() {
    let directory = TempDir::new().unwrap();
    let native: u16 = if cfg!(target_arch = "x86_64") { 62 } else { 183 };
    let script = format!("#!{}\n", directory.path().join("loop").display());
    let shell = fs::read("/bin/sh").unwrap();
    for (name, bytes, mode, why) in [
        ("static", elf(2, native), 0o755, "statically linked"),
        ("narrow", elf(1, 3), 0o755, "32-bit"),
        ("foreign", elf(2, 8), 0o755, "another architecture"),
        ("text", b"hello".to_vec(), 0o755, "neither an ELF program nor a script"),
        ("plain", shell.clone(), 0o644, "not executable"),
        ("setuid", shell, 0o4755, "setuid"),
        ("loop", script.into_bytes(), 0o755, "too many for the kernel"),
        ("script", b"#!/usr/bin/env -S absent-interpreter\n".to_vec(), 0o755, "not found in PATH"),
    ] {
        let status = if name == "script" { 127 } else { 126 };
        let printed = refusal(&executable(&directory, name, &bytes, mode), status);
        assert!(printed.contains(why), "{name}: {printed}");
        let qemu = ["narrow", "foreign"].contains(&name);
        assert_eq!(printed.contains("mremap-analyzer run qemu-"), qemu, "{name}: {printed}");
        let reached = ["static", "setuid"].contains(&name);
        assert_eq!(printed.contains("run --reach all "), reached, "{name}: {printed}");
        assert_eq!(printed.contains("attach PID"), name == "setuid", "{name}: {printed}");
    }
    assert!(refusal(directory.path(), 126).contains("a directory"));
    assert!(refusal(Path::new("no-such-program-anywhere"), 127).contains("not found in PATH"));
    let own = std::process::id().to_string();
    assert!(refusal(Path::new(&own), 127).contains(&format!("mremap-analyzer attach {own}")));
    assert!(refusal(Path::new("/no/such/program"), 127).contains("no such program"));
}

/// A library that defines `mremap` and records nothing.
fn no_shim() -> String {
    let maps = fs::read_to_string("/proc/self/maps").unwrap();
    let libc = maps.split_whitespace().find(|word| word.ends_with("/libc.so.6"));
    libc.expect("glibc").to_owned()
}

fn run_shell(options: &[&str], script: &str) -> Output {
    analyzer(&[&["run"], options, &["sh", "-c", script]].concat())
}

#[test]
fn run_returns_the_programs_status_and_fails_when_nothing_was_recorded() {
    let directory = TempDir::new().unwrap();
    let (traces, library) = (directory.path().join("traces"), no_shim());
    let options = ["--shim", &library, "--trace", traces.to_str().unwrap()];
    let output = run_shell(&options, "echo out; exit 7");
    assert_eq!((output.status.code(), stdout(&output)), (Some(7), "out\n".to_owned()));
    assert!(stderr(&output).contains("no trace in"), "{}", stderr(&output));
    assert_eq!(run_shell(&options, "kill -TERM $$").status.code(), Some(128 + 15));
    assert_eq!(run_shell(&options, "exit 0").status.code(), Some(125));
    let best_effort = [&options[..], &["--best-effort"]].concat();
    assert_eq!(run_shell(&best_effort, "exit 0").status.code(), Some(0));
}

#[test]
fn run_fails_before_the_program_runs_when_nothing_can_be_recorded() {
    let directory = TempDir::new().unwrap();
    let (file, library) = (executable(&directory, "lib.so", b"no library", 0o644), no_shim());
    let below_file = file.join("traces");
    for options in [
        &["--shim", &library, "--trace", below_file.to_str().unwrap()][..],
        &["--shim", file.to_str().unwrap()],
        &["--shim", "/proc/self/exe"],
        &["--shim", "/no/such/library"],
    ] {
        let refused = run_shell(options, "echo out");
        assert_eq!((refused.status.code(), stdout(&refused)), (Some(125), String::new()));
        assert!(stderr(&refused).starts_with("mremap-analyzer: /"), "{}", stderr(&refused));
        let run = run_shell(&[options, &["--best-effort"]].concat(), "exit 3");
        assert_eq!(run.status.code(), Some(3));
        assert_eq!(stderr(&run).lines().count(), 1, "{}", stderr(&run));
    }
}

#[test]
fn check_keeps_its_status_when_the_reader_of_the_pipe_is_gone() {
    let (_directory, file) = sample_file();
    for options in [&["check"][..], &["check", "--json"]] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_mremap-analyzer"));
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let status = command.args(options).arg(&file).stdout(writer).status().unwrap();
        assert_eq!(status.code(), Some(1), "{options:?}");
    }
}

#[test]
fn colors_are_printed_as_asked() {
    let (_directory, file) = sample_file();
    let is_colored = |arguments: &[&str]| {
        let output = analyzer(&[arguments, &["check", &file]].concat());
        stdout(&output).contains('\x1b')
    };
    assert!(is_colored(&["--color", "always"]));
    assert!(!is_colored(&["--color", "never"]) && !is_colored(&[]), "in a pipe");
}

#[test]
fn html_names_the_file_that_it_writes_by_default() {
    let (directory, file) = sample_file();
    let html = |options: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_mremap-analyzer"));
        command.arg("html").args(options).arg(&file).current_dir(directory.path());
        command.output().unwrap()
    };
    let output = html(&[]);
    assert_eq!((output.status.code(), stdout(&output).trim()), (Some(0), "mremap.html"));
    let page = fs::read(directory.path().join("mremap.html")).unwrap();
    assert!(page.starts_with(b"<!DOCTYPE html>"), "{:?}", String::from_utf8_lossy(&page[..80]));
    assert_eq!(html(&["-o", "-"]).stdout.len(), page.len());
}

#[test]
fn completions_are_offered_for_shells() {
    for (shell, word) in [("bash", "complete"), ("zsh", "#compdef"), ("fish", "complete -c")] {
        let output = analyzer(&["completions", shell]);
        assert_eq!(output.status.code(), Some(0));
        assert!(stdout(&output).contains(word), "{shell}");
    }
    assert!(stdout(&analyzer(&["--help"])).contains("completions"));
}
