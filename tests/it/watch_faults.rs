//! `--watch` where something is not as it should be: the command is not disturbed, nobody is asked too often, and
//! changes are seen nevertheless.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use crate::support::vault::{Endpoint, Fault};
use crate::support::{Running, eventually, proc};
use crate::watch::{Written, syncs};

fn end(running: Running) -> String {
    running.signal(libc::SIGTERM);
    let outcome = running.finish();
    assert_eq!(outcome.code(), Some(3), "{}", outcome.stderr);
    outcome.stderr
}

#[test]
fn a_moment_that_the_server_does_not_take_is_not_named_again() {
    let written = Written::new();
    let running = written.start(&[]);
    let vault = &written.scenario.vault;
    vault.clear_log();
    vault.fault_times(1, Endpoint::Sync, Fault::error(400, "Last synced date must be in the past."));
    written.polls("three polls", |requests| syncs(requests).count() >= 4);
    let queries: Vec<bool> = syncs(&vault.requests()).map(|request| request.query.is_empty()).collect();
    assert_eq!(queries[..4], [false, true, true, true]);
    written.change("second");
    written.wait_for(&["first", "term", "second"]);
    assert_eq!(vault.count(Endpoint::Login), 0);
    assert_eq!(end(running), "");
}

#[test]
fn an_account_that_reads_nothing_does_not_log_in_at_each_poll() {
    let written = Written::new();
    let running = written.start(&["--optional", "KEY"]);
    let vault = &written.scenario.vault;
    vault.clear_log();
    vault.owner().ungrant(written.scenario.account, written.scenario.project);
    written.wait_for(&["first", "term", ""]);
    written.polls("more polls", |requests| syncs(requests).count() >= 6);
    assert_eq!(vault.count(Endpoint::Login), 1, "ten a minute are all that an address gets");
    end(running);
}

#[test]
fn a_token_file_that_is_gone_or_half_written_takes_nothing_away() {
    let written = Written::new();
    let file = written.directory.path().join("token");
    fs::write(&file, &written.scenario.token).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o400)).unwrap();
    let launch = written.launch(&[]).without_env("BWS_ACCESS_TOKEN");
    let running = written.started(launch.env("BWS_ACCESS_TOKEN_FILE", &file));
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    fs::write(&file, &written.scenario.token[..60]).unwrap();
    written.change("second");
    written.wait_for(&["first", "term", "second"]);
    fs::remove_file(&file).unwrap();
    written.change("third");
    written.wait_for(&["first", "term", "second", "term", "third"]);
    assert_eq!(end(running), "");
}

/// A bearer is good for an hour after its token is revoked. What another launch was told counts at once, and
/// the copy that it deleted does not come back.
#[test]
fn another_launch_that_is_refused_is_heard() {
    let written = Written::new();
    let vault = &written.scenario.vault;
    let cache = written.directory.path().join("cache");
    fs::create_dir(&cache).unwrap();
    let cached = ["--cache-dir", cache.to_str().unwrap()];
    let running = written.start(&cached);
    vault.owner().revoke_token(&written.scenario.token);
    vault.clear_log();
    let other = written.scenario.launch().options(cached).option("--no-session-cache");
    other.command(["true"]).run().failed_with(125, "invalid-client");
    written.change("second");
    eventually("the watching one is refused too", || {
        vault.requests().iter().filter(|request| request.status == Some(400)).count() >= 2
    });
    let offline = written.scenario.launch().options(cached).option("--offline");
    offline.command(["true"]).run().failed_with(75, "no-copy");
    assert_eq!(written.lines(), ["first"]);
    let stderr = end(running);
    assert!(stderr.contains("the command keeps running with the secrets that it has"), "{stderr}");
}

#[test]
fn a_command_that_is_gone_at_a_restart_ends_us_with_127() {
    let written = Written::new();
    let program = written.directory.path().join("program");
    let wait = "exec 9<>\"$0.wait\"; trap 'exit 0' TERM; while :; do read -r line <&9; done";
    fs::write(
        &program,
        format!(
            "#!/bin/sh\necho \"$KEY\" >>{0}; set -- {0}; {1}\n",
            written.log,
            wait.replace("$0", &written.log)
        ),
    )
    .unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    let launch = written.scenario.launch().option("--watch=1s").command([&program]);
    let running = written.started(launch);
    fs::remove_file(&program).unwrap();
    written.change("second");
    let outcome = running.finish();
    assert_eq!(outcome.code(), Some(127), "{}", outcome.stderr);
    assert!(outcome.stderr.contains("No such file or directory"), "{}", outcome.stderr);
    assert_eq!(written.lines(), ["first"]);
}

#[test]
#[ignore = "needs root"]
fn after_a_signal_no_content_stays_with_us() {
    let written = Written::new();
    let running = written.start(&["--on-change", "signal:HUP", "--map", "KEY=KEY", "--file", "FILE=KEY"]);
    written.change("second");
    written.wait_for(&["first", "hup"]);
    let memory = |pid| proc::descriptors(pid).into_values().filter(|to| to.contains("memfd")).count();
    assert_eq!(memory(proc::children(running.pid())[0]), 1);
    assert_eq!(memory(running.pid()), 0);
    let stderr = end(running);
    assert_eq!(
        stderr,
        "bws-exec: warning: --on-change signal: the content of --file FILE stays as it is at the start; give path= \
         to have it replaced\n"
    );
}
