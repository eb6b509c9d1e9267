"""Second moments C = E[k kᵀ] of the keys of a layer: collected, published, kept, factored."""

from errata.second_moments.moments import SecondMoments as SecondMoments, stored_origins as stored_origins
