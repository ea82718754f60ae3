//! `docker [OPTIONS] run [OPTIONS] IMAGE [COMMAND] [ARG]...`, taken apart as the client itself does it
//! (spf13/pflag, whose options end at the first other word). Pure.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use super::options::{self, Level};
use super::{Engine, Verb};

/// A command line of an engine's client that makes a container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EngineCall {
    pub engine: Engine,
    pub verb: Verb,
    /// The client's name, as typed.
    pub program: OsString,
    pub client_options: Vec<Group>,
    /// `run`, or `container` and `run`.
    pub subcommand: Vec<OsString>,
    pub options: Vec<Group>,
    pub image: OsString,
    /// What stands behind the image.
    pub arguments: Vec<OsString>,
}

/// Words that belong together, and the options in them: `-itp`, `80:80` are two words and three options.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    pub words: Vec<OsString>,
    pub options: Vec<(String, Option<OsString>)>,
}

/// Why a command line could not be taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Problem {
    NoEngine,
    NoSubcommand,
    OtherSubcommand(String),
    UnknownOption(String),
    NoValue(String),
    NoImage,
}

impl EngineCall {
    pub fn parse(command: &[OsString]) -> Result<Self, Problem> {
        let mut words = Words { rest: command };
        let program = words.next().ok_or(Problem::NoEngine)?;
        let engine = Engine::of(program).ok_or(Problem::NoEngine)?;
        let client_options = words.options(engine, Level::Client)?;
        let mut subcommand = vec![words.next().ok_or(Problem::NoSubcommand)?.clone()];
        if subcommand[0] == "container" {
            subcommand.push(words.next().ok_or(Problem::NoSubcommand)?.clone());
        }
        let last = subcommand.last().map_or(OsStr::new(""), OsString::as_os_str);
        let verb = match last.as_bytes() {
            b"run" => Verb::Run,
            b"create" => Verb::Create,
            other => return Err(Problem::OtherSubcommand(String::from_utf8_lossy(other).into_owned())),
        };
        let options = words.options(engine, Level::Run)?;
        // Behind `--` it could be another program's option.
        let image = words.next().filter(|image| !matches!(image.as_bytes().first(), None | Some(b'-')));
        let image = image.ok_or(Problem::NoImage)?.clone();
        Ok(Self {
            engine,
            verb,
            program: program.clone(),
            client_options,
            subcommand,
            options,
            image,
            arguments: words.rest.to_vec(),
        })
    }

    /// What the client takes of an option that is given once: the last.
    pub fn value(&self, name: &str) -> Option<&OsStr> {
        values(&self.options, name).last()
    }

    pub fn values(&self, name: &str) -> impl Iterator<Item = &OsStr> {
        values(&self.options, name)
    }

    pub fn client_value(&self, name: &str) -> Option<&OsStr> {
        values(&self.client_options, name).last()
    }

    pub fn is_set(&self, name: &str) -> bool {
        is_set(&self.options, name)
    }

    pub fn client_is_set(&self, name: &str) -> bool {
        is_set(&self.client_options, name)
    }
}

fn values<'a>(groups: &'a [Group], name: &str) -> impl Iterator<Item = &'a OsStr> {
    let options = groups.iter().flat_map(|group| &group.options);
    options.filter(move |(known, _)| known == name).filter_map(|(_, value)| value.as_deref())
}

/// Whether a flag is on: `--rm`, `--rm=true`, and the last of several.
fn is_set(groups: &[Group], name: &str) -> bool {
    let options = groups.iter().flat_map(|group| &group.options);
    let last = options.filter(|(known, _)| known == name).map(|(_, value)| value.as_deref()).next_back();
    // strconv.ParseBool of Go.
    last.is_some_and(|value| {
        value.is_none_or(|v| matches!(v.as_bytes(), b"1" | b"t" | b"T" | b"true" | b"TRUE" | b"True"))
    })
}

struct Words<'a> {
    rest: &'a [OsString],
}

impl<'a> Words<'a> {
    fn next(&mut self) -> Option<&'a OsString> {
        let (first, rest) = self.rest.split_first()?;
        self.rest = rest;
        Some(first)
    }

    /// Options up to the first word that is none. `--` ends them and is dropped: what follows is no option.
    fn options(&mut self, engine: Engine, level: Level) -> Result<Vec<Group>, Problem> {
        let mut groups = Vec::new();
        while let Some(word) = self.rest.first() {
            let bytes = word.as_bytes();
            if bytes == b"--" {
                self.next();
                break;
            }
            if bytes == b"-" || !bytes.starts_with(b"-") {
                break;
            }
            self.next();
            let mut group = Group { words: vec![word.clone()], options: Vec::new() };
            let pending = match bytes.strip_prefix(b"--") {
                Some(long) => long_option(engine, level, long, &mut group)?,
                None => letters(engine, level, &bytes[1..], &mut group)?,
            };
            if let Some(name) = pending {
                let value = self.next().ok_or_else(|| Problem::NoValue(format!("--{name}")))?;
                group.words.push(value.clone());
                group.options.push((name, Some(value.clone())));
            }
            groups.push(group);
        }
        Ok(groups)
    }
}

/// Adds `--name` or `--name=value`, or returns the name if its value is the next word.
fn long_option(
    engine: Engine,
    level: Level,
    text: &[u8],
    group: &mut Group,
) -> Result<Option<String>, Problem> {
    let (name, value) = match text.iter().position(|&byte| byte == b'=') {
        Some(at) => (&text[..at], Some(OsString::from_vec(text[at + 1..].to_vec()))),
        None => (text, None),
    };
    let name = String::from_utf8_lossy(name).into_owned();
    let known = options::by_name(engine, level, &name);
    match (known, value) {
        // With its value attached it ends where it ends, whatever it means.
        (_, Some(value)) => group.options.push((name, Some(value))),
        (None, None) => return Err(Problem::UnknownOption(format!("--{name}"))),
        (Some(known), None) if known.takes_value => return Ok(Some(name)),
        (Some(_), None) => group.options.push((name, None)),
    }
    Ok(None)
}

/// The same for `-it`, `-eNAME`, `-e=NAME`, `-p 80:80`.
fn letters(engine: Engine, level: Level, text: &[u8], group: &mut Group) -> Result<Option<String>, Problem> {
    for (at, &letter) in text.iter().enumerate() {
        let letter = char::from(letter);
        let known = options::by_letter(engine, level, letter)
            .ok_or_else(|| Problem::UnknownOption(format!("-{letter}")))?;
        let name = known.long.to_owned();
        let rest = &text[at + 1..];
        let attached = match rest.strip_prefix(b"=") {
            // pflag: `-e=NAME`, but a lone `=` is the value itself.
            Some(value) if !value.is_empty() => Some(value),
            _ if known.takes_value && !rest.is_empty() => Some(rest),
            _ => None,
        };
        match attached {
            Some(value) => {
                group.options.push((name, Some(OsString::from_vec(value.to_vec()))));
                return Ok(None);
            }
            None if known.takes_value => return Ok(Some(name)),
            None => group.options.push((name, None)),
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parse(text: &str) -> Result<EngineCall, Problem> {
        let words: Vec<OsString> = text.split(' ').map(Into::into).collect();
        EngineCall::parse(&words)
    }

    #[test]
    fn the_image_is_the_first_word_that_is_no_option_and_no_value() {
        for text in [
            "docker run app a b",
            "docker run --rm app a b",
            "docker run -it --name x -p 80:80 app a b",
            "docker run -itp 80:80 app a b",
            "docker run -eA -e B -e=C --env D --env=E app a b",
            "docker -D -H unix:///x --log-level=debug run -d app a b",
            "docker container run --rm=false -u0 app a b",
            "docker run --entrypoint run --network run app a b",
            "docker run --not-known-yet=1 app a b",
            "docker run -- app a b",
            "/usr/bin/podman --root /x -c there run --rootfs=false --tz=UTC --replace app a b",
            "podman run --log-level debug -c 5 app a b",
        ] {
            let call = parse(text).unwrap();
            assert_eq!((call.image.to_str(), call.arguments.len()), (Some("app"), 2), "{text}");
        }
    }

    #[test]
    fn options_of_the_command_are_left_alone() {
        let call = parse("docker run app --rm -- -x").unwrap();
        assert_eq!(call.arguments, ["--rm", "--", "-x"]);
        assert!(!call.is_set("rm"));
    }

    #[test]
    fn values_and_flags() {
        let call = parse("docker run -dit --rm --init=false -eA=1 -e B --pull always app").unwrap();
        assert!(
            call.is_set("detach") && call.is_set("interactive") && call.is_set("tty") && call.is_set("rm")
        );
        assert!(!call.is_set("init") && !call.is_set("privileged"));
        assert_eq!(call.values("env").collect::<Vec<_>>(), ["A=1", "B"]);
        assert_eq!(call.value("pull"), Some(OsStr::new("always")));
        assert_eq!(call.value("entrypoint"), None);
        assert_eq!(call.options[4].words, ["-e", "B"]);
    }

    #[test]
    fn problems() {
        let problem = |text: &str| parse(text).unwrap_err();
        assert_eq!(problem("nerdctl run app"), Problem::NoEngine);
        assert_eq!(problem("docker"), Problem::NoSubcommand);
        assert_eq!(problem("docker compose up"), Problem::OtherSubcommand("compose".into()));
        assert_eq!(problem("docker container start x"), Problem::OtherSubcommand("start".into()));
        assert_eq!(problem("docker run --new-option app"), Problem::UnknownOption("--new-option".into()));
        assert_eq!(problem("docker run -ix app"), Problem::UnknownOption("-x".into()));
        assert_eq!(problem("docker run --rm"), Problem::NoImage);
        assert_eq!(problem("docker run -it --name"), Problem::NoValue("--name".into()));
    }

    proptest! {
        /// No word is lost, made up or moved.
        #[test]
        fn all_words_are_kept(words in proptest::collection::vec("(--?[a-z]{0,6}(=[a-z]{0,2})?|[a-z-]{0,4})", 0..8)) {
            let mut command: Vec<OsString> = vec!["docker".into(), "run".into()];
            command.extend(words.iter().map(Into::into));
            if let Ok(call) = EngineCall::parse(&command) {
                let options = call.options.iter().flat_map(|group| group.words.clone());
                let all: Vec<OsString> = options.chain([call.image]).chain(call.arguments).collect();
                let mut typed = command[2..].to_vec();
                if all.len() < typed.len() {
                    let dashes = typed.iter().position(|word| word == "--").unwrap();
                    typed.remove(dashes);
                }
                prop_assert_eq!(all, typed);
            }
        }
    }
}
