//! Whether the process of a trace still runs.

use std::sync::OnceLock;

use mremap_trace::Header;
use mremap_tracer::{boot_id, pid_namespace, start_time};

/// Whether the process still runs. `None` if this cannot be known: it runs, or ran, on another
/// machine or in another pid namespace.
pub fn is_running(header: &Header) -> Option<bool> {
    static OWN: OnceLock<u64> = OnceLock::new();
    let namespace = *OWN.get_or_init(|| pid_namespace("self"));
    let is_other_namespace = header.pid_namespace != 0 && header.pid_namespace != namespace;
    if !is_this_boot(header) || is_other_namespace {
        return None;
    }
    // A pid is used again, but not with the same start time.
    Some(
        start_time(header.pid)
            .is_some_and(|found| header.start_time == 0 || header.start_time == found),
    )
}

/// Whether a trace was recorded on this machine since it was started.
pub fn is_this_boot(header: &Header) -> bool {
    let own = this_boot();
    header.boot_id == own && own != [0; 16]
}

/// This machine's boot id, read once; zeros if unknown.
pub fn this_boot() -> [u8; 16] {
    static OWN: OnceLock<[u8; 16]> = OnceLock::new();
    *OWN.get_or_init(boot_id)
}

#[cfg(test)]
mod tests {
    use mremap_trace::Header;

    use super::{boot_id, is_running, pid_namespace, start_time};

    #[test]
    fn compares_boot_namespace_and_start_time() {
        let start_time = start_time("self").unwrap();
        let own = Header {
            pid: std::process::id(),
            boot_id: boot_id(),
            pid_namespace: pid_namespace("self"),
            start_time,
            ..Header::default()
        };
        assert_eq!(is_running(&own), Some(true));
        assert_eq!(is_running(&Header { start_time: start_time + 1, ..own }), Some(false));
        assert_eq!(is_running(&Header { pid: u32::MAX, ..own }), Some(false));
        assert_eq!(is_running(&Header { pid_namespace: 7, ..own }), None);
        assert_eq!(is_running(&Header { boot_id: [9; 16], ..own }), None);
        let old_trace = Header { start_time: 0, pid_namespace: 0, ..own };
        assert_eq!(is_running(&old_trace), Some(true));
    }
}
