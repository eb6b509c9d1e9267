"""`python -m errata_worker.statistics`: collect and factor a base model's second moments ahead of its first edit."""

import logging
import sys
from contextlib import closing

from errata_registry.bucket.commits import commits_of
from errata_registry.home import keep_private
from errata_registry.occupancy import Occupied
from errata_registry.settings import read_settings

from errata.errors import ErrataError
from errata.second_moments.home import moments_folder
from errata_worker.resident_model import ResidentModel


def main() -> None:
    """Collect what is missing; exit with 1 and one line where the settings or the model cannot be used."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    try:
        settings = read_settings()
        keep_private(settings.home)
        with closing(Occupied(settings.home)):
            resident = ResidentModel.load(settings, commits_of(settings))
            layers = resident.prepare()
    except (ErrataError, ValueError, OSError) as error:
        sys.exit(f"errata: {error}")
    named = ", ".join(map(str, layers)) or "none"
    folder = moments_folder(resident.settings.home, resident.model)
    print(f"The second moments of {resident.model.name} for layers {named} are in {folder}")


if __name__ == "__main__":
    main()
