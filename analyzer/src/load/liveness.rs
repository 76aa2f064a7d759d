//! Whether the process of a trace still runs.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::OnceLock;

use mremap_trace::Header;

/// Whether the process still runs. `None` if this cannot be known: it runs, or ran, on another
/// machine or in another pid namespace.
pub fn is_running(header: &Header) -> Option<bool> {
    static OWN: OnceLock<u64> = OnceLock::new();
    let namespace = *OWN.get_or_init(pid_namespace);
    let is_other_namespace = header.pid_namespace != 0 && header.pid_namespace != namespace;
    if !is_this_boot(header) || is_other_namespace {
        return None;
    }
    let stat = fs::read(Path::new("/proc").join(header.pid.to_string()).join("stat"));
    let start_time = stat.ok().and_then(|stat| start_time(&stat));
    // A pid is used again, but not with the same start time.
    Some(start_time.is_some_and(|found| header.start_time == 0 || header.start_time == found))
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

/// Field 22 of `/proc/PID/stat`. The name, field 2, may contain spaces and parentheses.
fn start_time(stat: &[u8]) -> Option<u64> {
    let name_end = stat.iter().rposition(|&byte| byte == b')')?;
    let mut fields = str::from_utf8(stat.get(name_end + 1..)?).ok()?.split_ascii_whitespace();
    fields.nth(19)?.parse().ok()
}

fn pid_namespace() -> u64 {
    fs::metadata("/proc/self/ns/pid").map_or(0, |metadata| metadata.ino())
}

fn boot_id() -> [u8; 16] {
    let text = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    let mut digits = text.chars().filter_map(|letter| letter.to_digit(16));
    let mut id = [0; 16];
    for byte in &mut id {
        let (Some(high), Some(low)) = (digits.next(), digits.next()) else {
            return [0; 16];
        };
        *byte = (high << 4 | low) as u8;
    }
    id
}

#[cfg(test)]
mod tests {
    use mremap_trace::Header;

    use super::{boot_id, is_running, pid_namespace, start_time};

    #[test]
    fn compares_boot_namespace_and_start_time() {
        let stat = std::fs::read("/proc/self/stat").unwrap();
        let start_time = start_time(&stat).unwrap();
        let own = Header {
            pid: std::process::id(),
            boot_id: boot_id(),
            pid_namespace: pid_namespace(),
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
