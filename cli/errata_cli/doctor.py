"""`errata doctor`: what a start would find here, and with which settings."""

from __future__ import annotations

import json
import os
import platform
import shutil
import sys
import textwrap
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

from typer import Exit, Option

from errata_cli.options import Home, Host, Model, Port, settings_with
from errata_cli.preflight import Finding, State, findings, in_gib, without_password

MARGIN = 26  # columns before what is said of a thing


def doctor(
    model: Model = None,
    home: Home = None,
    host: Host = None,
    port: Port = None,
    as_json: Annotated[bool, Option("--json", help="write JSON for machines")] = False,
) -> None:
    """Show what a start would find here, and its settings.

    Exits with 1 where something would stop `errata up`.
    """
    options = {"model": model, "home": home, "host": host, "port": port}
    given = {name: value for name, value in options.items() if value is not None}
    settings = settings_with(**given)
    found = [*_machine(), *findings(settings)]
    in_force = {
        name: {"value": _shown(name, value), "from": _origin(name, given)}
        for name, value in settings.model_dump(mode="json").items()
    }
    starts = all(finding.state is not State.STOP for finding in found)
    if as_json:
        told = {"starts": starts, "findings": [asdict(finding) for finding in found], "settings": in_force}
        print(json.dumps(told, indent=1))
    else:
        _print(found, in_force)
    raise Exit(0 if starts else 1)


def _machine() -> Iterator[Finding]:
    """Yield what there is beside the settings: Errata, Python, PyTorch, devices and memory."""
    from importlib.metadata import version

    yield Finding("errata", State.OK, f"{version('errata')} in {Path(__file__).parents[1]}")
    yield Finding("python", State.OK, f"{platform.python_version()} in {sys.prefix}")
    cores, memory = os.cpu_count(), os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    yield Finding("machine", State.OK, f"{platform.platform(terse=True)}, {cores} cores, {in_gib(memory)}")
    try:
        import torch
    except (ImportError, OSError) as error:
        yield Finding("torch", State.STOP, f"PyTorch cannot be imported ({error}): install Errata again")
        return
    build = f"CUDA {torch.version.cuda}" if torch.version.cuda else "the CPU alone"
    yield Finding("torch", State.OK, f"{torch.__version__}, built for {build}, threads: {torch.get_num_threads()}")
    for index in range(torch.cuda.device_count()):
        device = torch.cuda.get_device_properties(index)
        yield Finding(f"cuda:{index}", State.OK, f"{device.name}, {in_gib(device.total_memory)}")
    if torch.version.cuda is None and shutil.which("nvidia-smi"):
        said = "this machine has NVIDIA's driver, and this PyTorch is built for the CPU alone"
        yield Finding("torch", State.WARNING, said)


def _shown(name: str, value: Any) -> Any:
    return without_password(value) if name == "redis_url" and value else value


def _origin(name: str, given: Mapping[str, Any]) -> str:
    """Return where a setting comes from. An empty variable counts as one that is not set."""
    if name in given:
        return f"--{name}"
    variable = f"ERRATA_{name.upper()}"
    return variable if os.environ.get(variable) else "default"


def _print(found: list[Finding], in_force: Mapping[str, Mapping[str, Any]]) -> None:
    from errata_client.tables import escaped

    width = max(shutil.get_terminal_size().columns, 2 * MARGIN)
    for finding in found:
        head = f"{finding.state:<9}{finding.about:<{MARGIN - 9}}"
        print(
            textwrap.fill(
                escaped(finding.said),
                width,
                initial_indent=head,
                subsequent_indent=" " * MARGIN,
                break_long_words=False,
                break_on_hyphens=False,
            )
        )
    own = {name: setting for name, setting in in_force.items() if setting["from"] != "default"}
    print(f"\nsettings: {len(in_force) - len(own)} at their defaults, and {len(own) or 'none'} that were given")
    for name, setting in own.items():
        print(f"  {name:<{MARGIN - 4}}  {escaped(str(setting['value']))} ({setting['from']})")
