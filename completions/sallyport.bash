# bash completion for sallyport(1). Commands and options are those that the program itself names in its --help, so that this
# file has nothing to keep in step.

_sallyport_policies() {
	local place
	for place in . "${XDG_CONFIG_HOME:-$HOME/.config}/sallyport/policies" {/etc,/usr/share,/usr/local/share}/sallyport/policies; do
		compgen -G "$place/*.yaml" | sed 's|.*/||; s|\.yaml$||'
	done
}

# The ids of the jobs that run.
_sallyport_jobs() {
	"$1" ps --json 2>/dev/null | sed -n 's/^{"job":"\([0-9a-f]*\)".*/\1/p'
}

# The ids of what waits for a person.
_sallyport_approvals() {
	"$1" approvals --json 2>/dev/null | sed -n 's/^{"approval":"\([^"]*\)".*/\1/p'
}

_sallyport_options() {
	"$1" "${@:2}" --help 2>/dev/null | grep -oE -- '(^|[[:space:],[])--?[a-z][a-z-]*' | tr -d ' \t,['
}

_sallyport_commands() {
	"$1" --help 2>/dev/null | sed -n 's/^  \([a-z]*\) .*/\1/p' | grep -v '^sallyport$'
}

# Where the command begins that `run` is to run; 0: not yet.
_sallyport_command_at() {
	local i
	for ((i = 2; i < COMP_CWORD; i++)); do
		case ${COMP_WORDS[i]} in
		--) echo $((i + 1)); return ;;
		-p | --policy | --audit | --tracking | --leftovers) ((i++)) ;;
		-*) ;;
		*) echo "$i"; return ;;
		esac
	done
	echo 0
}

_sallyport_words() {
	COMPREPLY+=($(compgen -W "$1" -- "$2"))
}

_sallyport() {
	local program=$1 current=${COMP_WORDS[COMP_CWORD]} previous=${COMP_WORDS[COMP_CWORD - 1]} command=${COMP_WORDS[1]} at
	COMPREPLY=()
	if ((COMP_CWORD == 1)); then
		_sallyport_words "$(_sallyport_commands "$program") help --help --version" "$current"
		return
	fi
	if [[ $command == run ]]; then
		at=$(_sallyport_command_at)
		if ((at > 0)); then
			if ((COMP_CWORD > at)) && declare -F _command_offset >/dev/null; then
				_command_offset "$at"
			elif ((COMP_CWORD == at)); then
				COMPREPLY=($(compgen -c -- "$current"))
			else
				COMPREPLY=($(compgen -f -- "$current"))
			fi
			return
		fi
	fi
	case $previous in
	-p | --policy) _sallyport_words "$(_sallyport_policies)" "$current"; COMPREPLY+=($(compgen -f -- "$current")); return ;;
	--audit | --perfetto | --dot | -o) COMPREPLY=($(compgen -f -- "$current")); return ;;
	--tracking) _sallyport_words 'attached oneshot' "$current"; return ;;
	--leftovers) _sallyport_words 'wait kill' "$current"; return ;;
	--decision) _sallyport_words 'allow ask deny kill failed mismatch' "$current"; return ;;
	--remember) _sallyport_words 'once job always' "$current"; return ;;
	--scope) _sallyport_words 'exact words program' "$current"; return ;;
	--user) COMPREPLY=($(compgen -u -- "$current")); return ;;
	-j | --job) _sallyport_words 'last all' "$current"; return ;;
	esac
	if [[ $current == -* ]]; then
		_sallyport_words "$(_sallyport_options "$program" "$command")" "$current"
		return
	fi
	case $command in
	run) COMPREPLY=($(compgen -c -- "$current")) ;;
	approve | deny) _sallyport_words "$(_sallyport_approvals "$program")" "$current" ;;
	kill | freeze | thaw | wait | reload | inspect) _sallyport_words "$(_sallyport_jobs "$program")" "$current" ;;
	help) _sallyport_words "$(_sallyport_commands "$program")" "$current" ;;
	policy)
		if ((COMP_CWORD == 2)); then
			_sallyport_words "$("$program" policy --help | sed -n 's/^  sallyport policy \([a-z]*\).*/\1/p')" "$current"
		else
			_sallyport_words "$(_sallyport_policies)" "$current"
			COMPREPLY+=($(compgen -f -- "$current"))
		fi
		;;
	esac
}

complete -o filenames -F _sallyport sallyport
