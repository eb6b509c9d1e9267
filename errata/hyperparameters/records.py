"""Hyperparameters: one typed record for each method, each number with its safe bounds."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar, Self

from errata.errors import InvalidHyperparameters
from errata.hyperparameters.defaults import Basis, defaults_for
from errata.hyperparameters.fields import Between, Hyperparameters, there_are

SEARCH_HYPERPARAMETERS = (
    "num_steps",
    "learning_rate",
    "clamp",
    "weight_decay",
    "kl_factor",
    "stop_loss",
    "stop_margin",
    "boundary_factor",
)
"""The settings of a target search, beside its layer; a fact may bring its own."""
# float32 tells losses of about nothing apart in such steps.
LEAST_STOP_LOSS = 1e-7
FIRST_REFINEMENT_STEPS = 20  # of a try to refine what was not refined before


@dataclass(frozen=True, slots=True, kw_only=True)
class MomentHyperparameters(Hyperparameters):
    """Hyperparameters of methods that use the second moments of the layers' keys.

    Attributes:
        num_samples: key vectors that the second moment is collected from; None for ten for each dimension of a key.
    """

    num_samples: Annotated[int | None, Between(100, 100_000_000)] = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetHyperparameters(MomentHyperparameters):
    """Hyperparameters of methods that search for a target for each fact, at the last of the layers.

    Attributes:
        num_steps: forward passes of a target search; the last one is not followed by an update.
        learning_rate: Adam's step size for the target's offset, and for MEMIT's refinement.
        clamp: largest norm of the offset, as a multiple of the hidden state's norm.
        weight_decay: weight of |offset| / |hidden state|^2 in the loss.
        kl_factor: weight of the KL term that keeps what the subject is.
        stop_loss: a search ends when its total loss falls below this.
        stop_margin: it also ends when every token of the object is likelier than any other by this factor, as its
            logarithm, in all prompts: 0 is the early stop of ENCORE (arXiv 2502.01636, section 4); None for never.
        boundary_factor: weight of the loss of going on from the object to a longer word (`errata.model.boundaries`);
            the papers have none.
    """

    num_steps: Annotated[int, Between(1, 500)] = 25
    learning_rate: Annotated[float, Between(1e-4, 10)] = 0.5
    clamp: Annotated[float, Between(0.01, 100)] = 0.75
    weight_decay: Annotated[float, Between(0, 100)] = 0.5
    kl_factor: Annotated[float, Between(0, 100)] = 0.0625
    stop_loss: Annotated[float, Between(0, 10)] = 0.05
    stop_margin: Annotated[float | None, Between(0, 100)] = None
    boundary_factor: Annotated[float, Between(0, 100)] = 0.0

    @property
    def target_layer(self) -> int:
        """The layer whose output the targets are searched for at on the base model."""
        return self.layers[-1]

    def for_search(self, search: Mapping[str, Any]) -> Self:
        """Return this record with the hyperparameters that a fact brings for its own search.

        Raises:
            InvalidHyperparameters: what is none of a search, or a value of the wrong type or out of its bounds.
        """
        for name in search:
            if name not in SEARCH_HYPERPARAMETERS:
                detail = f"is no hyperparameter of a target search; {there_are(SEARCH_HYPERPARAMETERS, name)}"
                raise InvalidHyperparameters(name, detail)
        return self.overridden(search) if search else self

    def stronger(self) -> dict[str, Any]:
        """Return what to search with for a fact that did not take.

        Twice the steps and the clamp, and a tenth of the stop loss (see `benchmarks/retry.py`), each as far as its
        bound, no end at a margin, and the object learnt to the end of its word. At the bounds, the values stay what
        they are.
        """
        to_the_end = {} if self.stop_margin is None else {"stop_margin": None}
        return {
            "num_steps": min(2 * self.num_steps, int(self.bounds("num_steps").high)),
            "clamp": min(2 * self.clamp, self.bounds("clamp").high),
            "stop_loss": min(self.stop_loss, max(self.stop_loss / 10, LEAST_STOP_LOSS)),
            "boundary_factor": max(self.boundary_factor, 1.0),
            **to_the_end,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class SpreadHyperparameters(TargetHyperparameters):
    """Hyperparameters of methods that write all facts at once, into one layer or several (`errata/methods/spread.py`).

    Attributes:
        residuals_afresh: 0: what the facts lack of their targets at the last layer is shared out over the layers. 1:
            each layer is written with the whole of what they lack there, by a search of its own on the model as
            edited so far; with the first and the last of a model's layers this is BLUE (arXiv 2502.03748).
    """

    residuals_afresh: Annotated[int, Between(0, 1)] = 0

    @property
    def target_layer(self) -> int:
        """See `TargetHyperparameters`; the layers after the first search on the model as edited so far."""
        return self.layers[0] if self.residuals_afresh else self.layers[-1]

    @property
    def num_writing_steps(self) -> int:
        """The steps that progress is told in once the targets are found."""
        return len(self.layers)


@dataclass(frozen=True, slots=True, kw_only=True)
class MemitHyperparameters(SpreadHyperparameters):
    """Hyperparameters of MEMIT (`errata/methods/memit.py`).

    Attributes:
        moment_weight: lambda, the weight of the second moment C against the new keys (Eq. 15 of the paper).
        norm_weight: lambda_n, the weight of |update|^2 against the new keys (ENCORE, arXiv 2502.01636, section 5).
        refinement_steps: steps in which the residuals of all facts are then searched for together, by the loss of the
            model that they are written into (`errata/methods/refinement.py`); the paper has none.
        refinement_cost: weight there of tr(F dW C dW^T), how far predictions after ordinary text move, in what it is
            before the refinement, against the facts' mean loss.
    """

    method: ClassVar[str] = "memit"

    moment_weight: Annotated[float, Between(1e-3, 1e7)]
    norm_weight: Annotated[float, Between(0, 1e7)] = 0.0
    refinement_steps: Annotated[int, Between(0, 500)] = 0
    refinement_cost: Annotated[float, Between(0, 1e6)] = 6.0

    @property
    def num_writing_steps(self) -> int:
        """See `SpreadHyperparameters`."""
        return len(self.layers) + self.refinement_steps

    def more_refined(self) -> dict[str, Any]:
        """Return twice the steps of refinement, up to their bound, at a tenth of the cost; or the first ones, at none,
        since what the spread wrote, in which a cost is measured, was too little. Nothing where the bound is reached."""
        had, most = self.refinement_steps, int(self.bounds("refinement_steps").high)
        if not had:
            return {"refinement_steps": FIRST_REFINEMENT_STEPS, "refinement_cost": 0.0}
        again = {"refinement_steps": min(2 * had, most), "refinement_cost": self.refinement_cost / 10}
        return again if had < most else {}


@dataclass(frozen=True, slots=True, kw_only=True)
class RomeHyperparameters(TargetHyperparameters):
    """Hyperparameters of ROME (`errata/methods/rome.py`), whose facts hold exactly, one after another."""

    method: ClassVar[str] = "rome"
    one_layer: ClassVar[bool] = True


@dataclass(frozen=True, slots=True, kw_only=True)
class EmmetHyperparameters(SpreadHyperparameters):
    """Hyperparameters of EMMET (`errata/methods/emmet.py`).

    Attributes:
        damping: alpha, added to the diagonal of K^T C^-1 K, with C = E[k k^T]. (The authors' 0.1 is added to
            K^T (10,000 C)^-1 K: 1,000 here.)
    """

    method: ClassVar[str] = "emmet"

    damping: Annotated[float, Between(0, 1e7)] = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class AlphaEditHyperparameters(SpreadHyperparameters):
    """Hyperparameters of AlphaEdit (`errata/methods/alphaedit.py`).

    Attributes:
        null_threshold: singular values of C = E[k k^T] below it belong to its null space.
        regularization: alpha, the weight of |update|^2 against the facts.
    """

    method: ClassVar[str] = "alphaedit"

    null_threshold: Annotated[float, Between(1e-12, 1e6)] = 0.02
    regularization: Annotated[float, Between(1e-6, 1e7)] = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class FineTuningHyperparameters(Hyperparameters):
    """Hyperparameters of constrained fine-tuning (`errata/methods/fine_tuning.py`).

    Attributes:
        norm_bound: largest change of a weight, in either direction.
        num_steps: most steps over all facts.
        learning_rate: Adam's step size.
        weight_decay: factor of the change itself that is added to its gradient, and so draws it back to the base.
        stop_loss: the training ends when its loss falls below this.
    """

    method: ClassVar[str] = "ft"
    one_layer: ClassVar[bool] = True

    norm_bound: Annotated[float, Between(1e-8, 10)]
    num_steps: Annotated[int, Between(1, 500)] = 25
    learning_rate: Annotated[float, Between(1e-7, 10)] = 5e-4
    weight_decay: Annotated[float, Between(0, 100)] = 0.0
    stop_loss: Annotated[float, Between(0, 10)] = 0.01


@dataclass(frozen=True, slots=True, kw_only=True)
class LocFTHyperparameters(Hyperparameters):
    """Hyperparameters of LocFT-BF (`errata/methods/locft.py`).

    Attributes:
        num_epochs: most runs over all facts.
        batch_size: facts of a step.
        learning_rate: Adam's step size.
        stop_loss: a batch whose loss is below this is passed over; the training ends when an epoch's is.
        end_token: 1: the end of the text is learnt after the object; 0: the end of its last word.
    """

    method: ClassVar[str] = "locft"
    one_layer: ClassVar[bool] = True

    num_epochs: Annotated[int, Between(1, 1000)] = 25
    batch_size: Annotated[int, Between(1, 100_000)] = 100
    learning_rate: Annotated[float, Between(1e-7, 10)] = 5e-4
    stop_loss: Annotated[float, Between(0, 10)] = 0.01
    end_token: Annotated[int, Between(0, 1)] = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class KnowledgeNeuronHyperparameters(Hyperparameters):
    """Hyperparameters of knowledge neurons (`errata/methods/knowledge_neurons.py`), looked for in all of the layers.

    Attributes:
        num_steps: m, the terms of the sum that stands for an integral.
        threshold: of the largest attribution in a prompt, what counts there.
        share: of a fact's prompts, in which a neuron must count.
        old_weight: lambda_1, of the old token's embedding, which is taken away.
        new_weight: lambda_2, of the new token's embedding, which is added.
    """

    method: ClassVar[str] = "kn"

    num_steps: Annotated[int, Between(1, 500)] = 20
    threshold: Annotated[float, Between(0, 1)] = 0.2
    share: Annotated[float, Between(0, 1)] = 0.7
    old_weight: Annotated[float, Between(0, 1e4)] = 1.0
    new_weight: Annotated[float, Between(0, 1e4)] = 8.0


@dataclass(frozen=True, slots=True, kw_only=True)
class MendHyperparameters(MomentHyperparameters):
    """Hyperparameters of MEND (`errata/methods/mend`). Its network must have been trained for these very layers."""

    method: ClassVar[str] = "mend"


RECORDS: Mapping[str, type[Hyperparameters]] = {
    record.method: record
    for record in (
        MemitHyperparameters,
        RomeHyperparameters,
        FineTuningHyperparameters,
        LocFTHyperparameters,
        EmmetHyperparameters,
        AlphaEditHyperparameters,
        MendHyperparameters,
        KnowledgeNeuronHyperparameters,
    )
}


def of_method(method: str, values: Mapping[str, Any]) -> Hyperparameters:
    """Return a method's record that `as_dict` gave. Raises `InvalidHyperparameters`, also for an unknown method."""
    if method not in RECORDS:
        raise InvalidHyperparameters("method", f"there is no method {method!r}; there are {', '.join(RECORDS)}")
    return RECORDS[method].from_dict(values)


@dataclass(frozen=True, slots=True)
class Known:
    """What a method edits a model with by default, what that rests on, and where it comes from."""

    hyperparameters: Hyperparameters
    basis: Basis
    source: str


def known_for(model: str, file: Path | None = None, config: Mapping[str, Any] | None = None) -> dict[str, Known]:
    """Return the records of `defaults_for` by their methods.

    Raises:
        InvalidHyperparameters: the file, or the config, cannot be used.
    """
    defaults = defaults_for(model, file, config)
    if unknown := defaults.keys() - RECORDS.keys():
        known = ", ".join(RECORDS)
        raise InvalidHyperparameters("file", f"{file} is of methods that there are not: {sorted(unknown)}, not {known}")
    return {
        method: Known(RECORDS[method].from_dict(default.values), default.basis, default.source)
        for method, default in defaults.items()
    }


def for_model(
    model: str, file: Path | None = None, config: Mapping[str, Any] | None = None
) -> dict[str, Hyperparameters]:
    """Return the records of `known_for` alone. Raises as it does."""
    return {method: known.hyperparameters for method, known in known_for(model, file, config).items()}


def unknown_to(method: str, known: Mapping[str, object]) -> str:
    """Say that no record is known for a method, and for which methods one is."""
    return (
        f"nothing is known of how to edit this model by {method}, but by {', '.join(known)}; ERRATA_HYPERPARAMETERS "
        "names a file of hyperparameters"
    )
