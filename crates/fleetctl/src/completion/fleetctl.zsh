#compdef fleetctl
# Completion of fleetctl for zsh: source <(fleetctl completion zsh), after compinit; or this text as `_fleetctl` in a folder of $fpath.

_fleetctl() {
    local program=${(Q)words[1]/#\~\//$HOME/} line value
    local -a names shown folders
    for line in "${(@f)$("$program" __complete zsh -- "${(@Q)words[1,CURRENT-1]}" "${(Q)PREFIX}" 2>/dev/null)}"; do
        value=${line%%$'\t'*}
        if [[ $value == */ ]]; then
            folders+=("$value")
        elif [[ -n $value ]]; then
            names+=("$value")
            shown+=("${line/$'\t'/  -- }")
        fi
    done
    # Where nothing is known, files: a path names a unit too.
    if (( ${#names} + ${#folders} == 0 )); then
        _files
        return
    fi
    compadd -l -d shown -a names
    # One goes on typing behind a folder.
    compadd -S '' -a folders
}

if [[ ${funcstack[1]} == _fleetctl ]]; then
    _fleetctl "$@"
else
    compdef _fleetctl fleetctl
fi
