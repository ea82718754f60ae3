//! The options of `docker run` and `podman run`, and of the clients themselves: which of them take a
//! value. Without that nobody can tell where the image stands. A test compares the tables with what the
//! installed clients print for `--help`.

use super::Engine;

/// One option: its long name, its letter if it has one (else a space), and whether a value follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Known {
    pub long: &'static str,
    pub letter: char,
    pub takes_value: bool,
}

/// Where an option stands: before the subcommand, or after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    Client,
    Run,
}

/// The option of that name.
pub fn by_name(engine: Engine, level: Level, name: &str) -> Option<Known> {
    tables(engine, level).find(|known| known.long == name)
}

/// The option of that letter.
pub fn by_letter(engine: Engine, level: Level, letter: char) -> Option<Known> {
    tables(engine, level).find(|known| known.letter == letter && letter != ' ')
}

fn tables(engine: Engine, level: Level) -> impl Iterator<Item = Known> {
    let tables: &[(&str, bool)] = match (engine, level) {
        (Engine::Docker, Level::Client) => &[(DOCKER_VALUES, true), (DOCKER_FLAGS, false)],
        (Engine::Podman, Level::Client) => &[(PODMAN_VALUES, true), (PODMAN_FLAGS, false)],
        (Engine::Docker, Level::Run) => {
            &[(RUN_VALUES, true), (RUN_FLAGS, false), (DOCKER_RUN_VALUES, true), (DOCKER_RUN_FLAGS, false)]
        }
        // podman takes its own options after the subcommand too, but their letters have another meaning
        // there, so those of `run` come first.
        (Engine::Podman, Level::Run) => &[
            (RUN_VALUES, true),
            (RUN_FLAGS, false),
            (PODMAN_RUN_VALUES, true),
            (PODMAN_RUN_FLAGS, false),
            (PODMAN_VALUES, true),
            (PODMAN_FLAGS, false),
        ],
    };
    tables.iter().flat_map(|&(table, takes_value)| {
        table.split_ascii_whitespace().map(move |word| {
            let (letter, long) = match word.split_once('/') {
                Some((letter, long)) => (letter.chars().next().unwrap_or(' '), long),
                None => (' ', word),
            };
            Known { long, letter, takes_value }
        })
    })
}

/// `docker run` and `podman run`, with a value; a letter stands before its name.
const RUN_VALUES: &str = "
    add-host annotation a/attach blkio-weight blkio-weight-device cap-add cap-drop cgroup-parent cgroupns
    cidfile cpu-period cpu-quota cpu-rt-period cpu-rt-runtime c/cpu-shares cpus cpuset-cpus cpuset-mems
    detach-keys device device-cgroup-rule device-read-bps device-read-iops device-write-bps device-write-iops
    dns dns-option dns-opt dns-search entrypoint e/env env-file expose gpus group-add health-cmd health-interval
    health-retries health-start-period health-timeout h/hostname ip ip6 ipc l/label label-file log-driver log-opt
    mac-address m/memory memory-reservation memory-swap memory-swappiness mount name network net network-alias
    oom-score-adj pid pids-limit platform p/publish pull restart runtime security-opt shm-size stop-signal
    stop-timeout storage-opt sysctl tmpfs ulimit u/user userns uts v/volume volumes-from w/workdir";

/// Without one. `--rm=false` is another way to say it.
const RUN_FLAGS: &str = "
    d/detach disable-content-trust help init i/interactive no-healthcheck oom-kill-disable privileged
    P/publish-all q/quiet read-only rm sig-proxy t/tty";

const DOCKER_RUN_VALUES: &str = "
    cpu-count cpu-percent domainname health-start-interval io-maxbandwidth io-maxiops isolation kernel-memory
    link link-local-ip net-alias volume-driver";

const DOCKER_RUN_FLAGS: &str = "use-api-socket";

const PODMAN_RUN_VALUES: &str = "
    arch authfile cert-dir cgroup-conf cgroups chrootdirs conmon-pidfile creds decryption-key env-merge gidmap
    health-log-destination health-max-log-count health-max-log-size health-on-failure health-startup-cmd
    health-startup-interval health-startup-retries health-startup-success health-startup-timeout
    healthcheck-command healthcheck-interval healthcheck-retries healthcheck-start-period healthcheck-timeout
    hostuser hosts-file image-volume init-ctr init-path intel-rdt-clos-id os passwd-entry group-entry personality
    pidfile pod pod-id-file preserve-fd preserve-fds rdt-class requires retry retry-delay sdnotify
    seccomp-policy secret shm-size-systemd signature-policy subgidname subuidname systemd timeout tz uidmap umask
    unsetenv variant";

const PODMAN_RUN_FLAGS: &str = "
    env-host http-proxy no-hostname no-hosts passwd read-only-tmpfs replace rmi rootfs tls-verify unsetenv-all";

const DOCKER_VALUES: &str = "config c/context H/host l/log-level tlscacert tlscert tlskey";

const DOCKER_FLAGS: &str = "D/debug help tls tlsverify v/version";

const PODMAN_VALUES: &str = "
    cdi-spec-dir cgroup-manager config conmon c/connection db-backend default-mounts-file events-backend
    hooks-dir identity imagestore log-level module namespace network-backend network-cmd-path
    network-config-dir out pull-option registries-conf root runroot runtime runtime-flag ssh storage-driver
    storage-opt tls-ca tls-cert tls-key tmpdir url volumepath";

const PODMAN_FLAGS: &str = "help noout r/remote syslog trace transient-store v/version";

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn each_option_stands_once() {
        for engine in [Engine::Docker, Engine::Podman] {
            let mut seen = HashSet::new();
            for known in tables(engine, Level::Run) {
                assert!(seen.insert(known.long) || ["help", "runtime", "storage-opt"].contains(&known.long));
            }
        }
    }

    #[test]
    fn names_and_letters() {
        let found = by_letter(Engine::Docker, Level::Run, 'e').unwrap();
        assert_eq!(found, Known { long: "env", letter: 'e', takes_value: true });
        assert_eq!(by_letter(Engine::Docker, Level::Client, 'c').unwrap().long, "context");
        assert_eq!(by_letter(Engine::Podman, Level::Run, 'c').unwrap().long, "cpu-shares");
        assert!(!by_name(Engine::Podman, Level::Run, "rootfs").unwrap().takes_value);
        assert!(by_name(Engine::Podman, Level::Run, "log-level").is_some());
        assert!(by_name(Engine::Docker, Level::Run, "log-level").is_none());
        assert!(by_letter(Engine::Docker, Level::Run, ' ').is_none());
    }
}
