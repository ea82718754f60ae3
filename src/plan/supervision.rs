//! `--init`, `--watch` and `--mask`: to stay beside the command, and how.

use std::str::FromStr;
use std::time::Duration;

use nix::sys::signal::Signal;

use crate::cli::Args;
use crate::env::FileRule;
use crate::error::Error;

const KILL_AFTER: Duration = Duration::from_secs(10);
/// Many launches behind one address share its 200 requests a minute.
const SHORTEST: Duration = Duration::from_secs(1);

/// What was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Supervision {
    /// `--kill-after`; zero is never.
    pub kill_after: Duration,
    /// `--signal-group`.
    pub signal_group: bool,
    /// `--mask`.
    pub mask: bool,
    /// `--watch`.
    pub watch: Option<Watching>,
}

/// `--watch` and `--on-change`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Watching {
    pub interval: Duration,
    pub on_change: OnChange,
}

/// What a change of secrets leads to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnChange {
    /// End the command and start it anew.
    #[default]
    Restart,
    /// End the command and then us, with the code that asks for a new try.
    Exit,
    /// Send the command this signal.
    Signal(i32),
}

impl Supervision {
    /// What cannot work as asked.
    pub fn warning(&self, files: &[FileRule]) -> Option<String> {
        let OnChange::Signal(_) = self.watch?.on_change else { return None };
        let fixed = files.iter().find(|file| file.path.is_none())?;
        Some(format!(
            "--on-change signal: the content of --file {} stays as it is at the start; give path= to have it \
             replaced",
            fixed.name
        ))
    }
}

pub fn of(args: &Args) -> Result<Option<Supervision>, Error> {
    if args.on_change.is_some() && args.watch.is_none() {
        return Err(Error::usage(
            "--on-change is for --watch",
            "for example: --watch=5m --on-change restart",
        ));
    }
    let staying =
        [args.watch.map(|_| "--watch"), args.mask.then_some("--mask"), args.init.then_some("--init")];
    let Some(staying) = staying.into_iter().flatten().next() else {
        let alone = [args.kill_after.map(|_| "--kill-after"), args.signal_group.then_some("--signal-group")];
        return match alone.into_iter().flatten().next() {
            Some(option) => Err(Error::usage(
                format!("{option} is for a launcher that stays, and this one becomes the command"),
                "add --init to stay",
            )),
            None => Ok(None),
        };
    };
    if args.container.is_some() || args.container_inner {
        let hint = match staying {
            "--init" => "use the engine's own: docker run --init, podman run --init",
            "--mask" => {
                "make bws-exec the image's entrypoint and give it --mask there; see docs/containers.md"
            }
            _ => "make bws-exec the image's entrypoint and give it --watch there; see docs/containers.md",
        };
        return Err(Error::usage(
            format!("{staying} stays beside a command of this machine, and --container's runs in the engine"),
            hint,
        ));
    }
    if args.watch.is_some() && args.offline {
        return Err(Error::usage(
            "--watch asks the server, and --offline asks nobody",
            "give one of the two",
        ));
    }
    let watch = args.watch.map(|interval| {
        if interval < SHORTEST {
            return Err(Error::usage(
                "--watch asks at most once a second",
                "the server allows 200 requests a minute an address; the default is 5m",
            ));
        }
        let on_change = args.on_change.as_deref().map(on_change).transpose()?.unwrap_or_default();
        Ok(Watching { interval, on_change })
    });
    let watch = watch.transpose()?;
    if args.mask && watch.is_some_and(|watch| matches!(watch.on_change, OnChange::Signal(_))) {
        return Err(Error::usage(
            "--mask learns no new values while the command runs, which --on-change signal may give it",
            "use --on-change restart, or do without --mask",
        ));
    }
    Ok(Some(Supervision {
        kill_after: args.kill_after.unwrap_or(KILL_AFTER),
        signal_group: args.signal_group,
        mask: args.mask,
        watch,
    }))
}

fn on_change(text: &str) -> Result<OnChange, Error> {
    match text {
        "restart" => Ok(OnChange::Restart),
        "exit" => Ok(OnChange::Exit),
        _ => text.strip_prefix("signal:").and_then(signal).map(OnChange::Signal).ok_or_else(|| {
            Error::usage(
                format!("invalid value '{text}' for --on-change"),
                "use restart, exit, or signal:NAME such as signal:HUP",
            )
        }),
    }
}

/// `HUP`, `SIGHUP` or `hup`.
fn signal(name: &str) -> Option<i32> {
    let name = name.to_ascii_uppercase();
    let name = name.strip_prefix("SIG").unwrap_or(&name);
    Signal::from_str(&format!("SIG{name}")).ok().map(|signal| signal as i32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_change_leads_to() {
        let hup = Some(OnChange::Signal(libc::SIGHUP));
        for (text, expected) in [
            ("restart", Some(OnChange::Restart)),
            ("exit", Some(OnChange::Exit)),
            ("signal:HUP", hup),
            ("signal:SIGHUP", hup),
            ("signal:hup", hup),
            ("signal:USR2", Some(OnChange::Signal(libc::SIGUSR2))),
            ("signal:", None),
            ("signal:1", None),
            ("HUP", None),
            ("", None),
        ] {
            assert_eq!(on_change(text).ok(), expected, "{text}");
        }
    }
}
