//! A browser that nobody here wrote: a dozen processes that share memory and, in the sandbox, give up nearly every system
//! call. `cargo xtask test --programs`.

use std::process::Command;

use mremap_tests::need;
use mremap_tests::script::{Script, as_nobody};

fn check(sandbox: &str, filter: &str) {
    let needed = [("chromium-headless-shell", "chromium-headless-shell"), ("pgrep", "procps")];
    if needed.iter().any(|(name, package)| need::program(name, package).is_none()) {
        return;
    }
    let script = Script {
        text: include_str!("../programs/chromium.sh"),
        files: &[("page.html", include_str!("../programs/page.html"))],
        variables: &[("SANDBOX", sandbox), ("FILTER", filter)],
        program: "chromium-headless-shell",
    };
    script.check();
}

/// Whether a user without privileges may have a namespace of users, of which the sandbox is made.
fn sandboxes_are_allowed() -> bool {
    let mut command = Command::new("unshare");
    as_nobody(command.args(["--user", "true"]));
    command.status().is_ok_and(|status| status.success())
}

#[test]
#[ignore = "large; cargo xtask test --programs runs it"]
fn chromium_renders_a_page_in_its_sandbox() {
    if !sandboxes_are_allowed() {
        return need::skip(
            "Chromium's sandbox: this machine allows no user namespaces; see user_namespaces(7)",
        );
    }
    check("", "2");
}

#[test]
#[ignore = "large; cargo xtask test --programs runs it"]
fn chromium_renders_a_page_without_its_sandbox() {
    check("--no-sandbox", "0");
}
