//! bash: a function for `complete`. What follows COMMAND goes to bash-completion's `_command_offset`, as
//! for `sudo` and `nohup`; without bash-completion, commands and files are offered.

use super::{Opt, Value, Wants, letters, names_before_a_value};

const SCRIPT: &str = r#"# bash completion for bws-exec

_bws_exec() {
    # Words as they were typed, and which of bash's they begin with: it breaks --name=value and a:b.
    local line=$COMP_LINE word i words=() starts=()
    for ((i = 0; i <= COMP_CWORD; i++)); do
        word=${COMP_WORDS[i]}
        if ((i == 0)) || [[ $line == [[:space:]]* ]]; then
            line=${line#"${line%%[![:space:]]*}"}
            words+=("$word")
            starts+=("$i")
        else
            words[${#words[@]} - 1]+=$word
        fi
        line=${line#"$word"}
    done

    local last=$((${#words[@]} - 1)) option='' command=''
    for ((i = 1; i < last; i++)); do
        option=''
        word=${words[i]}
        if [[ $word == -- ]]; then
            command=$((i + 1))
            break
        elif [[ $word != -?* ]]; then
            command=$i
            break
        fi
        case $word in
            @VALUED@)
                option=$word
                ;;
            *)
                [[ $word =~ ^-[@FLAGS@]*([@LETTERS@])$ ]] && option=-${BASH_REMATCH[1]}
                ;;
        esac
        [[ -n $option ]] && ((i++))
    done

    local cur=${words[last]} prev=
    # Its value is there, and what is completed stands behind it.
    ((i > last)) || option=''
    if [[ -z $command && -z $option && $cur != -* ]]; then
        command=$last
    fi
    if [[ -n $command ]]; then
        local offset=${starts[command]}
        if declare -F _comp_command_offset >/dev/null; then
            _comp_command_offset "$offset"
        elif declare -F _command_offset >/dev/null; then
            _command_offset "$offset"
        elif ((command == last)); then
            COMPREPLY=($(compgen -c -- "$cur"))
        else
            _bws_exec_paths -f
        fi
        return
    fi

    if [[ -z $option ]]; then
        if [[ $cur != --*=* ]]; then
            COMPREPLY=($(compgen -W '@NAMES@' -- "$cur"))
            return
        fi
        option=${cur%%=*}
        cur=${cur#*=}
    fi
    case $option in
@VALUES@        *)
            COMPREPLY=()
            ;;
    esac
}

_bws_exec_paths() {
    if declare -F _filedir >/dev/null; then
        [[ $1 == -d ]] && _filedir -d || _filedir
        return
    fi
    local IFS=$'\n'
    COMPREPLY=($(compgen "$1" -- "$cur"))
    compopt -o filenames 2>/dev/null
}

complete -F _bws_exec bws-exec
"#;

pub fn script(options: &[Opt]) -> String {
    let (flags, letters) = letters(options);
    let names: Vec<String> =
        options.iter().flat_map(Opt::names).filter(|name| name.starts_with("--")).collect();
    let values: String = options.iter().filter_map(|option| arm(option, option.value.as_ref()?)).collect();
    SCRIPT
        .replace("@VALUED@", &names_before_a_value(options).join(" | "))
        .replace("@FLAGS@", &flags)
        .replace("@LETTERS@", &letters)
        .replace("@NAMES@", &names.join(" "))
        .replace("@VALUES@", &values)
}

/// What is offered as its value, if anything can be.
fn arm(option: &Opt, value: &Value) -> Option<String> {
    let action = match &value.wants {
        Wants::Words(words) => format!("COMPREPLY=($(compgen -W '{}' -- \"$cur\"))", words.join(" ")),
        Wants::File => "_bws_exec_paths -f".into(),
        Wants::Directory => "_bws_exec_paths -d".into(),
        Wants::User => "COMPREPLY=($(compgen -u -- \"$cur\"))".into(),
        Wants::Text => return None,
    };
    let names = option.names().collect::<Vec<_>>().join(" | ");
    Some(format!("        {names})\n            {action}\n            ;;\n"))
}
