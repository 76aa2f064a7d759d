//! The guest's first process: a busybox shell script that mounts what programs expect, runs the commands and reports.

use std::fmt::Write as _;
use std::time::Duration;

use super::GuestCommand;
use crate::arch::Arch;

/// The bits of the kernel's taint mask that say it complained: bad page, oops, warning.
const COMPLAINTS: u32 = 1 << 5 | 1 << 7 | 1 << 9;

/// Writes the script. Output and marks go to the second serial line, raw; the first one is the kernel's console.
pub fn init(commands: &[GuestCommand], nonce: &str, timeout: Duration, arch: Arch) -> String {
    let line = arch.lines().1;
    // Should whoever started the guest be gone, nobody ends it: it ends itself, a little later than they would have.
    let alone = timeout.as_secs() + 30;
    let mut script = format!(
        r#"#!/usr/bin/busybox sh
b() {{ /usr/bin/busybox "$@"; }}
mark() {{ printf '%s' "<<{nonce} $*>>"; }}
b mount -t proc proc /proc
b mount -t sysfs sys /sys
b mount -t devtmpfs dev /dev
b mkdir -p /dev/shm /dev/pts
b mount -t tmpfs tmpfs /dev/shm
b mkdir /tmp.new
b mount -t tmpfs tmpfs /tmp.new
b cp -a /tmp/. /tmp.new
b chmod 1777 /tmp.new /dev/shm
b mount --move /tmp.new /tmp
b mount -t tmpfs tmpfs /run
b ln -sf /proc/self/fd /dev/fd
b stty -F /dev/{line} raw -echo rows 50 cols 110
export PATH=/usr/local/bin:/usr/sbin:/usr/bin HOME=/root TERM=dumb NO_COLOR=1
cd /tmp
exec </dev/null >/dev/{line} 2>&1
( b sleep {alone}; b poweroff -f ) &
complaints() {{ echo $(($(b cat /proc/sys/kernel/tainted) & {COMPLAINTS})); }}
before=0
[ "$(complaints)" != 0 ] || b dmesg -c >/dev/null
report() {{
    local now=$(complaints)
    if [ "$now" != "$before" ]; then
        before=$now
        mark end $1 1; b dmesg | b tail -n 100; mark log
    else
        mark end $1 0
    fi
}}
mark ready
"#
    );
    for command in commands {
        let env: String = command
            .env
            .iter()
            .map(|(name, value)| quote(&format!("{name}={value}")) + " ")
            .collect();
        let argv: Vec<String> = command.argv.iter().map(|word| quote(word)).collect();
        let _ = writeln!(script, "b env {env}{}; report $?", argv.join(" "));
    }
    // Waits until the line has taken everything, then says so.
    let _ = write!(script, "mark 'done'\nb stty -F /dev/{line} raw\nb poweroff -f\n");
    script
}

/// A word as the shell must see it to leave it alone.
fn quote(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_reaches_the_program_as_it_is() {
        assert_eq!(quote("a b"), "'a b'");
        assert_eq!(quote("it's $HOME"), r"'it'\''s $HOME'");
    }
}
