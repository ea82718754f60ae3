//! fish: one `complete` an option, as long as there is no COMMAND yet.

use super::{Opt, Wants, letters, names_before_a_value};

const HEAD: &str = r#"# fish completion for bws-exec

# COMMAND and its arguments before the cursor. Fails while there is none and our options are asked for.
function __bws_exec_command
    set -l words (commandline -opc)
    set -e words[1]
    while set -q words[1]
        set -l word $words[1]
        switch $word
            case --
                set -e words[1]
                string escape -- $words
                return 0
            case '-?*'
                set -e words[1]
                if contains -- $word @VALUED@
                    or string match -qr -- '^-[@FLAGS@]*[@LETTERS@]$' $word
                    set -e words[1]
                end
            case '*'
                string escape -- $words
                return 0
        end
    end
    return 1
end

function __bws_exec_complete_command
    complete -C (string join ' ' -- (__bws_exec_command) (commandline -ct))
end

complete -c bws-exec -f
complete -c bws-exec -a '(__bws_exec_complete_command)'
"#;

pub fn script(options: &[Opt]) -> String {
    let (flags, letters) = letters(options);
    let head = HEAD
        .replace("@VALUED@", &names_before_a_value(options).join(" "))
        .replace("@FLAGS@", &flags)
        .replace("@LETTERS@", &letters);
    head + &options.iter().map(line).collect::<String>()
}

fn line(option: &Opt) -> String {
    let short = option.short.map(|short| format!(" -s {short}")).unwrap_or_default();
    let longs: String = option.longs.iter().map(|long| format!(" -l {long}")).collect();
    let value = option.value.as_ref().map(|value| {
        // A value that can be left out must not be asked for.
        let required = if value.is_optional { "" } else { " -r" };
        let offer = match &value.wants {
            Wants::Words(words) => format!(" -f -a {}", quoted(&words.join(" "))),
            Wants::File => " -F".into(),
            Wants::Directory => " -f -a '(__fish_complete_directories)'".into(),
            Wants::User => " -f -a '(__fish_complete_users)'".into(),
            Wants::Text => " -f".into(),
        };
        format!("{required}{offer}")
    });
    format!(
        "complete -c bws-exec -n 'not __bws_exec_command >/dev/null'{short}{longs}{} -d {}\n",
        value.unwrap_or_default(),
        quoted(&option.help)
    )
}

/// fish knows `\'` inside single quotes.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\\', "\\\\").replace('\'', "\\'"))
}
