//! The man page and the completions, from the one definition of the command line.
//!
//! Of our own making and not by `clap_complete`, which knows subcommands and not wrappers: COMMAND and
//! what follows it are for COMMAND's own completion, and no option behind it is ours.

mod bash;
mod fish;
mod man;
mod roff;
mod zsh;

use clap::{Arg, ArgAction, CommandFactory, ValueHint};

use crate::cli::{Args, Generated};

/// What `--generate` prints.
pub fn text(what: Generated) -> String {
    let mut definition = Args::command();
    definition.build();
    let options: Vec<Opt> =
        definition.get_arguments().filter(|arg| !arg.is_positional()).filter_map(Opt::new).collect();
    match what {
        Generated::Man => man::page(&definition, &options),
        Generated::CompleteBash => bash::script(&options),
        Generated::CompleteZsh => zsh::script(&options),
        Generated::CompleteFish => fish::script(&options),
    }
}

/// One option, as far as a reader or a shell is concerned.
struct Opt {
    short: Option<char>,
    /// The name and its aliases, without dashes.
    longs: Vec<String>,
    help: String,
    heading: String,
    repeatable: bool,
    value: Option<Value>,
}

struct Value {
    name: String,
    /// Then it can only be given behind `=`.
    is_optional: bool,
    default: Option<String>,
    wants: Wants,
}

/// What a shell can offer.
enum Wants {
    Words(Vec<String>),
    File,
    Directory,
    User,
    Text,
}

impl Opt {
    fn new(arg: &Arg) -> Option<Self> {
        let name = arg.get_long().filter(|_| !arg.is_hide_set())?;
        let aliases = arg.get_visible_aliases().unwrap_or_default();
        let longs = std::iter::once(name).chain(aliases).map(str::to_owned).collect();
        let help = arg.get_long_help().or(arg.get_help()).map(ToString::to_string).unwrap_or_default();
        Some(Self {
            short: arg.get_short(),
            longs,
            help,
            heading: arg.get_help_heading().unwrap_or("General").to_owned(),
            repeatable: matches!(arg.get_action(), ArgAction::Append | ArgAction::Count),
            value: arg.get_action().takes_values().then(|| Value::new(arg)),
        })
    }

    /// As they are typed, dashes included.
    fn names(&self) -> impl Iterator<Item = String> {
        let short = self.short.map(|short| format!("-{short}"));
        short.into_iter().chain(self.longs.iter().map(|long| format!("--{long}")))
    }

    /// Whether the next word is its value.
    fn takes_next_word(&self) -> bool {
        self.value.as_ref().is_some_and(|value| !value.is_optional)
    }
}

impl Value {
    fn new(arg: &Arg) -> Self {
        let name = arg.get_value_names().and_then(|names| names.first()).map(ToString::to_string);
        let name = name.unwrap_or_default();
        let possible: Vec<String> =
            arg.get_possible_values().iter().map(|value| value.get_name().to_owned()).collect();
        let wants = match arg.get_value_hint() {
            _ if !possible.is_empty() => Wants::Words(possible),
            ValueHint::AnyPath | ValueHint::FilePath => Wants::File,
            ValueHint::DirPath => Wants::Directory,
            ValueHint::Username => Wants::User,
            _ => Wants::text_or_words(&name),
        };
        let default = arg.get_default_values().first().map(|value| value.to_string_lossy().into_owned());
        Self { name, is_optional: arg.is_require_equals_set(), default, wants }
    }
}

impl Wants {
    /// In a name such as `us|eu`, what is written small is to be typed as it stands.
    fn text_or_words(name: &str) -> Self {
        let literal = |word: &&str| word.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-');
        let words: Vec<String> = name.split('|').filter(literal).map(str::to_owned).collect();
        if words.is_empty() { Self::Text } else { Self::Words(words) }
    }
}

/// The letters of options without a value, and of those whose value is in the word or follows it: what a
/// cluster such as `-vt` is made of.
fn letters(options: &[Opt]) -> (String, String) {
    let shorts = |valued: bool| {
        options
            .iter()
            .filter(|option| option.takes_next_word() == valued)
            .filter_map(|option| option.short)
            .collect()
    };
    (shorts(false), shorts(true))
}

/// Names of all options whose value may be the next word.
fn names_before_a_value(options: &[Opt]) -> Vec<String> {
    options.iter().filter(|option| option.takes_next_word()).flat_map(Opt::names).collect()
}

/// Quoted for bash and zsh.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "'\\''"))
}
