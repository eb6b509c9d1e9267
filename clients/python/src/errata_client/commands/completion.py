"""`completion`: the scripts with which shells complete commands, made of the parser itself."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

FILES = ("FILE", "OUT", "FOLDER")


@dataclass(frozen=True, slots=True)
class _Value:
    """What may stand for an argument: one of some words, a file, or (neither) anything."""

    words: tuple[str, ...] = ()
    is_file: bool = False


@dataclass(frozen=True, slots=True)
class _Option:
    flags: tuple[str, ...]
    help: str
    value: _Value | None  # None where it takes none


@dataclass(frozen=True, slots=True)
class _Place:
    """A place on the command line: behind `path`, such as " edits list", these words and options may follow."""

    path: str
    words: tuple[tuple[str, str], ...]  # with what they do
    options: tuple[_Option, ...]
    positional: _Value | None


def script(parser: argparse.ArgumentParser, shell: str) -> str:
    """Return the completion script for `bash`, `zsh` or `fish`."""
    places = list(_places(parser, ""))
    return {"bash": _bash, "zsh": _zsh, "fish": _fish}[shell](places)


def _places(parser: argparse.ArgumentParser, path: str) -> Iterator[_Place]:
    words: list[tuple[str, str]] = []
    options: list[_Option] = []
    positional: _Value | None = None
    below: list[_Place] = []
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            words += [(choice.dest, choice.help or "") for choice in action._choices_actions]
            for name, subparser in action.choices.items():
                below += _places(subparser, f"{path} {name}")
        elif action.option_strings:
            value = None if action.nargs == 0 else _value_of(action)
            options.append(_Option(tuple(action.option_strings), action.help or "", value))
        elif positional is None:
            positional = _value_of(action)
    # A noun without a verb lists, and takes what `list` takes.
    options += [option for place in below if place.path == f"{path} list" for option in place.options]
    yield _Place(path, tuple(words), tuple({option.flags: option for option in options}.values()), positional)
    yield from below


def _value_of(action: argparse.Action) -> _Value:
    return _Value(tuple(map(str, action.choices or ())), action.metavar in FILES)


def _bash(places: Sequence[_Place]) -> str:
    follows = []
    for place in places:
        words = [word for word, _ in place.words] + list(place.positional.words if place.positional else ())
        flags = [flag for option in place.options for flag in option.flags]
        files = "yes" if place.positional and place.positional.is_file else ""
        told = f"words={_quoted(' '.join(words))} flags={_quoted(' '.join(flags))} files={files}"
        follows.append(f"        {_quoted(place.path)}) {told} ;;")
    return f"""\
# bash completion for errata-client; load it with: source <(errata-client completion bash)
_errata_client() {{
    local current=${{COMP_WORDS[COMP_CWORD]}} command="" word words="" flags="" files="" place
    COMPREPLY=()
    for ((place = 1; place < COMP_CWORD; place++)); do
        word=${{COMP_WORDS[place]}}
        case "$command $word" in
            {_paths(places)}) command="$command $word" ;;
        esac
    done
    case "$command ${{COMP_WORDS[COMP_CWORD - 1]}}" in
{_values(places, _bash_value)}
    esac
    case "$command" in
{_joined(follows)}
    esac
    [[ $current == -* ]] && words=$flags
    COMPREPLY=($(compgen -W "$words" -- "$current"))
    if [[ -n $files && $current != -* ]]; then
        local IFS=$'\\n'
        COMPREPLY+=($(compgen -f -- "$current"))
    fi
}}
complete -o filenames -F _errata_client errata-client
"""


def _bash_value(value: _Value) -> str:
    if value.is_file:
        return """local IFS=$'\\n'; COMPREPLY=($(compgen -f -- "$current"))"""
    return f"""COMPREPLY=($(compgen -W {_quoted(" ".join(value.words))} -- "$current"))""" if value.words else ":"


def _zsh(places: Sequence[_Place]) -> str:
    follows = []
    for place in places:
        words = [_described(word, does) for word, does in place.words]
        options = [_described(flag, option.help) for option in place.options for flag in option.flags]
        then = _zsh_value(place.positional) if place.positional else ":"
        follows.append(
            f"        {_quoted(place.path)}) told=({' '.join(words)}); flags=({' '.join(options)})\n"
            f"            [[ $current == -* ]] || {then} ;;"
        )
    return f"""\
#compdef errata-client
# zsh completion for errata-client; load it with: source <(errata-client completion zsh)
_errata_client() {{
    local current=${{words[CURRENT]}} command="" word
    local -a told flags
    for word in "${{(@)words[2,CURRENT-1]}}"; do
        case "$command $word" in
            {_paths(places)}) command="$command $word" ;;
        esac
    done
    case "$command ${{words[CURRENT-1]}}" in
{_values(places, _zsh_value)}
    esac
    case "$command" in
{_joined(follows)}
    esac
    [[ $current == -* ]] && told=($flags)
    (( $#told )) && _describe -V command told
}}
if [[ $funcstack[1] == _errata_client ]]; then
    _errata_client "$@"
else
    (( $+functions[compdef] )) || {{ autoload -Uz compinit && compinit; }}
    compdef _errata_client errata-client
fi
"""


def _zsh_value(value: _Value) -> str:
    if value.is_file:
        return "_files"
    return f"compadd -- {' '.join(map(_quoted, value.words))}" if value.words else ":"


def _described(word: str, does: str) -> str:
    return _quoted(f"{word.replace(':', chr(92) + ':')}:{does}")


def _fish(places: Sequence[_Place]) -> str:
    lines = []
    for place in places:
        at = f"complete -c errata-client -n '__errata_client_at \"{place.path}\"'"
        lines += [f"{at} -a {word} -d {_fish_quoted(does)}" for word, does in place.words]
        lines += [f"{at} {_fish_option(option)}" for option in place.options]
        if place.positional and place.positional.is_file:
            lines.append(f"{at} -F")
        elif place.positional and place.positional.words:
            lines.append(f"{at} -a {_fish_quoted(' '.join(place.positional.words))}")
    paths = " ".join(_fish_quoted(place.path) for place in places if place.path)
    return f"""\
# fish completion for errata-client; load it with: errata-client completion fish | source
function __errata_client_at
    set -l command ""
    set -l words (commandline -opc)
    for word in $words[2..-1]
        if contains -- "$command $word" {paths}
            set command "$command $word"
        end
    end
    test "$command" = "$argv[1]"
end
complete -c errata-client -f
{_joined(lines)}
"""


def _fish_option(option: _Option) -> str:
    flags = " ".join(f"-l {flag[2:]}" if flag.startswith("--") else f"-s {flag[1:]}" for flag in option.flags)
    told = f"{flags} -d {_fish_quoted(option.help)}"
    if option.value is None:
        return told
    if option.value.is_file:
        return f"{told} -r -F"
    return f"{told} -x" + (f" -a {_fish_quoted(' '.join(option.value.words))}" if option.value.words else "")


def _values(places: Sequence[_Place], complete: Callable[[_Value], str]) -> str:
    """Return the cases of what stands right behind an option that takes a value."""
    patterns: dict[str, list[str]] = {}
    for place in places:
        for option in place.options:
            if option.value is not None:
                of_value = patterns.setdefault(complete(option.value), [])
                of_value += [_quoted(f"{place.path} {flag}") for flag in option.flags]
    return _joined([f"        {'|'.join(named)}) {then}; return ;;" for then, named in patterns.items()])


def _paths(places: Sequence[_Place]) -> str:
    return "|".join(_quoted(place.path) for place in places if place.path)


def _joined(lines: Sequence[str]) -> str:
    return "\n".join(lines)


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "'\\''") + "'"


def _fish_quoted(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"
