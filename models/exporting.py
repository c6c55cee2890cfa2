"""Generators as files for other programs: ONNX, and PyTorch's own ``.pt2``.

Batch, height and width stay free. What test.py does around the generator is in the graph: images whose sides are no
multiples of what the generator needs are padded, and the result is cut to their size.
"""

import copy
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from types import MethodType

import torch
from torch import Tensor, nn
from torch._dynamo.exc import UserError as ConstraintViolation

from util.errors import UserError

from .networks.blocks import InstanceNorm

Run = Callable[[Tensor], Tensor]
NAMES = ("images", "translations")
"""Names of the graph's input and output."""


class Translation(nn.Module):
    """A generator with the padding and cutting of test.py: images of any size -> translations of the same size.

    Args:
        generator: as `translate_any_size` takes it; it is copied and evaluated: dropout and noise are off, and batch
            normalisation uses its running statistics.
        more: further inputs of the generator, kept in the graph: [1, ...], the same for all images.
        uint8: images are [B, H, W, C] of 0 to 255, as most programs have them, instead of [B, C, H, W] in [-1, 1].
    """

    def __init__(self, generator: nn.Module, *more: Tensor, uint8: bool = False) -> None:
        super().__init__()
        self.generator = copy.deepcopy(generator).cpu().eval().requires_grad_(False)
        for module in self.generator.modules():
            if isinstance(module, InstanceNorm):  # its ways around memory layouts would bind the graph to one
                module.forward = MethodType(nn.InstanceNorm2d.forward, module)  # type: ignore[method-assign]
        self.multiple, self.least = int(generator.multiple), int(generator.least_size)  # type: ignore[arg-type]
        self.more = [tensor.cpu() for tensor in more]
        self.uint8 = uint8

    @property
    def least_side(self) -> int:
        """Return the least height and width in pixels."""
        return self.least - self.multiple + 1

    def forward(self, images: Tensor) -> Tensor:
        """Translate."""
        x = from_uint8(images) if self.uint8 else images
        batch, _, height, width = x.shape
        rows, columns = (padded_places(side, self.multiple) for side in (height, width))
        mirrors = (rows[0].min() >= 0) & (columns[0].min() >= 0)
        x = x.index_select(2, torch.where(mirrors, *rows)).index_select(3, torch.where(mirrors, *columns))
        x = self.generator(x, *(tensor.expand(batch, *tensor.shape[1:]) for tensor in self.more))
        # by index, because slices would bind the graph to sizes that need padding
        x = x.index_select(2, torch.arange(height)).index_select(3, torch.arange(width))
        return levels(x).round().to(torch.uint8) if self.uint8 else x


def padded_places(side: int, multiple: int) -> tuple[Tensor, Tensor]:
    """Return the source row of each row of a padded image: mirrored, negative where that leads out, and repeated.

    As `pad_to_fit`, but its amounts may be free in a graph.
    """
    places = torch.arange((side + multiple - 1) // multiple * multiple)
    last = torch.zeros_like(places) + (side - 1)
    return last - (last - places).abs(), torch.minimum(places, last)


def trace(translation: Translation, channels: int) -> torch.export.ExportedProgram:
    """Trace the graph of a translation of images with ``channels`` channels, with free batch, height and width.

    Raises:
        UserError: this version of torch cannot make one.
    """
    height, width = (sides * translation.least + 1 for sides in (2, 3))  # padded, and more than one map's pixel
    images = example_images(translation, channels, (2, height, width))
    axes = (0, 1, 2) if translation.uint8 else (0, 2, 3)
    least = (1, translation.least_side, translation.least_side)
    free = {axis: torch.export.Dim(name, min=minimum)
            for axis, name, minimum in zip(axes, ("batch", "height", "width"), least, strict=True)}
    try:
        with oblivious_to_single_pixels():
            return torch.export.export(translation, (images,), dynamic_shapes={"images": free})
    except ConstraintViolation as error:
        reason = str(error).splitlines()[0]
        raise UserError(f"torch {torch.__version__} cannot export this generator for all sizes ({reason}); use a newer "
                        "torch") from error


def oblivious_to_single_pixels() -> AbstractContextManager[None]:
    """Let graphs hold for maps of a single pixel, too, such as a U-Net's innermost one; torch 2.6 cannot."""
    from torch.fx.experimental import _config  # noqa: PLC0415 - private, as long as there is no other way

    patched: AbstractContextManager[None] = _config.patch(  # type: ignore[attr-defined]
        {"backed_size_oblivious": True} if hasattr(_config, "backed_size_oblivious") else {})
    return patched


def save_onnx(translation: Translation, channels: int, path: Path) -> Run:
    """Write an ONNX file and return a function that runs it.

    Raises:
        UserError: a package is missing.
    """
    try:
        import onnxruntime  # noqa: PLC0415 - optional
        import onnxscript  # noqa: F401, PLC0415 - optional; torch.onnx uses it
    except ImportError as error:
        raise UserError(f"--format onnx needs the package {error.name}: pip install onnx onnxscript onnxruntime, or "
                        "export with --format pt2") from None
    program = torch.onnx.export(trace(translation, channels), dynamo=True, input_names=NAMES[:1],
                                output_names=NAMES[1:], verbose=False)
    if program is None:
        raise RuntimeError("torch.onnx.export gave nothing")
    program.save(str(path), external_data=False)
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])

    def run(images: Tensor) -> Tensor:
        return torch.from_numpy(session.run(None, {NAMES[0]: images.numpy()})[0])

    return run


def save_pt2(translation: Translation, channels: int, path: Path) -> Run:
    """Write a file of ``torch.export`` and return a function that runs the model as read back from it."""
    with path.open("wb") as file:
        torch.export.save(trace(translation, channels), file)
    with path.open("rb") as file:
        return torch.export.load(file).module()


FORMATS: Mapping[str, Callable[[Translation, int, Path], Run]] = {"onnx": save_onnx, "pt2": save_pt2}


def largest_difference(run: Run, translate: Run, translation: Translation, channels: int) -> float:
    """Return the greatest difference between exported and direct translations of two sizes, one with padding.

    Args:
        run: what was exported.
        translate: images [B, C, H, W] in [-1, 1], as test.py does.
        translation: says which images ``run`` takes.
        channels: C.

    Returns:
        The largest difference of values in [-1, 1]; with ``uint8`` of levels, minus the half level of rounding.
    """
    side, differences = translation.least, []
    for size in ((1, 2 * side, 2 * side), (2, side + side // 2 + 1, 2 * side + 3)):
        images = example_images(translation, channels, size)
        with torch.inference_mode():
            expected = translate(from_uint8(images) if translation.uint8 else images)
        difference = run(images) - (levels(expected) if translation.uint8 else expected)
        differences.append(difference.abs().max() - (0.5 if translation.uint8 else 0))
    return torch.stack(differences).max().clamp(min=0).item()


def example_images(translation: Translation, channels: int, size: tuple[int, int, int]) -> Tensor:
    """Draw random images of ``size``, which is batch, height and width."""
    batch, height, width = size
    generator = torch.Generator().manual_seed(height)
    if translation.uint8:
        return torch.randint(256, (batch, height, width, channels), dtype=torch.uint8, generator=generator)
    return torch.rand(batch, channels, height, width, generator=generator) * 2 - 1


def from_uint8(images: Tensor) -> Tensor:
    """Convert [B, H, W, C] of 0 to 255 to [B, C, H, W] in [-1, 1]."""
    return images.permute(0, 3, 1, 2).float() / 255 * 2 - 1


def levels(images: Tensor) -> Tensor:
    """Convert [B, C, H, W] in [-1, 1] to [B, H, W, C] of 0 to 255, not rounded yet."""
    return (images.clamp(-1, 1).permute(0, 2, 3, 1) + 1) * 127.5
