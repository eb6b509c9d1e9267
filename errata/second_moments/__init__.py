"""Second moments C = E[k kᵀ] of the keys of a layer: collected, published, kept, factored."""

from errata.second_moments.moments import Origin, SecondMoments, key_vectors_for, stored_origins

__all__ = ["Origin", "SecondMoments", "key_vectors_for", "stored_origins"]
