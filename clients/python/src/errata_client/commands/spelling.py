"""What is typed, in the present spelling: a noun alone lists, old commands become new ones, and slips get a hint."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from errata_client.commands.command import Command, Noun
from errata_client.commands.parser import ANYWHERE

OLD: dict[str, tuple[str, ...]] = {
    "retract": ("facts", "retract"),
    "fact": ("facts", "show"),
    "rebuild": ("versions", "rebuild"),
    "version": ("versions", "show"),
    "diff": ("versions", "diff"),
    "activate": ("versions", "activate"),
    "rollback": ("versions", "rollback"),
    "activations": ("versions", "activations"),
    "prune": ("versions", "prune", "--yes"),  # it did not ask
    "export": ("versions", "export"),
    "alias": ("aliases", "set"),
    "unalias": ("aliases", "remove"),
    "retry": ("edits", "retry"),
    "outcomes": ("edits", "outcomes"),
    "evaluate": ("evaluations", "start"),
    "evaluation": ("evaluations", "show"),
    "trace": ("traces", "start"),
    "traced": ("traces", "show"),
}
"""Commands as they were spelled in 0.1, and what they are now."""
OF_ANY_JOB = ("watch", "cancel")
"""Old commands that took the id of any job."""
_TAKING_A_VALUE = {option.names[0] for option in ANYWHERE if "action" not in option.settings}


@dataclass(frozen=True, slots=True)
class Spelled:
    """Arguments as the parser takes them, the noun or short command among them, a hint, and what is no command."""

    arguments: list[str]
    begins_with: str = ""
    hint: str | None = None
    mistake: str | None = None


def spelled(typed: Sequence[str], nouns: Sequence[Noun], shorts: Sequence[Command]) -> Spelled:
    """Return what is meant by what was typed."""
    arguments = list(typed)
    place = _place_of_word(arguments, 0)
    if place is None:
        return Spelled(arguments)
    word = arguments[place]
    of_noun = next((noun for noun in nouns if noun.name == word), None)
    if of_noun is not None:
        return _with_verb(arguments, place, of_noun)
    if word in OLD or word in OF_ANY_JOB:
        now = OLD.get(word) or (_noun_of_job(arguments[place + 1 :]), word)
        meant = " ".join(part for part in now if not part.startswith("-"))
        hint = f"`{word}` is `{meant}` now; the old spelling goes with the next release"
        return Spelled([*arguments[:place], *now, *arguments[place + 1 :]], now[0], hint)
    if any(short.name == word for short in shorts):
        return Spelled(arguments, word)
    return Spelled(arguments, mistake=_no_such("command", word, [*(n.name for n in nouns), *(s.name for s in shorts)]))


def _with_verb(arguments: list[str], place: int, noun: Noun) -> Spelled:
    """Let a noun without a verb mean `list`, with that one's options or without."""
    verbs = [verb.name for verb in noun.verbs]
    after = _place_of_word(arguments, place + 1, stop_at_options=True)
    if after is None and not {"-h", "--help"}.intersection(arguments[place:]):
        return Spelled([*arguments[: place + 1], "list", *arguments[place + 1 :]], noun.name)
    if after is None or arguments[after] in verbs:
        return _verb_first(arguments, place, after)
    return Spelled(arguments, mistake=_no_such(f"verb of {noun.name}", arguments[after], verbs))


def _verb_first(arguments: list[str], place: int, after: int | None) -> Spelled:
    """Put the verb right behind its noun: between them only options stand that may stand anywhere."""
    noun = arguments[place]
    if after is None or after == place + 1:
        return Spelled(arguments, noun)
    between = arguments[place + 1 : after]
    return Spelled([*arguments[: place + 1], arguments[after], *between, *arguments[after + 1 :]], noun)


def _place_of_word(arguments: Sequence[str], begin: int, *, stop_at_options: bool = False) -> int | None:
    """Return the place of the first word that is neither an option that may stand anywhere nor its value.

    With `stop_at_options`, there is none behind any other option.
    """
    place = begin
    while place < len(arguments):
        argument = arguments[place]
        if not argument.startswith("-") or argument == "-":
            return place
        if argument in _TAKING_A_VALUE:
            place += 1
        elif stop_at_options and argument.partition("=")[0] not in {option.names[0] for option in ANYWHERE}:
            return None
        place += 1
    return None


def _noun_of_job(arguments: Sequence[str]) -> str:
    """Return what kind of job an id among the arguments is of."""
    for argument in arguments:
        for prefix, noun in (("eval_", "evaluations"), ("trace_", "traces")):
            if argument.startswith(prefix):
                return noun
    return "edits"


def no_such_argument(argument: str, command: Command) -> str:
    """Say that a command does not take an argument, and which one may be meant."""
    if not argument.startswith("-"):
        return f"{argument!r} is one argument too many"
    flags = [name for one in (*command.arguments, *ANYWHERE) for name in one.names if name.startswith("-")]
    return _no_such(f"option of {command.name}", argument.partition("=")[0], flags)


def _no_such(kind: str, word: str, known: Sequence[str]) -> str:
    import difflib  # only for who slips

    close = difflib.get_close_matches(word, known, n=1)
    return f"{word!r} is no {kind}: " + (f"did you mean {close[0]!r}?" if close else f"there are {', '.join(known)}")
