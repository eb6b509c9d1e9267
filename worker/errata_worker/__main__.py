"""`python -m errata_worker`: load the model, then run edits until told to stop."""

import logging
import signal
import sys
import threading
import time

from errata_registry import logs, telemetry
from errata_registry.home import keep_private
from errata_registry.jobs.recovery import recover
from errata_registry.registry import Registry
from errata_registry.settings import read_settings
from redis import RedisError
from rq.exceptions import StopRequested

from errata.errors import ErrataError
from errata.files import disk
from errata.targets.store import BuildStore
from errata_worker import tasks
from errata_worker.resident_model import ResidentModel
from errata_worker.resident_worker import ResidentWorker
from errata_worker.running import Resources

RETRY_S = 2.0

logger = logging.getLogger("worker")


def main() -> None:
    """Run one worker; exit with 1 and one line where the settings or the model cannot be used."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))  # while the model is being loaded
    try:
        settings = read_settings()
        logs.set_up(settings.log_format)
        telemetry.set_up("errata-worker")
        keep_private(settings.home)
        registry = Registry(settings)
        threading.Thread(target=_keep_house, args=(registry,), name="house-keeping", daemon=True).start()
        resident = ResidentModel.load(settings, registry.commits)
        model = resident.model
        registry.bind_base(model.name, model.digest, model.matrix_shapes, model.matrix_values)
        _recover_once(registry)
        resident.prepare()
    except (ErrataError, ValueError, OSError) as error:
        sys.exit(f"errata worker: {error}")
    logger.info("model %s (%s) is loaded on %s", settings.model, model.digest[:12], model.placement)
    _work(registry, resident)


def _recover_once(registry: Registry) -> None:
    """Put the registry in order, as soon as Redis answers. Raises `Conflict`, `CorruptArtifact`."""
    while True:
        try:
            return recover(registry)
        except RedisError as error:
            logger.warning("Redis does not answer; waiting for it: %s", error)
            time.sleep(RETRY_S)
        except OSError as error:
            if disk.refusal_of(error) is None:
                raise
            return logger.warning("the registry is put in order later: %s", error)


def _keep_house(registry: Registry) -> None:
    """Take up what other workers lost, also while the model is being loaded or an edit runs."""
    while True:
        try:
            recover(registry)
        except (RedisError, ErrataError) as error:
            logger.warning("house-keeping: %s", error)
        except Exception:
            logger.exception("house-keeping failed")
        time.sleep(registry.settings.maintenance_s)


def _work(registry: Registry, resident: ResidentModel) -> None:
    """Run jobs. While Redis is away the model stays and the worker waits."""
    targets = BuildStore(resident.settings.home / "targets", tell=resident.note_damage)
    worker: ResidentWorker | None = None
    while worker is None or not worker.is_stopping:
        try:
            worker = ResidentWorker(resident.settings)
            tasks.provide(Resources(registry, resident, targets, worker.name, worker.must_stop))
            worker.work(logging_level="WARNING")
        except StopRequested:  # told to stop outside of `work`
            return
        except RedisError as error:
            logger.warning("Redis is away: %s", error)
            time.sleep(RETRY_S)


if __name__ == "__main__":
    main()
