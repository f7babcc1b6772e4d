# Completion of fleetctl for bash: source <(fleetctl completion bash)

_fleetctl() {
    # bash splits words at `@` and `:`, which names of units have. So the line is handed over as it is, with the piece of the last
    # word that bash is going to replace.
    local IFS=$'\n' program=${1/#\~\//$HOME/}
    COMPREPLY=($("$program" __complete bash -- "$2" "${COMP_LINE:0:COMP_POINT}" 2>/dev/null))
    # One goes on typing behind a folder.
    if [[ ${#COMPREPLY[@]} -eq 1 && ${COMPREPLY[0]} == */ ]]; then
        compopt -o nospace
    fi
}

# `default`: where nothing is known, files. A path names a unit too.
complete -o default -F _fleetctl fleetctl
