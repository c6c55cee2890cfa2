"""Parts of networks: normalisation, anti-aliased resampling, and checks of the input's size."""

from collections.abc import Callable
from contextlib import nullcontext
from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from spatial_correlative.winograd import WinogradConv2d
from util.errors import UserError

from . import fused
from .standardize import standardize

NORMS = ("instance", "batch", "none")


def norm_layer(norm: str, channels: int) -> nn.Module:
    """Build the normalisation after a convolution: ``instance`` (no parameters), ``batch`` (affine) or ``none``.

    Raises:
        ValueError: ``norm`` is not one of them.
    """
    if norm == "instance":
        return InstanceNorm(channels)
    if norm == "batch":
        return BatchNorm(channels)
    if norm == "none":
        return nn.Identity()
    raise ValueError(f"norm '{norm}' is not one of {', '.join(NORMS)}")


class InstanceNorm(nn.InstanceNorm2d):
    """Each channel of each image to mean 0 and variance 1: [B, C, H, W] -> the same shape and memory layout.

    The images of a batch become channels of one, for batch normalisation, which is the same and keeps the layout of one
    image. torch's instance normalisation makes channels first, and in torch 2.15 computes wrong gradients on a CPU for
    a batch of one whose gradients are channels last. On a CPU batch normalisation is inaccurate where channels are
    last: there it is `standardize`. On a GPU it is one kernel of cuDNN instead of four of torch if there are a scale
    and a shift, except in bf16. `fused` needs one kernel always.
    """

    def forward(self, x: Tensor) -> Tensor:
        if fused.can_fuse(x):
            return fused.normalize(x, fused.Work(self.eps))
        last = is_channels_last(x)
        if last and x.device.type == "cpu" and not torch.compiler.is_compiling():
            return standardize(x, self.eps)
        scale, shift = ones_and_zeros(x.shape[0] * x.shape[1], x.device) if on_gpu(x) else (None, None)
        if len(x) == 1:  # without a view: a ReLU that changes one in place makes the backward pass copy
            return F.batch_norm(x, None, None, scale, shift, training=True, eps=self.eps)
        channels = x.reshape(1, -1, *x.shape[2:])  # a copy, channels first, where channels are last
        output = F.batch_norm(channels, None, None, scale, shift, training=True, eps=self.eps).view_as(x)
        return output.contiguous(memory_format=torch.channels_last) if last else output


@cache
def ones_and_zeros(count: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Return scales and shifts that change nothing, [count] each, made once."""
    with torch.inference_mode(False):
        return torch.ones(count, device=device), torch.zeros(count, device=device)


class BatchNorm(nn.BatchNorm2d):
    """Batch normalisation, computed channels first in training on a CPU: torch sums channels last inaccurately."""

    def forward(self, x: Tensor) -> Tensor:
        if not (self.training and x.device.type == "cpu" and is_channels_last(x)):
            return super().forward(x)
        return super().forward(x.contiguous()).contiguous(memory_format=torch.channels_last)


class GroupNorm(nn.GroupNorm):
    """Group normalisation, computed channels first.

    With channels last, torch copies to this layout itself on a GPU, and returns it; on a CPU its sums are inaccurate.
    """

    def forward(self, x: Tensor) -> Tensor:
        if not is_channels_last(x):
            return super().forward(x)
        return super().forward(x.contiguous()).contiguous(memory_format=torch.channels_last)


class ReflectionPad(nn.ReflectionPad2d):
    """Mirror the border of [B, C, H, W], see `pad`."""

    def __init__(self, border: int) -> None:
        super().__init__(border)
        self.border = border

    def forward(self, x: Tensor) -> Tensor:
        return pad(x, self.border, "reflect")


def pad(x: Tensor, border: int, mode: str) -> Tensor:
    """Pad each side of [B, C, H, W] in the mode ``reflect`` or ``replicate``; keep the memory layout.

    On a GPU torch pads two dimensions channels first only. So channels that are last become the last dimension of
    three, and are not padded: the same numbers without a copy.
    """
    repeat, sides = mode == "replicate", 4 * (border,)
    if fused.can_fuse(x) and fused.can_pad(x, border, repeat=repeat):
        return fused.pad(x, border, repeat=repeat)[0]
    if not on_gpu(x) or not is_channels_last(x):
        return F.pad(x, sides, mode=mode)
    volume = x.permute(0, 2, 3, 1).unsqueeze(1)  # [B, 1, H, W, C]
    return F.pad(volume, (0, 0, *sides), mode=mode).squeeze(1).permute(0, 3, 1, 2)


def on_gpu(x: Tensor) -> bool:
    """Check whether torch's own kernels for CUDA compute ``x``, not compiled ones."""
    return x.device.type == "cuda" and not torch.compiler.is_compiling()


def is_channels_last(x: Tensor) -> bool:
    """Check whether [B, C, H, W] is stored channels last. One channel counts as channels first, which it also is."""
    return x.is_contiguous(memory_format=torch.channels_last) and not x.is_contiguous()


class UnbiasedConv2d(WinogradConv2d):
    """A convolution before instance normalisation, which removes any bias: the bias is not added, and not trained.

    It is a parameter because published checkpoints contain one. `biased` adds it, for the output before the
    normalisation.
    """

    def forward(self, x: Tensor) -> Tensor:
        return self._conv_forward(x, self.weight, None)

    def biased(self, x: Tensor) -> Tensor:
        """Return the convolution with its bias."""
        return super().forward(x)


class UnbiasedConvTranspose2d(nn.ConvTranspose2d):
    """A transposed convolution before instance normalisation, see `UnbiasedConv2d`."""

    def forward(self, x: Tensor, output_size: list[int] | None = None) -> Tensor:
        del output_size
        geometry = (self.stride, self.padding, self.output_padding, self.groups, self.dilation)
        return F.conv_transpose2d(x, self.weight, None, *geometry)  # type: ignore[arg-type]


class FewOutputsConv2d(nn.Conv2d):
    """A convolution to few channels, with a bias, which CPUs compute faster in another way: their code for float32 and
    channels last computes 16 channels or more, however few there are.

    There one convolution has each row of each kernel as a separate channel, and the rows are added. The sums are
    shorter, and so more exact.
    """

    bias: Tensor

    def forward(self, x: Tensor) -> Tensor:
        if torch.compiler.is_compiling():  # first, because an export would record the checks below for all images
            return super().forward(x)
        plain = x.device.type == "cpu" and x.dtype == torch.float32 and not torch.is_autocast_enabled("cpu")
        if not plain or not is_channels_last(x):
            return super().forward(x)
        outputs, inputs, height, width = self.weight.shape
        kernels = self.weight.permute(2, 0, 1, 3).reshape(height * outputs, inputs, 1, width)
        rows = F.conv2d(x, kernels, padding=self.padding).split(outputs, dim=1)  # [B, outputs, H + height - 1, W] each
        count = rows[0].shape[2] - height + 1
        return sum((of[:, :, row : row + count] for row, of in enumerate(rows)), start=self.bias[:, None, None])


def conv_before(
    norm: str, inputs: int, outputs: int, kernel_size: int, *, stride: int = 1, padding: int = 0
) -> nn.Conv2d:
    """Return the convolution before a `norm_layer`.

    Batch normalisation has a bias itself, instance normalisation removes any. Without normalisation, nothing else
    shifts the activations. The published code has no bias there: its checkpoints load with biases of 0.
    """
    if norm == "instance":
        return UnbiasedConv2d(inputs, outputs, kernel_size, stride, padding)
    return WinogradConv2d(inputs, outputs, kernel_size, stride, padding, bias=norm != "batch")


def transposed_conv_before(
    norm: str, inputs: int, outputs: int, kernel_size: int, output_padding: int = 0
) -> nn.ConvTranspose2d:
    """Return the transposed convolution before a `norm_layer` that doubles both sides, as `conv_before` does."""
    if norm == "instance":
        return UnbiasedConvTranspose2d(inputs, outputs, kernel_size, 2, 1, output_padding)
    return nn.ConvTranspose2d(inputs, outputs, kernel_size, 2, 1, output_padding, bias=norm != "batch")


def require_sides(images: Tensor, *, least: int, multiple: int = 1, network: str) -> None:
    """Refuse images [B, C, H, W] that the network cannot take.

    Raises:
        UserError: a side is below ``least`` pixels or no multiple of ``multiple``.
    """
    height, width = images.shape[-2:]
    if min(height, width) < least:
        raise UserError(f"{network} needs images of at least {least}x{least} pixels, but got "
                        f"{height}x{width}: use a larger --crop_size or --load_size")
    if height % multiple or width % multiple:
        raise UserError(f"{network} needs sides that are multiples of {multiple}, but got {height}x{width}: "
                        "change --crop_size or pad the images")


class Downsample(nn.Module):
    """Blur with [1, 2, 1] in both directions and keep every second pixel: [B, C, H, W] -> [B, C, H / 2, W / 2].

    Odd sides are rounded up; the border is reflected. Source: Zhang, 'Making convolutional networks
    shift-invariant again', ICML 2019.
    """

    filt: Tensor  # [C, 1, 3, 3], a buffer of published state dicts
    border = 1

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.register_buffer("filt", _outer(torch.tensor([1.0, 2.0, 1.0]), channels))

    def forward(self, x: Tensor) -> Tensor:
        return self.blur(pad(x, self.border, "reflect"))

    def blur(self, padded: Tensor) -> Tensor:
        """Blur and halve a map that is padded already."""
        return blur(F.conv2d, padded, self.filt, stride=2)


class Upsample(nn.Module):
    """Double both sides and blur with [1, 3, 3, 1]: [B, C, H, W] -> [B, C, 2H, 2W]. The border is repeated.

    In each direction a new pixel is 3/4 of the nearer and 1/4 of the farther old one. Source: as `Downsample`.
    """

    filt: Tensor  # [C, 1, 4, 4], a buffer of published state dicts
    border = 1

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.register_buffer("filt", 4 * _outer(torch.tensor([1.0, 3.0, 3.0, 1.0]), channels))

    def forward(self, x: Tensor) -> Tensor:
        if torch.compiler.is_compiling():  # of replicated padding, torch 2.15 compiles a wrong backward pass
            return F.interpolate(x, scale_factor=2, mode="bilinear")
        # bilinear interpolation is the same, but on a CPU its backward pass takes up to twice as long
        return self.blur(pad(x, self.border, "replicate"))

    def blur(self, padded: Tensor) -> Tensor:
        """Double and blur a map that is padded already."""
        return blur(F.conv_transpose2d, padded, self.filt, stride=2, padding=3)


def blur(convolution: Callable[..., Tensor], x: Tensor, filt: Tensor, **geometry: int) -> Tensor:
    """Convolve each channel with its own filter."""
    # CPUs have fast code for these only in float32: under autocast to bf16 they would take up to ten times as long
    exact = torch.autocast("cpu", enabled=False) if x.device.type == "cpu" else nullcontext()
    with exact:
        return convolution(x.to(filt) if x.device.type == "cpu" else x, filt, groups=x.shape[1], **geometry)


def _outer(taps: Tensor, channels: int) -> Tensor:
    """Compute the outer product of ``taps`` with itself, summing to 1, for each channel: [channels, 1, K, K]."""
    kernel = torch.outer(taps, taps) / taps.sum() ** 2
    return kernel.repeat(channels, 1, 1, 1)
