//! bash. readline splits words at `=`, so the script joins `--option=word` again. Where it has nothing to offer,
//! bash completes file names in its usual way, with quoting and tildes.

use super::{Argument, argument};
use crate::cli::opt::{ArgumentKind, Opt};
use std::fmt::Write;

const SCRIPT: &str = r#"# Completion of zcp for bash. Rendered from the table of options; do not edit.

_zcp() {
    local word=$2 before=${COMP_WORDS[COMP_CWORD - 1]} option= prefix= i
    COMPREPLY=()
    for ((i = 1; i < COMP_CWORD; i++)); do
        [[ ${COMP_WORDS[i]} == -- ]] && return
    done

    # The option that the word is an argument of.
    if [[ ${COMP_WORDS[COMP_CWORD]} == = ]]; then
        option=$before word=
    elif [[ $before == = ]]; then
        option=${COMP_WORDS[COMP_CWORD - 2]}
    elif [[ $word == --*=* ]]; then
        option=${word%%=*} prefix=$option= word=${word#*=}
    else
        [[ $before == -[!-]* ]] && before=-${before: -1}
        case $before in
            @REQUIRED@) option=$before ;;
        esac
    fi

    local words= list=
    case $option in
@VALUES@
        '')
            [[ $word == -* ]] || return
            compopt -o nospace
            words='@OPTIONS@'
            local IFS=$'\n'
            COMPREPLY=($(compgen -W "${words// /$'\n'}" -- "$word"))
            # Only what waits for an argument gets no space.
            for i in "${!COMPREPLY[@]}"; do
                [[ ${COMPREPLY[i]} == *= ]] || COMPREPLY[i]+=' '
            done
            return ;;
        *) return ;;
    esac
    if [[ -n $list ]]; then
        [[ $word == *,* ]] && prefix+=${word%,*}, word=${word##*,}
        compopt -o nospace
        words=$list
    fi
    COMPREPLY=($(compgen -P "$prefix" -W "$words" -- "$word"))
}

complete -o bashdefault -o default -F _zcp zcp
"#;

pub(super) fn render(table: &[&Opt]) -> String {
    let mut required = Vec::new();
    let mut options = Vec::new();
    let mut values = String::new();
    for option in table {
        let shorts: Vec<String> = option.shorts().map(|short| format!("-{short}")).collect();
        let longs: Vec<String> = option.long().map(|long| format!("--{long}")).into_iter().collect();
        match argument(option) {
            Argument::None => options.extend(longs.clone()),
            Argument::Optional => options.extend(longs.iter().flat_map(|long| [long.clone(), format!("{long}=")])),
            Argument::Required => {
                options.extend(longs.iter().map(|long| format!("{long}=")));
                required.extend(shorts.iter().chain(&longs).cloned());
            }
        }
        options.extend(shorts.clone());
        if argument(option) == Argument::None {
            continue;
        }
        let action = match option.kind {
            ArgumentKind::Word(words) => format!("words='{}'", words().join(" ")),
            ArgumentKind::List(words) => format!("list='{}'", words().join(" ")),
            ArgumentKind::Directory => "compopt +o bashdefault +o default -o dirnames; return".to_owned(),
            ArgumentKind::File => "return".to_owned(),
            ArgumentKind::Free => "compopt +o bashdefault +o default; return".to_owned(),
        };
        let names = shorts.into_iter().chain(longs).collect::<Vec<_>>().join(" | ");
        // Writing to a String does not fail.
        let _ = writeln!(values, "        {names}) {action} ;;");
    }
    SCRIPT
        .replace("@REQUIRED@", &required.join(" | "))
        .replace("@VALUES@", values.trim_end())
        .replace("@OPTIONS@", &options.join(" "))
}
