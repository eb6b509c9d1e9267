"""The editing methods, one module for each, in `METHODS` by the names that requests use."""

from collections.abc import Mapping
from typing import Any

from errata.methods import alphaedit, emmet, fine_tuning, knowledge_neurons, locft, memit, rome
from errata.methods.mend import editing as mend
from errata.methods.method import Method

METHODS: Mapping[str, Method[Any]] = {
    method.name: method
    for method in (
        memit.build,
        rome.build,
        fine_tuning.build,
        locft.build,
        emmet.build,
        alphaedit.build,
        mend.build,
        knowledge_neurons.build,
    )
}
