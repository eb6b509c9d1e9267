"""The health check of the worker's image: exit status 0 where this container's worker takes edits.

A worker becomes known to Redis once its model is loaded, and is forgotten there when its heartbeats stop.
"""

import socket
import sys

from errata_registry import keys
from errata_registry.settings import Settings
from redis import Redis
from rq import Queue, SimpleWorker

with Redis.from_url(str(Settings().redis_url)) as connection:
    workers = SimpleWorker.all(queue=Queue(keys.EDIT_QUEUE, connection=connection))
sys.exit(0 if any(worker.hostname == socket.gethostname() for worker in workers) else 1)
