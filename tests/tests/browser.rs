//! A browser that nobody here wrote: a dozen processes that share memory and, in the sandbox, give up nearly every system
//! call. `cargo xtask test --programs`.

use mremap_tests::need;
use mremap_tests::script::Script;

fn check(sandbox: &str, filter: &str) {
    let needed = [
        ("chromium-headless-shell", "chromium-headless-shell"),
        ("pgrep", "procps"),
    ];
    if needed
        .iter()
        .any(|(name, package)| need::program(name, package).is_none())
    {
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

#[test]
#[ignore = "large; cargo xtask test --programs runs it"]
fn chromium_renders_a_page_in_its_sandbox() {
    check("", "2");
}

#[test]
#[ignore = "large; cargo xtask test --programs runs it"]
fn chromium_renders_a_page_without_its_sandbox() {
    check("--no-sandbox", "0");
}
