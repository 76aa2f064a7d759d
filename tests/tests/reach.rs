//! Every way a program can call `mremap` through a symbol is seen, and what passes by is not touched.

use std::process::Command;

use mremap_tests::artifacts::Artifacts;
use mremap_tests::preload::Preload;

/// Calls of `mremap` that `reach.c` makes.
const CALLS: usize = 7;

#[test]
fn calls_are_seen_whichever_symbol_they_go_through_and_nothing_else_is_touched() {
    let program = Artifacts::get().fixture("reach");
    let plugin = Artifacts::get().fixture("libreach_plugin.so");
    let plugin = plugin.to_str().expect("a path in UTF-8");
    let alone = Command::new(&program)
        .arg(plugin)
        .env_remove("LD_PRELOAD")
        .output()
        .expect("the fixture runs");
    let said = String::from_utf8_lossy(&alone.stdout);
    // Older kernels cannot do DONTUNMAP with a hint for all of this; whatever they say is compared below.
    assert!(said.lines().count() >= 13, "{alone:?}");
    for mode in ["auto", "emulate", "passthrough"] {
        let (run, trace) = Preload::new(&program).args(&[plugin]).setting("MODE", mode).traced();
        assert_eq!(String::from_utf8_lossy(&run.stdout), said, "{mode}: {run:?}");
        assert_eq!(trace.calls().len(), CALLS, "{mode}: {:#x?}", trace.calls());
        assert!(
            trace.calls().iter().all(|call| call.caller != 0),
            "{mode}: every call has a return address"
        );
    }
}
