//! The command line that makes the container with us in front of what it would have run. Pure.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use super::command_line::EngineCall;
use super::{BINARY, Engine};
use crate::error::Error;

/// What an image runs when nothing else is said.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ImageCommand {
    pub entrypoint: Vec<OsString>,
    pub command: Vec<OsString>,
}

/// A file of this machine in the container, read-only.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mount<'a> {
    pub source: &'a Path,
    pub target: &'a str,
}

/// What the container would have run, as the engine itself puts it together.
pub fn process(call: &EngineCall, image: &ImageCommand) -> Result<Vec<OsString>, Error> {
    let typed = call.value("entrypoint");
    let entrypoint = match typed {
        None => image.entrypoint.clone(),
        Some(text) => entrypoint(call.engine, text),
    };
    // docker forgets the image's CMD at any --entrypoint, podman at one that is not empty.
    let forgotten = match call.engine {
        Engine::Docker => typed.is_some(),
        Engine::Podman => typed.is_some() && !entrypoint.is_empty(),
    };
    let command = match (call.arguments.is_empty(), forgotten) {
        (false, _) => call.arguments.clone(),
        (true, true) => Vec::new(),
        (true, false) => image.command.clone(),
    };
    let process: Vec<OsString> = entrypoint.into_iter().chain(command).collect();
    if process.is_empty() {
        return Err(Error::usage(
            format!("image {} names no command, and none was given", call.image.display()),
            format!("put one behind the image: {} run … IMAGE COMMAND", call.engine.name()),
        ));
    }
    Ok(process)
}

/// The value of `--entrypoint`: one program, or with podman a JSON list. Empty takes the image's away.
fn entrypoint(engine: Engine, text: &OsStr) -> Vec<OsString> {
    if text.is_empty() {
        return Vec::new();
    }
    if engine == Engine::Podman
        && let Ok(words) = serde_json::from_slice::<Vec<String>>(text.as_bytes())
    {
        return words.into_iter().map(Into::into).collect();
    }
    vec![text.to_owned()]
}

/// The whole command line of the engine's client.
pub fn rewrite(
    call: &EngineCall,
    mounts: &[Mount<'_>],
    cidfile: Option<&Path>,
    inner: &[OsString],
    process: &[OsString],
) -> Result<Vec<OsString>, Error> {
    let mut words = vec![call.program.clone()];
    words.extend(call.client_options.iter().flat_map(|group| group.words.clone()));
    words.extend(call.subcommand.iter().cloned());
    // The image is here by now, and a second pull could bring another one than was looked at.
    let replaced = ["entrypoint", "pull"];
    let kept = call
        .options
        .iter()
        .filter(|group| !group.options.iter().any(|(name, _)| replaced.contains(&name.as_str())));
    words.extend(kept.flat_map(|group| group.words.clone()));
    for mount in mounts {
        words.extend(["--mount".into(), mount_option(mount)?]);
    }
    if let Some(cidfile) = cidfile {
        words.extend(["--cidfile".into(), cidfile.into()]);
    }
    words.extend(["--entrypoint".into(), BINARY.into()]);
    words.push(call.image.clone());
    words.extend(inner.iter().cloned());
    words.push("--".into());
    words.extend(process.iter().cloned());
    Ok(words)
}

/// Never `-v`, which makes a directory of a source that is not there.
fn mount_option(mount: &Mount<'_>) -> Result<OsString, Error> {
    // A list of fields in the form of CSV, which the engines do not read alike.
    if mount.source.as_os_str().as_bytes().iter().any(|byte| matches!(byte, b',' | b'"' | b'\n')) {
        return Err(Error::usage(
            format!("{} cannot be mounted into a container", mount.source.display()),
            "use a path without comma, quote and newline",
        ));
    }
    let mut option = OsString::from("type=bind,source=");
    option.push(mount.source);
    option.push(format!(",target={},readonly", mount.target));
    Ok(option)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(text: &str) -> EngineCall {
        let words: Vec<OsString> = text.split(' ').map(|word| word.replace('_', " ").into()).collect();
        EngineCall::parse(&words).unwrap()
    }

    fn words(list: &[&str]) -> Vec<OsString> {
        list.iter().map(Into::into).collect()
    }

    fn image(entrypoint: &[&str], command: &[&str]) -> ImageCommand {
        ImageCommand { entrypoint: words(entrypoint), command: words(command) }
    }

    #[test]
    fn entrypoint_and_command_meet_as_in_the_engine() {
        let image = image(&["/entry", "-x"], &["serve"]);
        for (typed, expected) in [
            ("docker run app", &["/entry", "-x", "serve"][..]),
            ("docker run app a b", &["/entry", "-x", "a", "b"]),
            ("docker run --entrypoint /bin/sh app", &["/bin/sh"]),
            ("docker run --entrypoint=/bin/sh app -c true", &["/bin/sh", "-c", "true"]),
            ("docker run --entrypoint= app a", &["a"]),
            ("podman run --entrypoint= app", &["serve"]),
            ("podman run --entrypoint=[\"/a\",\"b\"] app", &["/a", "b"]),
            ("podman run --entrypoint /a app", &["/a"]),
            ("docker run --entrypoint [\"/a\"] app", &["[\"/a\"]"]),
        ] {
            assert_eq!(process(&call(typed), &image).unwrap(), words(expected), "{typed}");
        }
        assert!(process(&call("docker run --entrypoint= app"), &image).is_err());
        assert!(process(&call("docker run app"), &ImageCommand::default()).is_err());
    }

    #[test]
    fn everything_else_stays_as_it_was_typed() {
        let call =
            call("docker -H unix:///s container run -dp 80:80 --pull=always --entrypoint x -e A=_b_ app c");
        let mounts = [Mount { source: Path::new("/bin/x"), target: BINARY }];
        let (cid, inner) = (Path::new("/run/cid"), words(&["--container-inner"]));
        let rewritten = rewrite(&call, &mounts, Some(cid), &inner, &words(&["x", "c"])).unwrap();
        let expected = [
            "docker",
            "-H",
            "unix:///s",
            "container",
            "run",
            "-dp",
            "80:80",
            "-e",
            "A= b ",
            "--mount",
            "type=bind,source=/bin/x,target=/.bws-exec,readonly",
            "--cidfile",
            "/run/cid",
            "--entrypoint",
            "/.bws-exec",
            "app",
            "--container-inner",
            "--",
            "x",
            "c",
        ];
        assert_eq!(rewritten, words(&expected));
    }

    #[test]
    fn what_a_list_cannot_hold_is_refused() {
        let mount = |source| mount_option(&Mount { source: Path::new(source), target: "/x" });
        assert!(mount("/a,readonly=false").is_err() && mount("/a\"b").is_err() && mount("/a\nb").is_err());
        assert_eq!(mount("/a b=c").unwrap(), "type=bind,source=/a b=c,target=/x,readonly");
    }
}
