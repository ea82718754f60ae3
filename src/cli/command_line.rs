//! The command line on its way to [`Args`]: the token is taken out of it before anything else can copy it.

use std::ffi::OsString;

use clap::error::ErrorKind;
use clap::{CommandFactory, FromArgMatches};

use super::{Args, Generated};
use crate::error::Error;
use crate::host::Host;
use crate::sys;
use crate::token::TokenText;

/// Where a token stands among the arguments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct TokenPosition {
    /// Index into the arguments after argv\[0\].
    index: usize,
    /// First byte of the token within that argument.
    from: usize,
}

/// The command line before it has a meaning.
pub struct CommandLine {
    arguments: Vec<OsString>,
    definition: clap::Command,
    /// What `-t` carried; no longer among the arguments.
    pub token: Option<TokenText>,
    positions: Vec<TokenPosition>,
    /// Known before the rest, because hardening comes before parsing.
    pub allow_core: bool,
}

/// What parsing can end in besides [`Args`].
pub enum Parsed {
    Run(Box<Args>),
    /// `--help` or `--version`: print and end.
    Print(String),
    /// `--generate`: the same, with a text that takes some making.
    Generate(Generated),
}

impl CommandLine {
    /// Takes the arguments, and the token out of the memory that `ps` reads.
    pub fn take(host: &mut Host) -> Self {
        let command_line = Self::new(std::mem::take(&mut host.arguments));
        for position in &command_line.positions {
            sys::overwrite_argument(position.index + 1, position.from);
        }
        command_line
    }

    /// Walks over our own options, up to COMMAND, and takes the token out of them before anything
    /// else can copy it. Which options take a value is asked of the definition that clap will use.
    pub fn new(mut arguments: Vec<OsString>) -> Self {
        let mut definition = Args::command();
        definition.build();
        let (mut token, mut positions, mut allow_core) = (None, Vec::new(), false);
        let mut index = 0;
        while let Some(argument) = arguments.get(index) {
            let bytes = argument.as_encoded_bytes();
            if bytes == b"--" || !bytes.starts_with(b"-") || bytes == b"-" {
                break;
            }
            allow_core |= bytes == b"--allow-core";
            let (is_token, value_from) = match option_value(&definition, bytes) {
                Some(found) => found,
                None => {
                    index += 1;
                    continue;
                }
            };
            let (at, from) = match value_from {
                Some(from) => (index, from),
                None => (index + 1, 0),
            };
            if is_token && at < arguments.len() {
                positions.push(TokenPosition { index: at, from });
                let whole = std::mem::take(&mut arguments[at]).into_encoded_bytes();
                let mut whole = TokenText::new(whole);
                token = Some(TokenText::new(whole.split_off(from)));
                // What stays tells clap that the option was given. `-` is no token.
                let stays = String::from_utf8_lossy(&whole).into_owned();
                arguments[at] = format!("{stays}-").into();
            }
            index = at + 1;
        }
        Self { arguments, definition, token, positions, allow_core }
    }

    /// Parses what is left.
    pub fn parse(self) -> Result<Parsed, Error> {
        let name = OsString::from("bws-exec");
        let matches = self.definition.try_get_matches_from([name].into_iter().chain(self.arguments));
        match matches.and_then(|matches| Args::from_arg_matches(&matches)) {
            Ok(Args { generate: Some(what), .. }) => Ok(Parsed::Generate(what)),
            Ok(args) => Ok(Parsed::Run(Box::new(args))),
            Err(error) if !error.use_stderr() => Ok(Parsed::Print(error.to_string())),
            Err(error) => Err(usage(&error)),
        }
    }
}

/// For an option that takes a value: whether it is the token, and where in this argument the value
/// begins, or `None` if it is the next argument.
fn option_value(definition: &clap::Command, argument: &[u8]) -> Option<(bool, Option<usize>)> {
    let takes_value = |arg: &clap::Arg| arg.get_action().takes_values();
    let is_token = |arg: &clap::Arg| arg.get_id() == "access_token";
    if let Some(long) = argument.strip_prefix(b"--") {
        let name_length = long.iter().position(|&byte| byte == b'=').unwrap_or(long.len());
        let name = std::str::from_utf8(&long[..name_length]).ok()?;
        let arg = definition.get_arguments().find(|arg| {
            arg.get_long() == Some(name) || arg.get_all_aliases().unwrap_or_default().contains(&name)
        })?;
        let attached = (name_length < long.len()).then_some(2 + name_length + 1);
        let detached_possible = takes_value(arg) && !arg.is_require_equals_set();
        return (attached.is_some() || detached_possible).then(|| (is_token(arg), attached));
    }
    // A cluster such as -vt TOKEN, -vtTOKEN or -t=TOKEN.
    for (at, &byte) in argument.iter().enumerate().skip(1) {
        let arg = definition.get_arguments().find(|arg| arg.get_short() == Some(byte.into()))?;
        if takes_value(arg) {
            let from = at + 1 + usize::from(argument.get(at + 1) == Some(&b'='));
            return Some((is_token(arg), (from < argument.len()).then_some(from)));
        }
    }
    None
}

/// clap's message in our form: what is wrong on one line, what to do on the other.
fn usage(error: &clap::Error) -> Error {
    let text = error.to_string();
    let (message, rest) = text.split_once("\n\n").unwrap_or((&text, ""));
    let message: Vec<&str> = message.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    let message = message.join(" ");
    let message = message.strip_prefix("error: ").unwrap_or(&message);
    let mut tips = rest.lines().filter_map(|line| line.trim().strip_prefix("tip: "));
    // clap's other tip is how to make COMMAND of a mistyped option.
    let hint = match (tips.find(|tip| tip.starts_with("a similar")), error.kind()) {
        (Some(tip), _) => tip,
        (None, ErrorKind::UnknownArgument) => {
            "bws-exec --help lists the options; those of COMMAND come after COMMAND"
        }
        (None, _) => "bws-exec --help lists the options",
    };
    Error::usage(message, hint)
}
