"""Read arrays of numpy: .npy files, and .npz archives of one array."""

from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from util.image_files import BadImage, reading, refuse_bomb, source_of

MOST_CHANNELS = 4096  # more is a mistaken order of the axes


def read_array(path: Path) -> NDArray[Any]:
    """Read an image [H, W] or [H, W, C] of any real type.

    Raises:
        BadImage: the file is unreadable, too large, or holds no such array or several.
    """
    with reading(path):
        source = source_of(path)
        if isinstance(source, BytesIO) and bytes(source.getbuffer()[:6]) == np.lib.format.MAGIC_PREFIX:
            shape, fortran_order, dtype = _array_header(source)
            _check_array(path, shape, dtype)
            loaded = np.ndarray(shape, dtype, source.getbuffer(), source.tell(), order="F" if fortran_order else "C")
        else:
            loaded = np.load(source, mmap_mode="r", allow_pickle=False)
        if isinstance(loaded, np.lib.npyio.NpzFile):
            with loaded:
                values = _only_array(path, loaded)
        else:
            values = np.asarray(loaded)
    _check_array(path, values.shape, values.dtype)
    return np.array(values)


def _only_array(path: Path, archive: Any) -> NDArray[Any]:
    """Read the one array of an archive, after its header."""
    if len(archive.files) != 1:
        raise BadImage(f"{path} holds {len(archive.files)} arrays ({', '.join(archive.files[:3])}), but an image is one"
                       "; save it alone")
    name, = archive.files
    with archive.zip.open(f"{name}.npy") as file:
        shape, _, dtype = _array_header(file)
    _check_array(path, shape, dtype)
    return np.asarray(archive[name])


def _array_header(file: Any) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """Read the shape of an array, whether its first axis varies fastest, and its type."""
    version = np.lib.format.read_magic(file)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    return read(file)


def _check_array(path: Path, shape: Sequence[int], dtype: np.dtype[Any]) -> None:
    if dtype.kind not in "biuf" or dtype.itemsize > 8:
        raise BadImage(f"{path} is a kind of file that is not read: an array of {dtype}; store integers or floats")
    if len(shape) not in (2, 3) or 0 in shape or tuple(shape[2:]) > (MOST_CHANNELS,):
        raise BadImage(f"{path} is an array of shape {list(shape)}, but an image is [H, W] or [H, W, C]; change it")
    refuse_bomb(path, shape[1], shape[0] * (shape[2] if len(shape) == 3 else 1))
