"""A worker in this process, with no model and no jobs."""

import time
from datetime import timedelta

import redis
from errata_registry.settings import Settings
from errata_worker.resident_worker import ResidentWorker
from rq import Worker
from rq.utils import now

from tests.worker.conftest import DATABASE


def test_a_worker_is_soon_known_to_an_emptied_redis_also_when_the_clock_was_set_back(redis_server: str) -> None:
    url = f"{redis_server}/{DATABASE}"
    worker = ResidentWorker(Settings(redis_url=url, maintenance_s=0.2))
    worker.register_birth()
    worker.run_maintenance_tasks()
    worker.last_cleaned_at = now() + timedelta(days=1)  # type: ignore[assignment]  # as it was before the clock was set
    with redis.Redis.from_url(url) as connection:
        connection.flushdb()
        assert Worker.count(connection) == 0
        assert not worker.should_run_maintenance_tasks
        time.sleep(0.3)
        assert worker.should_run_maintenance_tasks
        worker.run_maintenance_tasks()
        assert Worker.count(connection) == 1
        connection.flushdb()
