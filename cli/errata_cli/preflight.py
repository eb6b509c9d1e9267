"""What can be seen before a process starts: each check looks at one thing, and says in a sentence what it found.

`errata up` and `errata demo` refuse to start on what would stop them; `errata doctor` shows everything. Nothing is
written here, and torch is imported only to look at a device that was named.
"""

from __future__ import annotations

import difflib
import errno
import os
import shutil
import socket
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from errata.errors import ErrataError, InvalidHyperparameters, ModelError
from errata_cli.errors import CommandError

if TYPE_CHECKING:
    from errata_registry.home import BoundBase
    from errata_registry.settings import Settings

PREFIX = "ERRATA_"
# Of variables beside the settings': what errata-client reads, and what tests do.
OTHER_VARIABLES = ("URL", "API_KEY", "PROFILE", "CLIENT_CONFIG", "TEST_VLLM_PYTHON")
REDIS_PATIENCE_S = 3.0
_OTHER_HOME = "name another home with --home or ERRATA_HOME, or change its rights"
LITTLE_ROOM = 2**30  # bytes


class State(StrEnum):
    """What a finding means for a start."""

    OK = "ok"
    WARNING = "warning"
    STOP = "stop"


@dataclass(frozen=True, slots=True)
class Finding:
    """What a check found, in a sentence; where that stops a start, the sentence says what to do."""

    about: str
    state: State
    said: str


class _Stop(Exception):
    """What a check found stops a start."""


def require_startable(settings: Settings) -> None:
    """Say on standard error what is to be warned about. Raises `CommandError` with a sentence for each fault."""
    found = list(findings(settings))
    for finding in found:
        if finding.state is State.WARNING:
            print(f"errata: {finding.said}", file=sys.stderr)
    if faults := [finding.said for finding in found if finding.state is State.STOP]:
        raise CommandError("\nerrata: ".join(faults))


def findings(settings: Settings) -> Iterator[Finding]:
    """Yield what each check finds."""
    yield from unknown_variables(os.environ)
    for about, check in CHECKS.items():
        try:
            yield Finding(about, State.OK, check(settings))
        except (_Stop, ErrataError) as fault:
            yield Finding(about, State.STOP, str(fault).replace("\n", " "))
    with suppress(OSError):  # which the check of the home says
        if (room := shutil.disk_usage(_nearest_folder(settings.home)).free) < LITTLE_ROOM:
            yield Finding("home", State.WARNING, f"the disk of {settings.home} has {in_gib(room)} left")


def unknown_variables(environment: Mapping[str, str]) -> Iterator[Finding]:
    """Yield a warning for each `ERRATA_*` variable that nothing reads."""
    from errata_registry.settings import Settings

    known = [*map(str.upper, Settings.model_fields), *OTHER_VARIABLES]
    for name in sorted(variable.removeprefix(PREFIX) for variable in environment if variable.startswith(PREFIX)):
        if name not in known:
            nearest = difflib.get_close_matches(name, known, n=1)
            advice = f"did you mean {PREFIX}{nearest[0]}?" if nearest else "docs/settings.md lists those that there are"
            yield Finding("settings", State.WARNING, f"nothing reads the variable {PREFIX}{name}: {advice}")


def _model(settings: Settings) -> str:
    from errata.checkpoint.folder import require_editable_model

    require_editable_model(settings.model)
    return f"{settings.model} can be edited, as far as its config and its files tell"


def _hyperparameters(settings: Settings) -> str:
    from errata import hyperparameters
    from errata.checkpoint.folder import read_config

    try:
        config = read_config(settings.model)
    except ModelError:  # which the check of the model says
        return "not known as long as the model is not"
    try:
        known = hyperparameters.known_for(settings.model, settings.hyperparameters, config)
    except InvalidHyperparameters as error:
        raise _Stop(f"hyperparameters (ERRATA_HYPERPARAMETERS): {error.detail}") from None
    return f"for {', '.join(known)}" if known else "none are known for this model: edits must bring them"


def _corpus(settings: Settings) -> str:
    for variable, path in (
        ("ERRATA_CORPUS", settings.corpus),
        ("ERRATA_PUBLISHED_MOMENTS", settings.published_moments),
    ):
        if path is not None and not path.exists():
            raise _Stop(f"{path}, which {variable} names, does not exist")
    return str(settings.corpus or "the one that is taken by default")


def _home(settings: Settings) -> str:
    home = settings.home
    try:
        nearest = _nearest_folder(home)
    except NotADirectoryError as error:
        raise _Stop(
            f"{error.filename} is a file, and a home is a folder: name another with --home or ERRATA_HOME"
        ) from None
    except OSError as error:
        raise _Stop(f"{error.filename} cannot be looked at ({error.strerror}): {_OTHER_HOME}") from None
    if not os.access(nearest, os.R_OK | os.W_OK | os.X_OK):
        what = "written to" if nearest == home else f"made: {nearest} cannot be written to"
        raise _Stop(f"{home} cannot be {what} by this user ({_user()}): {_OTHER_HOME}")

    from errata_registry.home import BoundBase, is_bound

    if not is_bound(home):
        return f"{home} is made by the first start" if nearest != home else f"{home} belongs to no model yet"
    bound = BoundBase.of(home)
    if _is_another(bound, settings.model):
        raise _Stop(
            f"{home} holds edits of {bound.name}, and {settings.model} is another model: give it a home of its own "
            "with --home or ERRATA_HOME"
        )
    versions = sum(1 for folder in (home / "versions").glob("[0-9]*"))
    counted = f"{versions} version{'' if versions == 1 else 's'}"
    return f"{home} holds {counted} of {bound.name}, in form {bound.format}"


def _bucket(settings: Settings) -> str:
    if settings.bucket is None:
        return "none: the home folder is shared"

    from errata_registry.bucket.objects import Bucket

    try:
        Bucket(settings.bucket).require_conditional_puts()
    except (ValueError, OSError) as error:
        raise _Stop(getattr(error, "strerror", None) or str(error)) from None
    return f"{settings.bucket} answers, and keeps to conditional puts"


def _is_another(bound: BoundBase, model: str) -> bool:
    """Return True where a home's model is another one for sure: of another depth or width.

    Others are told apart by their weights, once they are loaded; the same ones may have got another name.
    """
    from errata.checkpoint.folder import read_config
    from errata.hyperparameters.defaults import Dimensions

    if bound.name == model or not bound.matrices:
        return False
    try:
        dimensions = Dimensions.of_config(read_config(model))
    except ErrataError:  # which the check of the model says
        return False
    return (dimensions.layers, dimensions.d_model) != (len(bound.matrices), bound.matrices[0][0])


def _nearest_folder(home: Path) -> Path:
    """Return the folder, or the one that it would be made in. Raises `OSError` where neither can be."""
    for path in (home, *home.absolute().parents):
        try:
            path.stat()
        except FileNotFoundError:
            continue
        except NotADirectoryError:
            continue  # one of its parents is the file
        if not path.is_dir():
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(path))
        return path
    raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(home))


def _device(settings: Settings) -> str:
    name = settings.device
    if name in ("auto", "cpu"):
        return name
    import torch

    try:
        if {",", "="}.isdisjoint(name):
            devices = [torch.device(name)]
        else:
            from errata.model.placement import shares_of

            devices = [device for device, _ in shares_of(name)]
    except RuntimeError:
        raise _Stop(f"{name!r} is no device: say auto, cpu, cuda, cuda:1 or several (ERRATA_DEVICE)") from None
    except ErrataError as error:
        raise _Stop(f"{error} (ERRATA_DEVICE)") from None
    for device in devices:
        if device.type == "cuda":
            _require_cuda(device.index or 0, name)
    return f"{name} is there"


def _memory(settings: Settings) -> str:
    matrices, cache, graphs = (
        in_gib(number)
        for number in (settings.weight_sets_bytes, settings.key_values_bytes, settings.decode_graph_bytes)
    )
    taken = f"beside the model, serving takes up to {matrices} for edited matrices and {cache} for keys and values"
    return taken if settings.device == "cpu" else f"{taken}, and on a GPU {graphs} for decode graphs"


def _require_cuda(index: int, name: str) -> None:
    import torch

    if torch.version.cuda is None and torch.version.hip is None:
        raise _Stop(
            f"ERRATA_DEVICE is {name}, and this PyTorch ({torch.__version__}) is built for the CPU alone: say cpu or "
            "auto, or install a build for your GPU (https://pytorch.org/get-started/locally)"
        )
    if not torch.cuda.is_available():
        raise _Stop(
            f"ERRATA_DEVICE is {name}, and PyTorch ({torch.__version__}) finds no GPU: look at `nvidia-smi`, or say "
            "cpu or auto"
        )
    if index >= (number := torch.cuda.device_count()):
        raise _Stop(f"ERRATA_DEVICE is {name}, and the last one here is cuda:{number - 1}")


def _keys(settings: Settings) -> str:
    from errata_registry.api_keys import KeysFileError, OpenToOthers, read_keys, refuse_open_address

    try:
        refuse_open_address(settings)
        if settings.keys_file is None:
            return "none are asked for"
        return f"{len(read_keys(settings.keys_file))} in {settings.keys_file}"
    except (KeysFileError, OpenToOthers) as error:
        raise _Stop(str(error)) from error


def _address(settings: Settings) -> str:
    host, port = settings.host, settings.port
    if port == 0:
        raise _Stop("port 0, which would be any, is not possible here; name one with --port")
    try:
        addresses = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except OSError as error:
        raise _Stop(f"{host} is no address of this machine ({error.strerror}): name another with --host") from None
    failures = [_failure_to_bind(family, address) for family, _, _, _, address in addresses]
    if errno.EADDRINUSE in failures:
        raise _Stop(f"{host}:{port} is taken, perhaps by another `errata up`; choose another with --port")
    if errno.EACCES in failures:
        raise _Stop(f"this user ({_user()}) may not listen on {host}:{port}; choose a port from 1024 on with --port")
    if all(failures):
        raise _Stop(f"{host} is no address of this machine: name another with --host")
    return f"{host}:{port} is free"


def _failure_to_bind(family: int, address: tuple[Any, ...]) -> int | None:
    """Return why an address, of IPv4 or IPv6, cannot be listened on; None if it can."""
    try:
        with socket.socket(family) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            probe.bind(address)
    except OSError as error:
        return error.errno
    return None


def _redis(settings: Settings) -> str:
    if settings.redis_url is None:
        return "`errata up` starts its own"
    import redis
    from redis.backoff import NoBackoff
    from redis.retry import Retry

    shown = without_password(settings.redis_url)
    try:
        with redis.Redis.from_url(
            settings.redis_url,
            socket_connect_timeout=REDIS_PATIENCE_S,
            socket_timeout=REDIS_PATIENCE_S,
            retry=Retry(NoBackoff(), 0),
        ) as connection:
            connection.ping()
    except redis.BusyLoadingError:
        return f"{shown} reads its file, and will answer"
    except ValueError as error:
        raise _Stop(f"ERRATA_REDIS_URL is wrong: {error}") from None
    except redis.RedisError as error:
        raise _Stop(
            f"Redis at {shown} does not answer ({error}): start it, or unset ERRATA_REDIS_URL, and `errata up` starts "
            "its own"
        ) from None
    return f"{shown} answers"


def without_password(url: str) -> str:
    """Return the URL of a Redis as it may be shown, which one that cannot be read may not."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return "a URL that cannot be read"
    return parts._replace(netloc=parts.netloc.rpartition("@")[2], query="").geturl()  # a query may hold one, too


def _user() -> str:
    import getpass

    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return str(os.getuid())


def in_gib(number_of_bytes: float) -> str:
    """Return a size as it is shown."""
    return f"{number_of_bytes / 2**30:.1f} GiB"


# In the order in which they are told; what takes longest comes last.
CHECKS: Mapping[str, Callable[[Settings], str]] = {
    "model": _model,
    "home": _home,
    "bucket": _bucket,
    "hyperparameters": _hyperparameters,
    "corpus": _corpus,
    "keys": _keys,
    "address": _address,
    "redis": _redis,
    "device": _device,
    "memory": _memory,
}
