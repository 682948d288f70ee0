# fish completion for sallyport(1). Commands and options are those that the program itself names in its --help.

function __sallyport_commands
    sallyport --help 2>/dev/null | string replace -rf '^  ([a-z]+) +(.*)$' '$1\t$2' | string match -v -r '^sallyport\t'
end

function __sallyport_options
    set -l words (commandline -opc)
    sallyport $words[2] --help 2>/dev/null | string match -ra -- '(?<=^|[\s,\[])--?[a-z][a-z-]*'
end

function __sallyport_policies
    set -l config $XDG_CONFIG_HOME
    test -n "$config"; or set config $HOME/.config
    for place in . $config/sallyport/policies /etc/sallyport/policies /usr/share/sallyport/policies /usr/local/share/sallyport/policies
        for file in $place/*.yaml
            string replace -r '.*/(.*)\.yaml$' '$1' -- $file
        end
    end
end

function __sallyport_jobs
    sallyport ps --json 2>/dev/null | string replace -rf '^\{"job":"([0-9a-f]+)".*' '$1'
end

function __sallyport_approvals
    sallyport approvals --json 2>/dev/null | string replace -rf '^\{"approval":"([^"]+)".*' '$1'
end

# The words after `run` and its options, where the command is that is to run.
function __sallyport_in_command
    set -l words (commandline -opc)
    test (count $words) -gt 2; and test "$words[2]" = run; or return 1
    set -l i 3
    while test $i -le (count $words)
        switch $words[$i]
            case -p --policy --audit --tracking --leftovers
                set i (math $i + 1)
            case '-*'
            case '*'
                return 0
        end
        set i (math $i + 1)
    end
    return 1
end

set -g __sallyport_valued -p --policy --audit --perfetto --dot -o --tracking --leftovers --decision --user --remember --scope -j --job

function __sallyport_is
    set -l words (commandline -opc)
    contains -- $words[-1] $__sallyport_valued; and return 1
    test (count $words) -gt 1; and contains -- $words[2] $argv; and not __sallyport_in_command
end

function __sallyport_after
    set -l words (commandline -opc)
    contains -- $words[-1] $argv; and not __sallyport_in_command
end

complete -c sallyport -f
complete -c sallyport -n 'test (count (commandline -opc)) -eq 1' -a '(__sallyport_commands) help --help --version'
complete -c sallyport -n 'test (count (commandline -opc)) -gt 1; and not __sallyport_in_command; and string match -q -- "-*" (commandline -ct)' -a '(__sallyport_options)'
complete -c sallyport -n '__sallyport_is kill freeze thaw wait reload inspect' -a '(__sallyport_jobs)'
complete -c sallyport -n '__sallyport_is approve deny' -a '(__sallyport_approvals)'
complete -c sallyport -n '__sallyport_is help' -a '(__sallyport_commands)'
complete -c sallyport -n '__sallyport_after -p --policy; or begin; __sallyport_is policy; and test (count (commandline -opc)) -gt 2; end' -a '(__sallyport_policies)' -F
complete -c sallyport -n '__sallyport_is policy; and test (count (commandline -opc)) -eq 2' -a '(sallyport policy --help | string replace -rf "^  sallyport policy ([a-z]+).*" \'$1\')'
complete -c sallyport -n '__sallyport_after --audit --perfetto --dot -o' -F
complete -c sallyport -n '__sallyport_after --tracking' -a 'attached oneshot'
complete -c sallyport -n '__sallyport_after --leftovers' -a 'wait kill'
complete -c sallyport -n '__sallyport_after --decision' -a 'allow ask deny kill failed mismatch'
complete -c sallyport -n '__sallyport_after --remember' -a 'once job always'
complete -c sallyport -n '__sallyport_after --scope' -a 'exact words program'
complete -c sallyport -n '__sallyport_after --user' -a '(__fish_complete_users)'
complete -c sallyport -n '__sallyport_after -j --job' -a 'last all'
complete -c sallyport -n '__sallyport_is run' -a '(__fish_complete_subcommand --fcs-skip=2)'
complete -c sallyport -n __sallyport_in_command -a '(__fish_complete_subcommand --fcs-skip=2)'
