"""The second moments that MEMIT's authors publish: one `.npz` for each layer, named by its module.

`transformer.h.3.mlp.fc_out_float32_mom2_100000.npz` holds, among others, `mom2.mom2`, the sum of k k^T over
`mom2.count` key vectors, not divided. (The form is that of `util/runningstats.py` in kmeng01/memit.)
"""

import re
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
import torch
from numpy.lib import format as npy
from torch import Tensor

from errata.errors import StatisticsError
from errata.model import EditableModel

BLOCK_BYTES = 1 << 24
ASYMMETRY = 1e-4  # of the largest diagonal entry; sums in float32 over 44 million keys differ by 1e-6

_SUM, _COUNT = "mom2.mom2.npy", "mom2.count.npy"


@dataclass(frozen=True, slots=True)
class PublishedMoment:
    """The file of one layer. Its form was checked; its numbers are not read yet."""

    layer: int
    path: Path
    count: int  # key vectors that were summed
    checksum: int  # CRC-32 of the sum, as the file tells it
    d_in: int

    @property
    def name(self) -> str:
        """The file's name and its content's checksum, which tell this second moment from others."""
        return f"{self.path.name}, {self.count} key vectors, CRC-32 {self.checksum:08x}"

    def read(self) -> Tensor:
        """Return C, (d_in, d_in), float32; read a block of rows at a time.

        Raises:
            StatisticsError: the file is damaged, or its numbers cannot be those of a second moment.
        """
        moment = torch.empty(self.d_in, self.d_in)
        with _opened(self.path) as archive, archive.open(_SUM) as member:
            _, _, dtype = _header(self.path, member)
            rows = max(1, BLOCK_BYTES // (self.d_in * dtype.itemsize))
            for start in range(0, self.d_in, rows):
                block = moment[start : start + rows].numpy()
                read = member.read(block.size * dtype.itemsize)
                if len(read) != block.size * dtype.itemsize:
                    raise StatisticsError(f"{self.path}: mom2.mom2 is shorter than its header says")
                np.divide(np.frombuffer(read, dtype).reshape(block.shape), self.count, out=block, casting="same_kind")
        self._require_second_moment(moment)
        return moment

    def _require_second_moment(self, moment: Tensor) -> None:
        diagonal = moment.diagonal()
        if bool((diagonal < 0).any()) or not bool(diagonal.any()):
            raise StatisticsError(
                f"{self.path}: mom2.mom2 is no sum of k k^T: its diagonal has negative entries or none"
            )
        rows = max(1, BLOCK_BYTES // (self.d_in * moment.itemsize))
        for start in range(0, self.d_in, rows):
            block = slice(start, start + rows)
            if not bool(moment[block].isfinite().all()):
                raise StatisticsError(f"{self.path}: mom2.mom2 has entries that are not finite numbers")
            if float((moment[block] - moment[:, block].T).abs().max()) > ASYMMETRY * float(diagonal.max()):
                raise StatisticsError(f"{self.path}: mom2.mom2 is not symmetric")


def published_moments(model: EditableModel, layers: Sequence[int], folder: Path) -> list[PublishedMoment]:
    """Find the files of `layers` in `folder`, whatever number of texts their names give.

    Raises:
        StatisticsError: there is no such folder, two files are of one layer, or one is not of the published form
            or not of the model's dimensions.
    """
    if not folder.is_dir():
        raise StatisticsError(f"{folder}, named for published second moments, is not a folder")
    found = []
    for layer in layers:
        module = re.escape(model.architecture.down_projection_of(layer))
        name = re.compile(rf"{module}_float\d+_mom2(_t\d+)?(_\d+)?\.npz")
        paths = sorted(path for path in folder.iterdir() if name.fullmatch(path.name))
        if len(paths) > 1:
            names = ", ".join(path.name for path in paths)
            raise StatisticsError(f"{folder} has several second moments of layer {layer}: {names}; leave one of them")
        if paths:
            found.append(_checked(paths[0], layer, d_in=model.weight(layer).shape[1]))
    return found


def _checked(path: Path, layer: int, d_in: int) -> PublishedMoment:
    with _opened(path) as archive:
        with archive.open(_SUM) as member:
            shape, _, dtype = _header(path, member)
        if shape != (d_in, d_in):
            raise StatisticsError(f"{path}: mom2.mom2 is {shape}; the model's layer {layer} needs {(d_in, d_in)}")
        if dtype.kind != "f" or dtype.itemsize < 4:
            raise StatisticsError(f"{path}: mom2.mom2 is of type {dtype}, not float32 or float64")
        with archive.open(_COUNT) as member:
            count = npy.read_array(member, allow_pickle=False)
        if count.size != 1 or count.dtype.kind not in "iuf" or not np.isfinite(count).all() or count.item() < 1:
            raise StatisticsError(f"{path}: mom2.count is not a positive number: {count}")
        return PublishedMoment(layer, path, int(count.item()), archive.getinfo(_SUM).CRC, d_in)


def _header(path: Path, member: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """Return shape, order and dtype of the array that follows. (A symmetric matrix may have either order.)"""
    version = npy.read_magic(member)
    if version == (1, 0):
        return npy.read_array_header_1_0(member)
    if version == (2, 0):
        return npy.read_array_header_2_0(member)
    raise StatisticsError(f"{path}: mom2.mom2 is in version {version} of numpy's format, which is not known")


@contextmanager
def _opened(path: Path) -> Iterator[zipfile.ZipFile]:
    """Open the archive; raise whatever goes wrong with reading it as a `StatisticsError`."""
    try:
        with zipfile.ZipFile(path) as archive:
            yield archive
    except KeyError as error:
        raise StatisticsError(f"{path} is not a published second moment: {error.args[0]}") from error
    except (OSError, ValueError, EOFError, NotImplementedError, zipfile.BadZipFile, zlib.error) as error:
        raise StatisticsError(f"{path} cannot be read: {error}") from error
