"""Real parts that several folders of tests share."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
import redis

from errata.command.embedded_redis import start_embedded_redis
from errata.command.processes import free_port, last_lines, stop

PATIENCE_S = 20.0


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """URL of a Redis server of the tests' own, without the number of a database."""
    folder, port = tmp_path_factory.mktemp("redis"), free_port()
    process, url = start_embedded_redis(folder, port, folder / "redis.log")
    deadline = time.monotonic() + PATIENCE_S
    with redis.Redis.from_url(url) as connection:
        while not _answers(connection):
            assert process.poll() is None and time.monotonic() < deadline, last_lines(folder / "redis.log")
            time.sleep(0.02)
    yield url
    stop(process, PATIENCE_S)


def _answers(connection: redis.Redis) -> bool:
    try:
        return bool(connection.ping())
    except redis.ConnectionError:
        return False
