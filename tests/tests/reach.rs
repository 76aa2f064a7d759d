//! Calls of `mremap` are seen through every symbol, and other calls of the hooked functions are
//! unchanged.

use mremap_tests::artifacts::Artifacts;
use mremap_tests::output::text;
use mremap_tests::preload::{Preload, alone};

/// The number of `mremap` calls in `reach.c`.
const CALLS: usize = 7;

#[test]
fn sees_calls_through_every_symbol_and_changes_no_other() {
    let program = Artifacts::get().fixture("reach");
    let plugin = Artifacts::get().fixture("libreach_plugin.so");
    let plugin = plugin.to_str().expect("a path in UTF-8");
    let alone = alone(&program, &[plugin]);
    let expected = text(&alone.stdout);
    // Older kernels lack MREMAP_DONTUNMAP with a hint, and the fixture prints so in both runs.
    assert!(expected.lines().count() >= 13, "{alone:?}");
    for mode in ["auto", "emulate", "passthrough"] {
        let (run, trace) = Preload::new(&program).args(&[plugin]).setting("MODE", mode).traced();
        assert_eq!(text(&run.stdout), expected, "{mode}: {run:?}");
        assert_eq!(trace.calls().len(), CALLS, "{mode}: {:#x?}", trace.calls());
        assert!(
            trace.calls().iter().all(|call| call.caller != 0),
            "{mode}: every call has a return address"
        );
    }
}
