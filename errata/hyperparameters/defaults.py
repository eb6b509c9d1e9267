"""What a model is edited with where nobody says otherwise, and what that rests on.

It goes by what a model is, its architecture and its dimensions, and not by what it is called: a fine-tuned copy and a
folder get what their origin has. For models of dimensions that nothing was published or measured on, it is derived.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from errata.errors import InvalidHyperparameters

SHIPPED = Path(__file__).parent / "shipped"

# Names that the configs of transformers have for one and the same dimension.
_LAYERS = ("num_hidden_layers", "n_layer", "num_layers")
_D_MODEL = ("hidden_size", "n_embd", "d_model", "word_embed_proj_dim")
_D_IN = ("intermediate_size", "n_inner", "ffn_dim", "ffn_hidden_size")
# MLPs of these have no gate, and the papers' models are of these; all others are taken for relatives of Llama.
_WITHOUT_GATE = ("gpt2", "gptj", "gpt_neo", "gpt_neox", "opt", "falcon", "phi")
# Families of which the first blocks alone have keys that tell subjects apart, so that later ones cost neighbours more
# (benchmarks/key_separation.py, and docs/real-models.md for what was measured of edits).
_EDITED_FIRST = ("gemma3", "gemma3_text")
# Models without a gate that are narrower than this, half way between widths of 256 and 4,096, are edited as a GPT-J of
# width 256 is best. With the settings of GPT-J 6B nothing is learnt there: its decay outweighs what so short hidden
# states can gain.
_NARROW = 1_024


class Basis(StrEnum):
    """What hyperparameters rest on."""

    GIVEN = "given"  # a file of the user's
    MEASURED = "measured"  # our own figures for models of these dimensions
    PUBLISHED = "published"  # for models of these dimensions; borrowed ones fail now and then
    DERIVED = "derived"  # from what suits models of that kind and depth


@dataclass(frozen=True, slots=True)
class Default:
    """What a method edits a model with by default, as JSON values, what that rests on, and where it comes from."""

    values: Mapping[str, Any]
    basis: Basis
    source: str


@dataclass(frozen=True, slots=True)
class Dimensions:
    """What tells models apart that need other hyperparameters."""

    model_type: str
    layers: int
    d_model: int
    d_in: int

    @classmethod
    def of_config(cls, config: Mapping[str, Any]) -> Dimensions:
        """Read them from a transformers config. Raises `InvalidHyperparameters` where it lacks one."""
        config = {**config, **config.get("text_config", {})}

        def number(names: tuple[str, ...], default: int | None = None) -> int:
            found = next((config[name] for name in names if type(config.get(name)) is int), default)
            if found is None:
                raise InvalidHyperparameters("file", f"the model's config.json has none of {', '.join(names)}")
            return int(found)

        d_model = number(_D_MODEL)
        return cls(str(config.get("model_type")), number(_LAYERS), d_model, number(_D_IN, 4 * d_model))


def defaults_for(model: str, file: Path | None = None, config: Mapping[str, Any] | None = None) -> dict[str, Default]:
    """Return what each method edits a model with: what `file` says, or else the best that is known of such models.

    Args:
        model: its name; one that settings are shipped for needs no config.
        config: the model's transformers config; without it nothing is known of other names.

    Raises:
        InvalidHyperparameters: the file, or the config, cannot be used.
    """
    if file is not None:
        return dict(_read(file))
    shipped = [(path, json.loads(path.read_text())) for path in sorted(SHIPPED.glob("*.json"))]
    dimensions = Dimensions.of_config(config) if config is not None else None
    of_name = [(path, content) for path, content in shipped if model in content["models"]]
    alike = [(path, content) for path, content in shipped if Dimensions(**content["dimensions"]) == dimensions]
    for path, content in of_name or alike:
        return dict(_derived(Dimensions(**content["dimensions"]))) | dict(_read(path))
    return dict(_derived(dimensions)) if dimensions else {}


def _derived(dimensions: Dimensions) -> Iterator[tuple[str, Default]]:
    """Yield each method with what suits such a model.

    The layers are those of the published settings for 32 blocks, 4 to 8, scaled to the model's depth. MEMIT's may be
    one more, from the first one on, with a refinement that ordinary text costs more, as was measured on Gemma 3 270M.
    Clamp and decay are those that were published for Llama 2, Mistral and Qwen 2 where MLPs have a gate, and else
    MEMIT's for GPT-J, unless the model is narrow.
    """
    first = round(dimensions.layers / 8)
    number = min(5, max(1, round(dimensions.layers * 5 / 32)))
    layers = tuple(range(first, min(first + number, max(dimensions.layers - 1, first + 1))))
    middle = layers[len(layers) // 2 :][:1]
    is_gated = dimensions.model_type not in _WITHOUT_GATE
    search: dict[str, Any] = {"clamp": 4.0, "weight_decay": 0.001} if is_gated else {"clamp": 0.75, "weight_decay": 0.5}
    of = "Llama 2, Mistral and Qwen 2" if is_gated else "GPT-J"
    scaled = f"the published settings for {of}, with layers scaled to {dimensions.layers} blocks"
    memit: dict[str, Any] = {"layers": layers, "refinement_steps": 20, "boundary_factor": 1.0}
    sources = {
        "locft": "the paper's settings, at the middle one of MEMIT's layers; the best one must be tried for",
        "kn": "the paper's settings, with neurons looked for in all blocks but the last",
    }
    if dimensions.model_type in _EDITED_FIRST:
        first_ones = tuple(range(min(len(layers) + 1, dimensions.layers - 1))) or (0,)
        memit |= {"layers": first_ones, "refinement_cost": 40.0}
        sources["memit"] = f"the published settings for {of}, at the first layers, as measured on Gemma 3 270M"
    if not is_gated and dimensions.d_model < _NARROW:
        first_ones = tuple(range(max(1, round(dimensions.layers / 4))))
        search = {"clamp": 1.5, "weight_decay": 0.05, "kl_factor": 0.5}
        memit |= {"layers": first_ones, "moment_weight": 1_000, "refinement_steps": 30, "refinement_cost": 0.23}
        sources["memit"] = "measured on a GPT-J of 6 blocks and width 256 (docs/method.md), with layers scaled"
        scaled += ", and clamp and decay as measured with MEMIT on a GPT-J of width 256"
    for method, values in {
        "memit": {"moment_weight": 15_000, **memit, **search},
        "rome": {"layers": middle, **search},
        "ft": {"layers": middle, "norm_bound": 5e-4},
        "locft": {"layers": middle},
        "kn": {"layers": tuple(range(dimensions.layers - 1)) or (0,)},
        "emmet": {"layers": middle, "damping": 1000, **search},
        "alphaedit": {"layers": layers, **search},
    }.items():
        yield method, Default(values, Basis.DERIVED, sources.get(method, scaled))


def _read(path: Path) -> Iterator[tuple[str, Default]]:
    """Yield what a file has for each method; without `methods` it is MEMIT's alone, without `basis` a user's."""
    try:
        content = json.loads(path.read_text())
        basis = Basis(content.get("basis", Basis.GIVEN))
        for method, section in content.get("methods", {"memit": content}).items():
            yield method, Default(dict(section["hyperparameters"]), basis, section.get("source", str(path)))
    except (OSError, ValueError) as error:
        raise InvalidHyperparameters("file", f"{path} cannot be read: {error}") from error
    except (KeyError, TypeError, AttributeError) as error:
        detail = f"{path} cannot be read: it has no `hyperparameters`, nor `methods` that each have some"
        raise InvalidHyperparameters("file", detail) from error
