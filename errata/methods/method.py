"""Editing methods: how one turns facts into updates, and how it describes itself."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from errata.deltas import Delta
from errata.errors import InvalidHyperparameters
from errata.facts import Fact, FactSet
from errata.hyperparameters import Hyperparameters
from errata.model import EditableModel
from errata.model.room import require_room
from errata.second_moments import SecondMoments
from errata.targets.contexts import sample_contexts
from errata.targets.store import BuildStore
from errata.wordings import wordings_of

H = TypeVar("H", bound=Hyperparameters)
H_co = TypeVar("H_co", bound=Hyperparameters, covariant=True)

OnProgress = Callable[[str, int, int], None]


def no_news(stage: str, done: int, total: int) -> None:
    """Tell nobody of a build's progress."""


@dataclass(frozen=True, slots=True)
class Built:
    """The result of a build: the update of each layer, and the context prefixes that it used."""

    deltas: dict[int, Delta]
    contexts: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Inputs(Generic[H_co]):
    """What the steps of a method work from. What each is: see `Method.__call__`."""

    model: EditableModel
    facts: Sequence[
        Fact
    ]  # one or more, in each of their wordings (`errata.wordings`), whose prompts fit into the model
    contexts: Sequence[str]
    hyperparameters: H_co
    second_moments: SecondMoments
    store: BuildStore | None = None
    on_progress: OnProgress = no_news


@dataclass(frozen=True, slots=True)
class Method(Generic[H]):
    """An editing method. Calling it builds the weights of a fact set; all methods are called alike.

    Attributes:
        hyperparameters: the record that it is given; its fields are what it uses, and it tells whether one layer is
            edited or several.
        find_updates: its steps: find the update of each layer.
        one_after_another: whether each fact is put into the model as edited by the facts before it; else all at once.
        searches_ahead: whether the targets of its facts are searched for on the base model (`errata.targets`), each
            on its own: then they can be kept, and found by several workers.
    """

    hyperparameters: type[H]
    find_updates: Callable[[Inputs[H]], dict[int, Delta]]
    one_after_another: bool
    searches_ahead: bool

    @property
    def name(self) -> str:
        """The name that a request uses."""
        return self.hyperparameters.method

    def __call__(
        self,
        model: EditableModel,
        facts: FactSet,
        hyperparameters: H,
        second_moments: SecondMoments,
        *,
        contexts: Sequence[str] | None = None,
        store: BuildStore | None = None,
        on_progress: OnProgress = no_news,
    ) -> Built:
        """Return the updates that put `facts` into the base model. The model ends as it began, whatever happens.

        Args:
            contexts: the prefixes of an earlier build that this one is to agree with; None samples them anew.
            store: what was found of the base before (targets, and states at the subject), and where it is kept now.
            on_progress: called with ("targets", facts done, facts) and ("spread", layers done, layers), or for a
                method that writes in steps ("spread", steps done, steps). What it raises ends the build.

        Raises:
            InvalidHyperparameters: those of another method, or a layer that the model does not have.
            InvalidFacts: a prompt, with what goes before and after it, is longer than the model's context, or the
                model has no chat template for a question.
            StatisticsError: a layer without second moments, where the method needs them.
            NotFinite: the computation left the finite numbers.
        """
        if not isinstance(hyperparameters, self.hyperparameters):
            raise InvalidHyperparameters("method", f"are those of {hyperparameters.method}, not of {self.name}")
        model.require_editable(hyperparameters.layers)
        contexts = tuple(contexts) if contexts is not None else sample_contexts(model, hyperparameters.seed)
        wordings = wordings_of(model, facts)
        require_room(model, list(facts), contexts)
        if not facts:
            return Built({}, contexts)
        inputs = Inputs(model, wordings, contexts, hyperparameters, second_moments, store, on_progress)
        return Built(self.find_updates(inputs), contexts)
