"""The health check of the worker's image: exit status 0 where this container's worker takes edits.

A worker becomes known to Redis once its model is loaded, and is forgotten there when its heartbeats stop.
"""

import socket
import sys

from redis import Redis
from rq import Queue, SimpleWorker

from errata.registry import keys
from errata.settings import Settings

with Redis.from_url(str(Settings().redis_url)) as connection:
    workers = SimpleWorker.all(queue=Queue(keys.QUEUE, connection=connection))
sys.exit(0 if any(worker.hostname == socket.gethostname() for worker in workers) else 1)
