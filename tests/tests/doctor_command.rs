//! `mremap-analyzer doctor`: its self-test on this kernel, its checks of programs and settings, its
//! status.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Output};

use mremap_tests::artifacts::Artifacts;
use serde_json::Value;

fn doctor(arguments: &[&str]) -> Command {
    let mut command = Command::new(Artifacts::get().analyzer());
    command.arg("doctor").args(arguments).env_remove("LD_PRELOAD");
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("MREMAP_SHIM_")) {
        command.env_remove(name);
    }
    command
}

fn output(command: &mut Command) -> Output {
    command.output().expect("the analyzer runs")
}

fn report(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"))
}

/// The first check of this name.
fn check<'a>(report: &'a Value, name: &str) -> &'a Value {
    let checks = report["checks"].as_array().expect("a list of checks");
    let found = checks.iter().find(|check| check["check"] == name);
    found.unwrap_or_else(|| panic!("no check {name} in {report}"))
}

#[test]
fn self_test_shows_what_kernel_and_shim_do() {
    let output = output(&mut doctor(&["--json"]));
    let report = report(&output);
    assert_eq!((output.status.code(), &report["verdict"]), (Some(0), &"ok".into()), "{report}");
    for name in ["loads", "hooks", "behaviour"] {
        assert_eq!(check(&report, name)["state"], "ok", "{report}");
    }
    assert_ne!(check(&report, "libc")["state"], "problem", "{report}");
    let kernel = check(&report, "multi-vma-move")["what"].as_str().expect("text");
    let behaviour = check(&report, "behaviour")["what"].as_str().expect("text");
    assert_eq!(
        kernel.contains("one VMA at a time"),
        behaviour.contains("emulated just now"),
        "{kernel} {behaviour}"
    );
}

#[test]
fn shows_the_loaders_message_about_a_bad_library() {
    let directory = tempfile::tempdir().expect("a directory");
    let library = directory.path().join("libnone.so");
    fs::write(&library, b"no library").expect("it is written");
    let output = output(&mut doctor(&["--json", "--shim", library.to_str().expect("text")]));
    let report = report(&output);
    assert_eq!(output.status.code(), Some(1), "{report}");
    let loads = check(&report, "loads");
    assert_eq!(loads["state"], "problem");
    assert!(loads["what"].as_str().expect("text").contains("libnone.so"), "{loads}");
    assert!(loads["fix"].is_string());
}

#[test]
fn names_what_keeps_the_shim_from_a_program() {
    let busy = Artifacts::get().fixture("busy");
    let text = busy.to_str().expect("a path of text");
    let output_of = |program: &str| output(&mut doctor(&["--json", program]));
    let reached = output_of(text);
    assert_eq!(reached.status.code(), Some(0), "{reached:?}");
    let report_of_it = report(&reached);
    assert_eq!(check(&report_of_it, "preload")["state"], "ok");
    let callers = check(&report_of_it, "callers")["what"].as_str().expect("text");
    assert!(callers.contains("busy"), "{callers}");

    let directory = tempfile::tempdir().expect("a directory");
    let setuid = directory.path().join("setuid");
    fs::copy(&busy, &setuid).expect("a copy");
    fs::set_permissions(&setuid, fs::Permissions::from_mode(0o4755)).expect("its mode is set");
    for (program, why) in [(setuid.as_path(), "setuid"), (Path::new("/no/such"), "no such program")]
    {
        let refused = output_of(program.to_str().expect("text"));
        assert_eq!(refused.status.code(), Some(1), "{refused:?}");
        let report = report(&refused);
        let reach = check(&report, "reach");
        assert!(reach["what"].as_str().expect("text").contains(why), "{reach}");
        let fix = reach["fix"].as_str().expect("text");
        for hint in ["run --reach all", "attach PID"] {
            assert_eq!(fix.contains(hint), why == "setuid", "{hint}: {reach}");
        }
    }
}

#[test]
fn reports_unknown_settings() {
    let mistyped = output(doctor(&["--json"]).env("MREMAP_SHIM_TRACES", "/tmp"));
    let report_of_it = report(&mistyped);
    assert_eq!(mistyped.status.code(), Some(1));
    assert_eq!(check(&report_of_it, "setting")["state"], "problem");
    let plain = output(doctor(&[]).env("MREMAP_SHIM_TRACES", "/tmp"));
    let text = String::from_utf8_lossy(&plain.stdout).into_owned();
    assert!(
        text.contains("MREMAP_SHIM_TRACES is set") && text.contains("1 problem; its fix is above"),
        "{text}"
    );
}
