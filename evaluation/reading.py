"""Read image files of any depth and number of channels as pictures, to be scored."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from torch import Tensor

from options import flag
from options.flag import bands, value_range
from util.images import load_picture
from util.value_ranges import Range


class PictureReader(NamedTuple):
    """Reads the files of a domain."""

    value_range: Range | None = None
    """The stored values that become black and white; None: all of the stored type."""
    bands: tuple[int, ...] = ()
    flag: str = "--range_B"
    """The flag of the range."""

    def __call__(self, path: Path) -> Tensor:
        """Read a file: [3, H, W] in [-1, 1].

        Raises:
            UserError: see `load_picture`.
        """
        return load_picture(path, self.value_range, self.bands, flag=self.flag)

    def conditions(self) -> dict[str, Any]:
        """Return the settings that features depend on; nothing by default."""
        found = {"value_range": self.value_range, "rgb_bands": self.bands}
        return {name: list(value) for name, value in found.items() if value}


AS_STORED = PictureReader()


@dataclass(frozen=True)
class ValueFlags:
    """Files of more than 8 bits, and with other than 1 or 3 channels."""

    range_A: tuple[float, float] | None = flag(
        None, "values in the files of inputs that become black and white, as in -1024,3071. Signed integers and floats "
        "need it; files of 8 bits are pictures, and do not change", parse=value_range, metavar="LOW,HIGH",
        unset="all of the stored type")
    range_B: tuple[float, float] | None = flag(
        None, "the same for outputs and for images of the target domain", parse=value_range, metavar="LOW,HIGH",
        unset="all of the stored type")
    rgb_bands: tuple[int, ...] = flag((), "the three channels that are scored as red, green and blue, or the one as "
                                      "grey, numbered from 1; none: the first three, or the first of two", parse=bands)

    @property
    def read_input(self) -> PictureReader:
        """The reader of inputs."""
        return PictureReader(self.range_A, self.rgb_bands, "--range_A")

    @property
    def read_output(self) -> PictureReader:
        """The reader of outputs and of images of the target domain."""
        return PictureReader(self.range_B, self.rgb_bands, "--range_B")
