//! The guest's first process: a busybox shell script that mounts file systems and runs the
//! commands.

use std::fmt::Write as _;
use std::time::Duration;

use super::GuestCommand;
use crate::arch::Arch;

/// Bits of the kernel's taint mask: bad page, oops, warning.
const WARNINGS: u32 = 1 << 5 | 1 << 7 | 1 << 9;

/// Writes the script. Output and marks go to the second serial line; the first is the kernel's
/// console.
pub fn init(commands: &[GuestCommand], nonce: &str, timeout: Duration, arch: Arch) -> String {
    let line = arch.lines().1;
    // A guest whose starter died powers itself off, some time after the starter would have.
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
warnings() {{ echo $(($(b cat /proc/sys/kernel/tainted) & {WARNINGS})); }}
before=0
[ "$(warnings)" != 0 ] || b dmesg -c >/dev/null
report() {{
    local now=$(warnings)
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
    // `stty` waits until the line is drained.
    let _ = write!(script, "mark 'done'\nb stty -F /dev/{line} raw\nb poweroff -f\n");
    script
}

/// Quotes a word for the shell.
fn quote(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_words_for_the_shell() {
        assert_eq!(quote("a b"), "'a b'");
        assert_eq!(quote("it's $HOME"), r"'it'\''s $HOME'");
    }
}
