"""Hyperparameters: one typed record for each method, and the values shipped for known models."""

from errata.hyperparameters.records import (
    RECORDS,
    SEARCH_HYPERPARAMETERS,
    SHIPPED,
    AlphaEditHyperparameters,
    EmmetHyperparameters,
    FineTuningHyperparameters,
    Hyperparameters,
    MemitHyperparameters,
    MendHyperparameters,
    MomentHyperparameters,
    RomeHyperparameters,
    TargetHyperparameters,
    for_model,
    of_method,
    unknown_to,
)

__all__ = [
    "RECORDS",
    "SEARCH_HYPERPARAMETERS",
    "SHIPPED",
    "AlphaEditHyperparameters",
    "EmmetHyperparameters",
    "FineTuningHyperparameters",
    "Hyperparameters",
    "MemitHyperparameters",
    "MendHyperparameters",
    "MomentHyperparameters",
    "RomeHyperparameters",
    "TargetHyperparameters",
    "for_model",
    "of_method",
    "unknown_to",
]
