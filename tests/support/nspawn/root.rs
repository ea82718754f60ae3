//! The root of the machines: made once, and again when it should hold something else.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// debootstrap makes it of these.
const PACKAGES: &str = "systemd,systemd-sysv,dbus";

/// systemd-coredump is put in without /proc: the package would set `kernel.core_pattern`, which is one for
/// the whole host.
const SCRIPT: &str = "debootstrap --variant=minbase --include=\"$2\" bookworm \"$1\"
chroot \"$1\" env DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends systemd-coredump zstd
chroot \"$1\" apt-get clean
chmod 755 \"$1\"
# Kept on disk, where it has to be searched.
mkdir -p \"$1/var/log/journal\"";

/// Its directory. Nothing may be written there.
pub fn debian() -> &'static Path {
    static ROOT: OnceLock<PathBuf> = OnceLock::new();
    ROOT.get_or_init(|| {
        let recipe = format!("{PACKAGES}\n{SCRIPT}");
        let directory = Path::new(env!("CARGO_TARGET_TMPDIR"));
        let (root, made_by) = (directory.join("debian"), directory.join("debian.made-by"));
        if fs::read_to_string(&made_by).is_ok_and(|text| text == recipe) {
            return root;
        }
        let part = tempfile::Builder::new().prefix("debian.").tempdir_in(directory).unwrap();
        let mut shell = Command::new("unshare");
        shell.args(["--mount", "sh", "-euc", SCRIPT, "sh"]).arg(part.path()).arg(PACKAGES);
        let made = shell.output().expect("unshare is there");
        let said = |stream: &[u8]| {
            String::from_utf8_lossy(&stream[stream.len().saturating_sub(2000)..]).into_owned()
        };
        let (out, err) = (said(&made.stdout), said(&made.stderr));
        assert!(made.status.success(), "debootstrap (it needs root): {out}{err}");
        let _ = fs::remove_dir_all(&root);
        fs::rename(part.keep(), &root).unwrap();
        fs::write(made_by, recipe).unwrap();
        root
    })
}
