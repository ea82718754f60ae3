//! The Debian package: what it puts where, and that it goes without a trace.

use std::fs;
use std::path::Path;

use crate::support::nspawn::{Machine, package};

#[test]
fn the_package_has_the_version_of_the_crate() {
    let changelog = Path::new(env!("CARGO_MANIFEST_DIR")).join("packaging/changelog");
    let first = fs::read_to_string(changelog).unwrap().lines().next().unwrap().to_owned();
    assert!(first.starts_with(concat!("bws-exec (", env!("CARGO_PKG_VERSION"), "-1) ")), "{first}");
}

#[test]
#[ignore = "needs root and systemd-nspawn"]
fn the_package_comes_and_goes() {
    let machine = Machine::boot();
    let files = || {
        machine.run(["find", "/", "-xdev", "-path", "/var", "-prune", "-o", "-name", "*bws-exec*", "-print"])
    };
    let file = machine.receive(package());
    let before = files();
    machine.run(["dpkg", "--install", &file]);
    let installed = machine.run(["dpkg", "--listfiles", "bws-exec"]);
    for path in [
        "/usr/bin/bws-exec",
        "/usr/lib/systemd/system/bws-exec@.service",
        "/usr/share/man/man1/bws-exec.1.gz",
        "/usr/share/bash-completion/completions/bws-exec",
        "/usr/share/zsh/vendor-completions/_bws-exec",
        "/usr/share/fish/vendor_completions.d/bws-exec.fish",
        "/usr/share/doc/bws-exec/copyright",
        "/usr/share/doc/bws-exec/changelog.Debian.gz",
        "/usr/share/doc/bws-exec/docs/systemd.md",
        "/usr/share/doc/bws-exec/examples/systemd/app.service",
    ] {
        assert!(installed.lines().any(|line| line == path), "{path}: {installed}");
        machine.run(["test", "-s", path]);
    }
    assert_eq!(machine.run(["dpkg-query", "-W", "-f", "${Depends}${Pre-Depends}", "bws-exec"]), "");
    let version = machine.run(["bws-exec", "--version"]);
    assert_eq!(version, concat!("bws-exec ", env!("CARGO_PKG_VERSION"), "\n"));
    // The manual page is read as roff reads it, the template as systemd does.
    assert!(machine.run(["zcat", "/usr/share/man/man1/bws-exec.1.gz"]).contains(".SH \"NAME\""));
    assert!(machine.run(["systemctl", "list-unit-files", "bws-exec@.service"]).contains("disabled"));

    machine.run(["dpkg", "--purge", "bws-exec"]);
    assert_eq!(files(), before);
}
