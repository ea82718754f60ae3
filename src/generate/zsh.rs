//! zsh: a function for `compdef`. COMMAND is completed as `_precommand` does it for `nohup` and `nice`.

use super::{Opt, Value, Wants, quoted};

const HEAD: &str = "\
#compdef bws-exec

_bws-exec() {
    # -A: behind COMMAND nothing is ours.
    _arguments -s -S -A '-*' \\
";

const TAIL: &str = r#"        '(-)1:command: _command_names -e' \
        '*::arguments: _normal'
}

# By the function path, or sourced.
if [[ $funcstack[1] == _bws-exec ]]; then
    _bws-exec "$@"
else
    compdef _bws-exec bws-exec
fi
"#;

pub fn script(options: &[Opt]) -> String {
    let specifications: String = options.iter().flat_map(specifications).collect();
    format!("{HEAD}{specifications}{TAIL}")
}

/// One line a name: `'(-t --access-token)--access-token=[help]:TOKEN: '`.
fn specifications(option: &Opt) -> Vec<String> {
    let names: Vec<String> = option.names().collect();
    let once = match (option.repeatable, names.len()) {
        (true, _) => "*".to_owned(),
        (false, 1) => String::new(),
        (false, _) => format!("({})", names.join(" ")),
    };
    let value = option.value.as_ref();
    let lines = names.iter().map(|name| {
        let assignment = match value {
            None => "",
            Some(Value { is_optional: true, .. }) => "=-",
            Some(_) if name.starts_with("--") => "=",
            Some(_) => "+",
        };
        let action = value.map(action).unwrap_or_default();
        let help = escaped(&option.help);
        format!("        {} \\\n", quoted(&format!("{once}{name}{assignment}[{help}]{action}")))
    });
    lines.collect()
}

fn action(value: &Value) -> String {
    let colons = if value.is_optional { "::" } else { ":" };
    let offer = match &value.wants {
        Wants::Words(words) => format!("({})", words.join(" ")),
        Wants::File => "_files".into(),
        Wants::Directory => "_files -/".into(),
        Wants::User => "_users".into(),
        Wants::Text => " ".into(),
    };
    format!("{colons}{}:{offer}", escaped(&value.name))
}

/// What has a meaning in a specification.
fn escaped(text: &str) -> String {
    let mut escaped = String::new();
    for c in text.chars() {
        if matches!(c, '\\' | '[' | ']' | ':') {
            escaped.push('\\');
        }
        escaped.push(c);
    }
    escaped
}
