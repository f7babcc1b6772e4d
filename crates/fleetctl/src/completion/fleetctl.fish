# Completion of fleetctl for fish: fleetctl completion fish | source

function __fleetctl_complete
    set -l words (commandline --current-process --tokenize --cut-at-cursor)
    set -l raw (commandline --current-token --cut-at-cursor)
    # A quote that is still open cannot be read.
    set -l current (string unescape -- $raw)
    or set current $raw
    set -l program (string replace --regex '^~/' "$HOME/" -- $words[1])
    set -l found (command $program __complete fish -- $words "$current" 2>/dev/null)
    if set -q found[1]
        printf '%s\n' $found
    else
        # Where nothing is known, files: a path names a unit too.
        __fish_complete_path "$current"
    end
end

complete --command fleetctl --no-files --arguments '(__fleetctl_complete)'
