"""MEMIT (Meng et al., ICLR 2023): targets, their spread over the layers, and refinement if it is asked for."""

from errata.deltas import Delta
from errata.hyperparameters import MemitHyperparameters
from errata.methods.closed_form import adjusted_keys
from errata.methods.method import Inputs, Method
from errata.methods.refinement import refine
from errata.methods.spread import AdjustKeys, search_targets, spread, write_layers


def find_updates(inputs: Inputs[MemitHyperparameters]) -> dict[int, Delta]:
    """Return the update of each layer that brings all facts near their targets, weighed against what the layer does."""
    targets = search_targets(inputs)
    if inputs.hyperparameters.refinement_steps == 0:
        return spread(inputs, targets, weighed_keys(inputs))
    return refine(inputs, write_layers(inputs, targets, weighed_keys(inputs)))


def weighed_keys(inputs: Inputs[MemitHyperparameters]) -> AdjustKeys:
    """Return the function that gives MEMIT's (lambda C + K K^T + lambda_n I)^-1 K of a layer's keys."""
    moments, settings = inputs.second_moments, inputs.hyperparameters
    return lambda layer, keys: adjusted_keys(moments, layer, keys, settings.moment_weight, settings.norm_weight)


build = Method(MemitHyperparameters, find_updates, one_after_another=False, searches_ahead=True)
