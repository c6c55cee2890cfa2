"""Load a trained generator and translate images with it.

    from inference import load
    translator = load("checkpoints/colours")
    translator("drawing.png").save("picture.png")
"""

import itertools
import os
import shutil
import tempfile
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias, TypeVar, overload

import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn

from data import DATASETS, Reading
from models import MODELS
from models.precision import prepare
from models.tiles import Tiling, translate_images
from models.translation import composite
from options import TEST, DataFlags, Options, RunFlags, SpeedFlags, TestFlags, parse, recorded_flags
from util.device import choose_device
from util.errors import UserError
from util.images import normalized
from util.state_dicts import AVERAGE, LATEST, generator_of, has_network, load_networks, network_path

from .hub import find
from .kinds import as_batch, as_given, as_masks

STYLES = 32  # of a model with several styles: those of test.py --n_styles 32

Picture: TypeAlias = "Image.Image | NDArray[Any] | Tensor"
Same = TypeVar("Same", Image.Image, NDArray[Any], Tensor)


class Translator:
    """A trained generator, as `test.py` uses it.

    Its weights are random until `load` or `copy_weights` is called. Several threads may call one translator: it
    translates for one after the other.

    Args:
        options: of ``test.py``.
        device: of the model.

    Attributes:
        model: the model.
        device: its device.
        reading: channels and range of its inputs.
        value_range: values that its outputs stand for, by --range_B; None: all of their type.
        bands: --rgb_bands, of pictures.
        tiling: size and overlap of tiles; None: images are not cut.
        batch_size: images or tiles in a batch: --batch_size, or 1 with batch normalisation that takes its statistics
            from the batch, so that no translation depends on its neighbours.

    Raises:
        UserError: the options do not fit the model.
    """

    def __init__(self, options: Options, device: torch.device) -> None:
        flags = options[TestFlags]
        self.device, self.use_average = device, flags.use_ema
        self.reading, of_outputs = Reading.of(options[DataFlags])
        self.value_range, self.bands = of_outputs.value_range, options[DataFlags].rgb_bands
        self.model = MODELS[options[RunFlags].model](options, training=False)
        for network in self.model.networks.values():
            network.train(not flags.eval)
        mixes = any(isinstance(module, nn.BatchNorm2d) and module.training
                    for network in self.model.networks.values() for module in network.modules())
        self.batch_size = 1 if mixes else options[DataFlags].batch_size
        self.tiling = Tiling.of(options.replacing({"batch_size": self.batch_size}), self.model)
        prepare(self.model, device, options[SpeedFlags])
        self._lock = threading.Lock()

    @property
    def channels(self) -> int:
        """The number of channels of its inputs."""
        return self.reading.channels

    @property
    def networks(self) -> dict[str, nn.Module]:
        """The networks, by the names of their files."""
        suffix = AVERAGE if self.use_average else ""
        return {name + suffix: network for name, network in self.model.networks.items()}

    @property
    def styles(self) -> int:
        """The number of translations that an image has; 1 but for ``munit_sc`` and ``munit``."""
        return len(self.model.translators())

    def load(self, folder: Path, tag: str) -> None:
        """Load the weights of a checkpoint of the experiment in ``folder``.

        Raises:
            UserError: a file is missing, damaged, or of another architecture.
        """
        load_networks(folder, tag, self.networks)

    def copy_weights(self, networks: Mapping[str, nn.Module]) -> None:
        """Copy the weights of networks of a training."""
        for name, network in self.networks.items():
            network.load_state_dict(networks[name].state_dict())

    def read(self, path: Path) -> Tensor:
        """Read a file as the training did: [C, H, W] in [-1, 1].

        Raises:
            UserError: it cannot be read as an image of so many channels.
        """
        return normalized(self.reading.load(path))

    @torch.inference_mode()
    def translate(
        self, images: Tensor, style: int | None = None, masks: Tensor | None = None
    ) -> dict[str, Tensor]:
        """Translate a batch.

        Args:
            images: [B, C, H, W] in [-1, 1] on any device; B at most ``batch_size``.
            style: number of the only style to translate to, from 1; None: all.
            masks: bool [B, 1, H, W], on any device; where one is False, the translation is the image.

        Returns:
            Every translation [B, C', H, W], by its name in the results of ``test.py``: ``fake_B``, or ``fake_B_1`` and
            so on in several styles.
        """
        with self._lock:
            made = translate_images(self.model, images, self.device, self.tiling, style)
        if masks is None:
            return made
        return {name: composite(of, images.to(of.device), masks.to(of.device)) for name, of in made.items()}

    @overload
    def __call__(self, images: str | os.PathLike[str], *, style: int = 1, mask: Any = None) -> Image.Image: ...
    @overload
    def __call__(self, images: Same, *, style: int = 1, mask: Any = None) -> Same: ...
    @overload
    def __call__(self, images: Sequence[Any], *, style: int = 1, mask: Any = None) -> list[Any]: ...

    def __call__(self, images: Any, *, style: int = 1, mask: Any = None) -> Any:
        """Translate an image, or a list of images of any sizes and kinds.

        Args:
            images: a file, an image of Pillow, an array [H, W, C] or [H, W] of the values that a file would store, or a
                tensor [C, H, W] or [B, C, H, W] in [-1, 1]; or a list of those. Neighbours of one size are translated
                as a batch.
            style: number of the style, from 1 to ``styles``.
            mask: where it is black, the translation is the image. A file, an image of Pillow, an array [H, W], or a
                tensor [H, W], [1, H, W] or [B, 1, H, W]; of a list of images a list of masks. Values up to half of the
                greatest are black. None: translate the whole image.

        Returns:
            The same kind as the input, of the same height and width; for a file an image of Pillow. Images of Pillow
            are pictures of 8 bits. Arrays have all channels in the units of --range_B and the type of the input, or
            float32 if that cannot hold them; without a range the full range of the type, or uint8 for signed numbers
            and floats.

        Raises:
            UserError: a file cannot be read as an image.
            TypeError: another kind of image.
            ValueError: another shape, type of values or number of channels, values outside of [-1, 1], no pixels,
                there is no such style, or a mask that does not fit its image.
        """
        if not 1 <= style <= self.styles:
            raise ValueError(f"style {style}: this generator has styles 1 to {self.styles}")
        many = isinstance(images, list | tuple)
        given = list(images) if many else [images]
        batches = [as_batch(image, self.reading) for image in given]
        masks = itertools.chain(*as_masks(mask if many else [mask], batches)) if mask is not None else None
        outputs: list[Tensor] = []
        for _, neighbours in itertools.groupby(itertools.chain(*batches), lambda image: (image.shape, image.device)):
            while some := list(itertools.islice(neighbours, self.batch_size)):
                chosen = torch.stack(list(itertools.islice(masks, len(some)))) if masks else None
                translation, = self.translate(torch.stack(some), style, chosen).values()
                outputs += translation
        parts = iter(outputs)
        results = [
            as_given(torch.stack(list(itertools.islice(parts, len(batch)))), image, self.value_range, self.bands)
            for image, batch in zip(given, batches, strict=True)]
        return results if many else results[0]


def load(
    path: str | os.PathLike[str], *, epoch: str = LATEST, ema: bool = False, model_suffix: str = "",
    device: str = "auto", batch_size: int = 1, tile: int = 0, tile_overlap: int | None = None,
) -> Translator:
    """Load a trained generator.

    Args:
        path: the folder of an experiment, such as ``checkpoints/colours``; a hub folder; the ``.pth`` file of a
            generator of this project, CycleGAN, CUT, pix2pix or F-LSeSim; the name of a bundled generator; or
            ``owner/name``, a model on the Hugging Face Hub.
        epoch: the checkpoint of a folder: an epoch, ``iter_N``, ``best`` or ``latest``.
        ema: load the moving average of the weights in a folder.
        model_suffix: ``_A`` or ``_B``: the generator of a CycleGAN that translates from A or from B; default: ``_A``.
        device: see ``--gpu_ids``: ``auto``, ``-1`` for the CPU, or the number of a GPU.
        batch_size: images or tiles to translate at once.
        tile: side of tiles in pixels, for images that do not fit into memory; 0: no tiles.
        tile_overlap: overlap of tiles; None: half a tile, at most 128 pixels.

    Raises:
        UserError: there is no such checkpoint or model, it is damaged, it holds no generator of this project, or the
            Hub cannot be reached.
        ValueError: ``epoch``, ``ema`` or ``model_suffix`` beside a file, or ``model_suffix`` for a generator with
            styles.
    """
    path = find(path)
    flags: dict[str, Any] = {"gpu_ids": device, "batch_size": batch_size, "tile": tile,
                             "tile_overlap": min(128, tile // 2) if tile_overlap is None else tile_overlap}
    if path.is_dir():
        half = model_suffix or _half(path, epoch, ema)
        return _load(path, epoch, flags | {"use_ema": ema, "model_suffix": half})
    if epoch != LATEST or ema or model_suffix:
        raise ValueError(f"epoch, ema and model_suffix choose a generator of a folder, but {path} is a file")
    if name := generator_of(path):
        tag, half, average = name
        return _load(path.parent, tag, flags | {"use_ema": bool(average), "model_suffix": half})
    with tempfile.TemporaryDirectory() as temporary:  # gives the file the name that test.py expects
        copy = network_path(Path(temporary).resolve(), LATEST, "G")
        shutil.copyfile(path, copy)
        try:
            return _load(copy.parent, LATEST, flags)
        except UserError as error:
            raise UserError(str(error).replace(str(copy), str(path))) from error


def _load(folder: Path, epoch: str, flags: Mapping[str, Any]) -> Translator:
    """Load the generator that the flags of ``test.py`` name."""
    folder = folder.resolve()  # "." has no name
    recorded, half = recorded_flags(folder) or {}, flags.get("model_suffix", "")
    own: dict[str, Any] = {"model": "test"}
    if "style_dim" in recorded:
        if half:
            raise ValueError(f"model_suffix {half}: {folder} has one generator, with several styles; leave it out")
        own = {"model": recorded.get("model", "munit_sc"), "n_styles": STYLES}
    elif recorded.get("model") == "sb":
        own = {"model": "sb"}
    elif half == "_B" and {"input_nc", "output_nc"} <= recorded.keys():  # it translates the other way
        own |= {"input_nc": recorded["output_nc"], "output_nc": recorded["input_nc"],
                "direction": "AtoB" if recorded.get("direction") == "BtoA" else "BtoA"}
    place = {"checkpoints_dir": folder.parent, "name": folder.name, "epoch": epoch}
    images = {"dataroot": folder, "dataset_mode": "single", "mask_A": "none"}  # read by nobody
    chosen = {**place, **images, **flags, **own}
    options = parse(TEST, MODELS, DATASETS, [f"--{name}={value}" for name, value in chosen.items() if value != ""])
    translator = Translator(options, choose_device(str(flags["gpu_ids"])))
    translator.load(folder, epoch)
    return translator


def _half(folder: Path, epoch: str, ema: bool) -> str:
    """Return the half of a CycleGAN that a folder has, ``_A`` rather than ``_B``; nothing for a whole generator."""
    average = AVERAGE if ema else ""
    return next((half for half in ("", "_A", "_B") if has_network(folder, epoch, f"G{half}{average}")), "")
