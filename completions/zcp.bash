# Completion of zcp for bash. Rendered from the table of options; do not edit.

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
            --no-preserve | --sparse | -S | --suffix | -t | --target-directory | -j | --jobs | --strategy | --bwlimit | --cache | --exclude | --include | --exclude-from | --files-from | --stats-file | --log | --generate | --plan | --parts | --split-over | --run | --part | --finish) option=$before ;;
        esac
    fi

    local words= list=
    case $option in
        --backup) words='none simple existing numbered' ;;
        --no-preserve) list='mode timestamps ownership links context xattr all' ;;
        --preserve) list='mode timestamps ownership links context xattr all' ;;
        --sparse) words='never auto always' ;;
        --reflink) words='auto always never' ;;
        -S | --suffix) compopt +o bashdefault +o default; return ;;
        -t | --target-directory) compopt +o bashdefault +o default -o dirnames; return ;;
        --update) words='all none none-fail older' ;;
        --context) compopt +o bashdefault +o default; return ;;
        -j | --jobs) compopt +o bashdefault +o default; return ;;
        --strategy) list='reflink copy_file_range splice sendfile mmap read_write' ;;
        --bwlimit) compopt +o bashdefault +o default; return ;;
        --cache) words='keep drop' ;;
        --exclude) compopt +o bashdefault +o default; return ;;
        --include) compopt +o bashdefault +o default; return ;;
        --exclude-from) return ;;
        --files-from) return ;;
        --stats) words='text json' ;;
        --stats-file) return ;;
        --log) return ;;
        --progress) words='auto always json never' ;;
        --generate) words='man bash zsh fish' ;;
        --plan) compopt +o bashdefault +o default -o dirnames; return ;;
        --parts) compopt +o bashdefault +o default; return ;;
        --split-over) compopt +o bashdefault +o default; return ;;
        --run) compopt +o bashdefault +o default -o dirnames; return ;;
        --part) compopt +o bashdefault +o default; return ;;
        --finish) compopt +o bashdefault +o default -o dirnames; return ;;
        '')
            [[ $word == -* ]] || return
            compopt -o nospace
            words='--archive -a --attributes-only --backup --backup= -b --copy-contents -d --debug --dereference -L --force -f -H --interactive -i --keep-directory-symlink --link -l --no-clobber -n --no-dereference -P --no-preserve= --no-target-directory -T --one-file-system -x --parents -p --preserve --preserve= --recursive -r -R --remove-destination --sparse= --reflink --reflink= --strip-trailing-slashes --suffix= -S --symbolic-link -s --target-directory= -t --update --update= -u --verbose -v -Z --context --context= --help -h --version -V --jobs= -j --strategy= --bwlimit= --cache= --atomic --exclude= --include= --exclude-from= --gitignore --files-from= --null -0 --dry-run --fsync --keep-going --fail-fast --ignore-vanished --verify --resume --stats --stats= --stats-file= --log= --itemize --progress --progress= --generate= --plan= --parts= --split-over= --run= --part= --finish='
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
