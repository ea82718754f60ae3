//! What is asked of the engine's client before anything is started: where the engine is, and what the
//! image runs.

use std::ffi::{OsStr, OsString};
use std::io::ErrorKind;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use serde::Deserialize;

use super::Engine;
use super::command_line::EngineCall;
use super::rewrite::ImageCommand;
use crate::deadline::Deadline;
use crate::env::inherit::{self, Entry};
use crate::error::Error;
use crate::{env_vars, read, sys};

/// Of the answer about one image.
const LARGEST: usize = 16 * 1024 * 1024;

/// The engine's client, with the options that were typed for it.
pub struct Client<'a> {
    pub call: &'a EngineCall,
    pub program: &'a Path,
    /// What it would inherit without us.
    pub environment: &'a [Entry],
    pub deadline: Deadline,
}

impl Client<'_> {
    fn var(&self, name: &str) -> Option<&OsStr> {
        variable(self.environment, name)
    }

    /// Files of this machine can be mounted only where the engine is on this machine.
    pub fn check_local(&self) -> Result<(), Error> {
        let endpoint = match self.call.engine {
            Engine::Docker => self.docker_endpoint()?,
            Engine::Podman => self.podman_endpoint(),
        };
        match endpoint {
            Some(endpoint) if !endpoint.starts_with("unix:") => {
                Err(Error::RemoteEngine { engine: self.call.engine.name(), endpoint })
            }
            _ => Ok(()),
        }
    }

    /// In the client's own order: `-H`, the context that was typed, `DOCKER_HOST`, other contexts.
    fn docker_endpoint(&self) -> Result<Option<String>, Error> {
        let context = self.call.client_value("context");
        let host = self.call.client_value("host");
        let inherited = if context.is_none() { self.var(env_vars::DOCKER_HOST) } else { None };
        match host.or(inherited) {
            Some(endpoint) => Ok(Some(endpoint.to_string_lossy().into_owned())),
            None => {
                let question = ["context", "inspect", "--format", "{{.Endpoints.docker.Host}}"];
                let answer = self.ask(&question, Stdio::inherit())??;
                Ok(Some(String::from_utf8_lossy(&answer).trim().to_owned()))
            }
        }
    }

    /// podman works without a server unless one is named.
    fn podman_endpoint(&self) -> Option<String> {
        let text = |value: &OsStr| value.to_string_lossy().into_owned();
        let either = |name: &str| self.call.client_value(name).or_else(|| self.call.value(name)).map(text);
        let url = either("url").or_else(|| self.var(env_vars::CONTAINER_HOST).map(text));
        let connection = either("connection").or_else(|| self.var(env_vars::CONTAINER_CONNECTION).map(text));
        let remote = self.call.client_is_set("remote") || self.call.is_set("remote");
        let named = connection.map(|name| format!("connection {name}"));
        named.or(url).or_else(|| remote.then(|| "--remote".into()))
    }

    /// What the image runs. One that is not here is pulled first, in its own time: by the client, which
    /// shows its progress, and not within --deadline.
    pub fn image(&mut self) -> Result<ImageCommand, Error> {
        let question =
            |image: &OsStr| [OsStr::new("image"), OsStr::new("inspect"), image].map(OsStr::to_owned);
        let question = question(&self.call.image);
        let pull = self.call.value("pull").map(OsStr::as_bytes);
        let pulls_always = matches!(pull, Some(b"always" | b"newer" | b"true"));
        if !pulls_always && let Ok(answer) = self.ask(&question, Stdio::null())? {
            return self.understand(&answer);
        }
        if !matches!(pull, Some(b"never" | b"false")) {
            let began = std::time::Instant::now();
            self.pull()?;
            self.deadline.at += began.elapsed();
        }
        self.understand(&self.ask(&question, Stdio::inherit())??)
    }

    fn pull(&self) -> Result<(), Error> {
        let mut command = self.command();
        command.arg("pull");
        for name in ["platform", "arch", "os", "variant", "authfile", "creds", "cert-dir", "tls-verify"] {
            for value in self.call.values(name) {
                let mut option = OsString::from(format!("--{name}="));
                option.push(value);
                command.arg(option);
            }
        }
        if self.call.is_set("quiet") {
            command.arg("--quiet");
        }
        // Standard output is the container's.
        let output =
            std::io::stderr().as_fd().try_clone_to_owned().map_or_else(|_| Stdio::null(), Stdio::from);
        let status = command.arg(&self.call.image).stdout(output).status();
        match status {
            Ok(status) if status.success() => Ok(()),
            Ok(status) => Err(self.fault("pull", &status.to_string())),
            Err(cause) => Err(self.fault("pull", &cause.to_string())),
        }
    }

    fn understand(&self, answer: &[u8]) -> Result<ImageCommand, Error> {
        let wrong = |problem: &str| self.fault("image inspect", problem);
        self.check_platform()?;
        let images: Vec<Image> =
            serde_json::from_slice(answer).map_err(|_| wrong("its answer is not understood"))?;
        let image = images.into_iter().next().ok_or_else(|| wrong("its answer is empty"))?;
        let ours = architecture();
        let other_system = !image.os.is_empty() && image.os != "linux";
        let fits = image.architecture.is_empty()
            || image.architecture == ours
            || (ours, image.architecture.as_str()) == ("amd64", "386");
        if other_system || !fits {
            return Err(Error::ImageArchitecture {
                image: self.call.image.to_string_lossy().into_owned(),
                theirs: format!("{}/{}", image.os, image.architecture),
                ours,
            });
        }
        let config = image.config.unwrap_or_default();
        let words =
            |list: Option<Vec<String>>| list.unwrap_or_default().into_iter().map(Into::into).collect();
        Ok(ImageCommand { entrypoint: words(config.entrypoint), command: words(config.cmd) })
    }

    /// `--platform` may lead the client to another image of that name than the one that it told us of.
    fn check_platform(&self) -> Result<(), Error> {
        let text = |value: &OsStr| value.to_string_lossy().into_owned();
        let platform = self.call.value("platform").or_else(|| self.var("DOCKER_DEFAULT_PLATFORM")).map(text);
        let wanted = self.call.value("arch").map(text).map(|arch| format!("linux/{arch}")).or(platform);
        let ours = architecture();
        match wanted {
            Some(theirs) if theirs.split('/').nth(1).unwrap_or(&theirs) != ours => {
                let image = self.call.image.to_string_lossy().into_owned();
                Err(Error::ImageArchitecture { image, theirs, ours })
            }
            _ => Ok(()),
        }
    }

    fn command(&self) -> Command {
        let mut command = Command::new(self.program);
        command.arg0(&self.call.program).env_clear().stdin(Stdio::null());
        command.envs(self.environment.iter().filter_map(|entry| {
            let name = inherit::name(entry)?;
            Some((OsStr::from_bytes(name), OsStr::from_bytes(&entry[name.len() + 1..])))
        }));
        command.args(self.call.client_options.iter().flat_map(|group| &group.words));
        command
    }

    /// The client's output, or that it said no; it is another fault if it said nothing in time. What it
    /// says on stderr is its own, and shown if that is wanted.
    fn ask<W: AsRef<OsStr>>(&self, words: &[W], stderr: Stdio) -> Result<Result<Vec<u8>, Error>, Error> {
        let shown: Vec<_> = words.iter().map(|word| word.as_ref().to_string_lossy()).take(2).collect();
        let fault = |problem: String| self.fault(&shown.join(" "), &problem);
        let mut command = self.command();
        command.args(words).stdout(Stdio::piped()).stderr(stderr);
        let mut child = command.spawn().map_err(|cause| fault(cause.to_string()))?;
        let answer = self.answer(&mut child).and_then(|answer| self.ended(&child).map(|()| answer));
        if answer.is_err() {
            // It may wait for ever for an engine that does not answer.
            let _ = child.kill();
        }
        let status = child.wait().map_err(|cause| fault(cause.to_string()))?;
        let answer = answer.map_err(|cause| fault(cause.to_string()))?;
        Ok(if status.success() { Ok(answer) } else { Err(fault(format!("it ended with {status}"))) })
    }

    fn answer(&self, child: &mut Child) -> std::io::Result<Vec<u8>> {
        let Some(output) = child.stdout.take() else { return Ok(Vec::new()) };
        let (mut answer, mut length) = (Vec::new(), 0);
        while length == answer.len() {
            if length > LARGEST {
                return Err(std::io::Error::other("its answer is too large"));
            }
            answer.resize((2 * length).max(64 * 1024), 0);
            length += read::fill(output.as_fd(), &mut answer[length..], self.deadline)?;
        }
        answer.truncate(length);
        Ok(answer)
    }

    /// Waits for the end of a client that has said all it had to say.
    fn ended(&self, child: &Child) -> std::io::Result<()> {
        let process = sys::open_process(child.id())?;
        while !sys::has_ended(process.as_fd()) {
            let left = self.deadline.left();
            if left.is_zero() {
                let problem = "it did not end within --deadline";
                return Err(std::io::Error::new(ErrorKind::TimedOut, problem));
            }
            let timeout = PollTimeout::try_from(left.as_millis() + 1).unwrap_or(PollTimeout::MAX);
            let _ = poll(&mut [PollFd::new(process.as_fd(), PollFlags::POLLIN)], timeout);
        }
        Ok(())
    }

    fn fault(&self, doing: &str, problem: &str) -> Error {
        Error::Engine { command: format!("{} {doing}", self.call.engine.name()), problem: problem.into() }
    }
}

/// What is set and not empty.
pub fn variable<'a>(environment: &'a [Entry], name: &str) -> Option<&'a OsStr> {
    let entry = environment.iter().find(|entry| inherit::name(entry) == Some(name.as_bytes()))?;
    let value = OsStr::from_bytes(&entry[name.len() + 1..]);
    (!value.is_empty()).then_some(value)
}

/// As images name it.
fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        "x86" => "386",
        other => other,
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Image {
    #[serde(default)]
    architecture: String,
    #[serde(default)]
    os: String,
    config: Option<Config>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Config {
    entrypoint: Option<Vec<String>>,
    cmd: Option<Vec<String>>,
}
