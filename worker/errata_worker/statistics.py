"""`python -m errata_worker.statistics`: collect and factor a base model's second moments ahead of its first edit."""

import logging
import sys

from errata_registry.settings import Settings

from errata.errors import ErrataError
from errata.second_moments.home import moments_folder
from errata_worker.resident_model import ResidentModel


def main() -> None:
    """Collect what is missing; exit with 1 and one line where the settings or the model cannot be used."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    try:
        resident = ResidentModel.load(Settings())
        layers = resident.prepare()
    except ErrataError as error:
        sys.exit(f"errata: {error}")
    named = ", ".join(map(str, layers)) or "none"
    folder = moments_folder(resident.settings.home, resident.model)
    print(f"The second moments of {resident.model.name} for layers {named} are in {folder}")


if __name__ == "__main__":
    main()
