"""Hyperparameters: one typed record for each method (`records`), and what a model is edited with (`defaults`)."""

from errata.hyperparameters.defaults import SHIPPED as SHIPPED, Basis as Basis
from errata.hyperparameters.fields import Between as Between, Hyperparameters as Hyperparameters
from errata.hyperparameters.records import (
    LEAST_STOP_LOSS as LEAST_STOP_LOSS,
    RECORDS as RECORDS,
    SEARCH_HYPERPARAMETERS as SEARCH_HYPERPARAMETERS,
    AlphaEditHyperparameters as AlphaEditHyperparameters,
    EmmetHyperparameters as EmmetHyperparameters,
    FineTuningHyperparameters as FineTuningHyperparameters,
    KnowledgeNeuronHyperparameters as KnowledgeNeuronHyperparameters,
    Known as Known,
    LocFTHyperparameters as LocFTHyperparameters,
    MemitHyperparameters as MemitHyperparameters,
    MendHyperparameters as MendHyperparameters,
    MomentHyperparameters as MomentHyperparameters,
    RomeHyperparameters as RomeHyperparameters,
    SpreadHyperparameters as SpreadHyperparameters,
    TargetHyperparameters as TargetHyperparameters,
    for_model as for_model,
    known_for as known_for,
    of_method as of_method,
    unknown_to as unknown_to,
)
