//! systemd's journal without systemd: journald by itself, in a mount namespace of its caller's, with its files in a
//! directory that tests can search.

use std::path::Path;
use std::process::Command;

/// Shell commands that start it, with the directory in `$1` and its own process in `$journal`. What is written
/// is not compressed, and on disk at once.
pub const START: &str = "mkdir -p /run/systemd \"$1/var-log/journal\"
    mount -t tmpfs none /run/systemd && mount --bind \"$1/var-log\" /var/log || exit 1
    mkdir -p /run/systemd/journal /run/systemd/journald.conf.d; touch /run/systemd/journal/flushed
    printf '[Journal]\\n%s\\n' Storage=persistent Compress=no ReadKMsg=no Audit=no SyncIntervalSec=0 \
      RateLimitIntervalSec=0 >/run/systemd/journald.conf.d/test.conf
    /lib/systemd/systemd-journald 2>\"$1/journald.log\" & journal=$!
    until [ -S /run/systemd/journal/stdout ]; do kill -0 $journal || exit 1; sleep 0.02; done";

/// All that was written there so far.
pub fn read(directory: &Path) -> Vec<u8> {
    let files = directory.join("var-log/journal");
    let output =
        Command::new("journalctl").args(["--output=export", "--all", "--quiet", "-D"]).arg(files).output();
    output.expect("systemd is installed").stdout
}
