"""VGG16 as a feature extractor (Simonyan & Zisserman, 2015), cut after the deepest requested layer."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from .winograd import WinogradConv2d

BLOCKS = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))  # the convolutions' channels
CHANNELS = tuple(channels for block in BLOCKS for channels in block)
STRIDES = tuple(2**number for number, block in enumerate(BLOCKS) for _ in block)
LAYERS = tuple(f"relu{b}_{i}" for b, block in enumerate(BLOCKS, 1) for i in range(1, len(block) + 1))

BUNDLED = Path(__file__).resolve().parent / "weights" / "vgg16_features.safetensors"
IMAGENET_URL = "https://download.pytorch.org/models/vgg16-397923af.pth"  # torchvision's IMAGENET1K_V1
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


def layer_index(layer: str) -> int:
    """Return the layer's number among the 13 ReLUs: ``"relu3_1"`` or ``"4"`` -> 4.

    Raises:
        ValueError: there is no such layer.
    """
    if layer in LAYERS:
        return LAYERS.index(layer)
    if re.fullmatch(r"[0-9]{1,2}", layer) and int(layer) < len(LAYERS):
        return int(layer)
    raise ValueError(f"VGG16 has no layer '{layer}': use a number from 0 to {len(LAYERS) - 1} or one of "
                     f"{', '.join(LAYERS)}")


def layer_channels(layers: Sequence[str]) -> list[int]:
    """Return the channels of each layer's features."""
    return [CHANNELS[layer_index(layer)] for layer in layers]


def layer_strides(layers: Sequence[str]) -> list[int]:
    """Return the stride of each layer: image pixels per feature, along each side."""
    return [STRIDES[layer_index(layer)] for layer in layers]


class VGG16Features(nn.Module):
    """Features of some of VGG16's ReLUs: images [B, 3, H, W] in [-1, 1] -> a list of [B, C, H // s, W // s].

    The strides s and channels C are those of `layer_strides` and `layer_channels`. One-channel images are
    repeated to three. Layers beyond the deepest requested one are not built. One pass serves several losses: request
    the layers of all of them. Keys of the state dict are torchvision's.

    Args:
        layers: ``relu1_1`` to ``relu5_3``, or ``0`` to ``12`` counting ReLUs; repeats are allowed.
        weights: ``bundled`` (in this package, up to relu4_3), ``imagenet`` (torchvision's, downloaded once),
            ``random`` (the same every time; for tests), or the path of a .safetensors or .pth state dict.
        frozen: the weights get no gradients (the images still do) and the module stays in evaluation mode.

    Attributes:
        channels: C of each layer.

    Raises:
        ValueError: no layer, an unknown layer, or weights that are missing or end before it.
    """

    scale: Tensor
    shift: Tensor

    def __init__(self, layers: Sequence[str], weights: str | Path = "bundled", *, frozen: bool = True) -> None:
        super().__init__()
        if not layers:
            raise ValueError("VGG16Features needs at least one layer")
        self.layers, self.channels = tuple(layers), layer_channels(layers)
        self.depth = 1 + max(layer_index(layer) for layer in layers)
        self.frozen = frozen
        with torch.device("meta"):  # neither time nor random numbers for weights that are replaced below
            self.features = _convolutions(self.depth)
        self.load_state_dict(_load_weights(weights, self.state_dict()), assign=True)
        self.to(memory_format=torch.channels_last)  # the faster layout for these convolutions, on CPUs too
        mean, std = (torch.tensor(of, dtype=torch.float64).view(1, 3, 1, 1) for of in (IMAGENET_MEAN, IMAGENET_STD))
        self.register_buffer("scale", (0.5 / std).float(), persistent=False)
        self.register_buffer("shift", ((0.5 - mean) / std).float(), persistent=False)
        self.requires_grad_(not frozen)
        self.train(not frozen)

    def train(self, mode: bool = True) -> VGG16Features:
        return super().train(mode and not self.frozen)

    def parameters_up_to(self, layers: Sequence[str]) -> list[nn.Parameter]:
        """Return the parameters that the features of some layers depend on."""
        count = 1 + max(layer_index(layer) for layer in layers)
        convolutions = [layer for layer in self.features if isinstance(layer, nn.Conv2d)][:count]
        return [parameter for convolution in convolutions for parameter in convolution.parameters()]

    def forward(self, images: Tensor, layers: Sequence[str] | None = None) -> list[Tensor]:
        """Compute the features of ``layers``, in their order; left out, of those that the module was built for.

        Raises:
            ValueError: layers beyond those that the module was built for, or images that it does not take.
        """
        wanted = [layer_index(layer) for layer in (self.layers if layers is None else layers)]
        deepest = max(wanted)
        if deepest >= self.depth:
            raise ValueError(f"these VGG16 features end at {LAYERS[self.depth - 1]}, before {LAYERS[deepest]}")
        self.check_images(images, deepest)
        x = torch.addcmul(self.shift, images.expand(-1, 3, -1, -1), self.scale)  # (images / 2 + 0.5 - mean) / std
        found: list[Tensor] = []
        for layer in self.features:
            x = layer(x)
            if isinstance(layer, nn.ReLU):
                found.append(x)
                if len(found) > deepest:
                    break
        return [found[index] for index in wanted]

    def check_images(self, images: Tensor, deepest: int) -> None:
        """Refuse images that have no features at layer number ``deepest``.

        Raises:
            ValueError: images that are not [B, 1 or 3, H, W], or are smaller than the stride of the layer.
        """
        if images.dim() != 4:
            raise ValueError(f"VGG16 takes images [B, 3, H, W], not of shape {list(images.shape)}")
        if images.shape[1] not in (1, 3):
            raise ValueError(f"VGG16 takes images of 1 or 3 channels, but got {images.shape[1]}")
        height, width = images.shape[2:]
        if min(height, width) < STRIDES[deepest]:
            raise ValueError(f"VGG16 up to {LAYERS[deepest]} needs images of at least {STRIDES[deepest]}x"
                             f"{STRIDES[deepest]} pixels, but got {height}x{width}")


def _convolutions(depth: int) -> nn.Sequential:
    """Build the first ``depth`` convolutions with their ReLUs, numbered as torchvision's ``features``."""
    layers: list[nn.Module] = []
    before = 3
    for index in range(depth):
        if index and STRIDES[index] > STRIDES[index - 1]:
            layers.append(nn.MaxPool2d(2))
        layers += [WinogradConv2d(before, CHANNELS[index], 3, padding=1), nn.ReLU(inplace=True)]
        before = CHANNELS[index]
    return nn.Sequential(*layers)


def _load_weights(weights: str | Path, expected: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Load the float32 values of the ``expected`` keys, from the source that ``weights`` names."""
    if weights == "random":
        return _random_weights(expected)
    path = BUNDLED if weights == "bundled" else Path(weights)
    state = _download() if weights == "imagenet" else read_weights(path)
    for key, value in expected.items():
        if key not in state:
            deepest = LAYERS[len(expected) // 2 - 1]
            raise ValueError(f"the VGG16 weights '{weights}' have no '{key}', which {deepest} needs: ask for earlier "
                             "layers ('bundled' goes up to relu4_3) or use 'imagenet', which has all")
        if state[key].shape != value.shape:
            raise ValueError(f"the VGG16 weights '{weights}' have a '{key}' of shape {tuple(state[key].shape)} instead "
                             f"of {tuple(value.shape)}: use a state dict of torchvision's vgg16")
    return {key: state[key].float() for key in expected}


def read_weights(path: Path) -> dict[str, Tensor]:
    """Read the state dict of a .safetensors or .pth file.

    Raises:
        ValueError: there is no such file, or it holds something else.
    """
    if not path.is_file():
        raise ValueError(f"there is no file {path}: use bundled, imagenet, random or the path of a .safetensors or "
                         ".pth file")
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file  # noqa: PLC0415 - only where such a file is read

            state: dict[str, Tensor] = load_file(path)
        else:
            state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # both readers raise many kinds
        raise ValueError(f"{path} is no readable state dict ({type(error).__name__}): use a .safetensors file, or a "
                         ".pth file that holds only tensors") from error
    if not isinstance(state, dict):
        raise ValueError(f"{path} holds a {type(state).__name__}: use a file with a state dict")
    return state


def _download() -> dict[str, Tensor]:
    """Load torchvision's weights, from torch's cache or, the first time, the network."""
    folder = Path(torch.hub.get_dir()) / "checkpoints"
    try:
        return torch.hub.load_state_dict_from_url(IMAGENET_URL, map_location="cpu", check_hash=True,
                                                  weights_only=True)
    except (OSError, RuntimeError) as error:  # no network; a broken file
        raise ValueError(f"cannot get the weights imagenet from {IMAGENET_URL} ({error}): put that file into "
                         f"{folder}, or use bundled") from error


def _random_weights(expected: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Draw Kaiming-normal kernels from a fixed seed, and zero biases: a resumed run must see the same features."""
    generator = torch.Generator().manual_seed(0)
    state: dict[str, Tensor] = {}
    for key, value in expected.items():
        state[key] = torch.zeros(value.shape)
        if value.dim() == 4:
            nn.init.kaiming_normal_(state[key], generator=generator)
    return state
