"""Networks of torchvision and timm, cut down to the modules of some layers."""

import difflib
import inspect
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from types import ModuleType
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from util.errors import UserError

TIMM = (1, 0, 22)  # the first whose networks can be built without memory, on the meta device

def build_backbone(name: str, layers: Sequence[str], *, pretrained: bool) -> nn.Module:
    """Build a network that takes normalised images [B, 3, H, W] to a list of [B, C, h, w], one for each of the layers.

    What lies beyond the deepest layer is not computed. Random weights are the same every time. The state dict has the
    library's keys behind ``network.``; the attributes ``mean`` and ``std`` are of images in [0, 1].

    Args:
        name: ``torchvision/NAME`` or ``timm/NAME``.
        layers: names of modules: ``layer2`` of ``torchvision/resnet18``, ``features.3`` of
            ``torchvision/convnext_tiny``, ``stages.1`` of ``timm/convnext_tiny``, ``blocks.5`` of
            ``timm/vit_small_patch14_dinov2.lvd142m``; of timm those that its ``feature_info`` lists.
        pretrained: with the library's weights, downloaded once; otherwise with random ones.

    Raises:
        UserError: an unknown name or layer, a package that is missing, or weights that cannot be had.
    """
    library, network = library_and_name(name)
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        return LIBRARIES[library](network, layers, pretrained).eval()


def library_and_name(name: str) -> tuple[str, str]:
    """Split ``torchvision/resnet18`` into library and name; whether the library has it is not looked up.

    Raises:
        UserError: the name is not of that form, or of another library.
    """
    library, _, network = name.partition("/")
    if library not in LIBRARIES or not network:
        raise UserError(f"--feature_net {name} is neither vgg16 nor torchvision/NAME nor timm/NAME")
    return library, network


class TorchvisionBackbone(nn.Module):
    """The part of a classifier's graph that the layers need; see `build_backbone`."""

    def __init__(self, name: str, layers: Sequence[str], pretrained: bool) -> None:
        super().__init__()
        import torchvision  # noqa: PLC0415 - only where asked for
        from torchvision.models import feature_extraction  # noqa: PLC0415

        _require_known("--feature_net: torchvision has no classifier", [name],
                       torchvision.models.list_models(module=torchvision.models))
        network = _load(name, partial(torchvision.models.get_model, name), weights="DEFAULT" if pretrained else None)
        _, nodes = feature_extraction.get_graph_node_names(network, suppress_diff_warning=True)
        paths = [node.split(".") for node in nodes]
        _require_known(f"--attn_layers: torchvision/{name} has no layer", layers,
                       [".".join(path[:depth]) for path in paths for depth in range(1, len(path) + 1)])
        for module in network.modules():
            if getattr(module, "inplace", False):  # would change features that are taken before it
                module.inplace = False
        transform = torchvision.models.get_model_weights(name).DEFAULT.transforms()
        self.mean, self.std = tuple(transform.mean), tuple(transform.std)
        self.layers, self.channels_last = tuple(layers), isinstance(network, torchvision.models.SwinTransformer)
        self.network = feature_extraction.create_feature_extractor(network, list(layers), suppress_diff_warning=True)

    def forward(self, x: Tensor) -> list[Tensor]:
        found: dict[str, Tensor] = self.network(x)
        return [found[layer].permute(0, 3, 1, 2) if self.channels_last else found[layer] for layer in self.layers]


class TimmBackbone(nn.Module):
    """A network of timm up to the deepest layer; see `build_backbone`.

    Tokens become maps of their patches, without class and register tokens. Images whose sides are no multiple of the
    patch are enlarged to the next one; position embeddings are interpolated.
    """

    def __init__(self, name: str, layers: Sequence[str], pretrained: bool) -> None:
        super().__init__()
        timm = _import_timm(name)
        _require_known("--feature_net: timm has no network", [name],
                       [*timm.list_models(), *timm.list_pretrained()])
        with torch.device("meta"):
            accepted = inspect.signature(type(timm.create_model(name))).parameters
        any_size = {key: value for key, value in (("dynamic_img_size", True), ("strict_img_size", False))
                    if key in accepted}
        network = _load(name, partial(timm.create_model, name, num_classes=0, **any_size), pretrained=pretrained)
        if not hasattr(network, "forward_intermediates") or not hasattr(network, "prune_intermediate_layers"):
            raise UserError(f"--feature_net timm/{name} does not give its intermediate features: choose another")
        names = [info["module"] for info in network.feature_info]
        _require_known(f"--attn_layers: timm/{name} has no layer", layers, names)
        self.mean, self.std = (tuple(network.pretrained_cfg[key]) for key in ("mean", "std"))
        # Whatever embeds patches takes multiples of their side, which is how far the first features are reduced.
        self.multiple = 1
        if hasattr(network, "patch_embed"):
            self.multiple = min(info["reduction"] for info in network.feature_info)
        self.wanted = [names.index(layer) for layer in layers]
        self.order = sorted(self.wanted)
        network.prune_intermediate_layers(self.order, prune_norm=True, prune_head=True)
        self.network = network

    def forward(self, x: Tensor) -> list[Tensor]:
        sides = [side + -side % self.multiple for side in x.shape[2:]]
        if sides != list(x.shape[2:]):
            x = F.interpolate(x, sides, mode="bilinear")
        maps: list[Tensor] = self.network.forward_intermediates(
            x, indices=self.order, stop_early=True, output_fmt="NCHW", intermediates_only=True)
        return [maps[self.order.index(index)] for index in self.wanted]


LIBRARIES: dict[str, type[TorchvisionBackbone] | type[TimmBackbone]] = {
    "torchvision": TorchvisionBackbone,
    "timm": TimmBackbone,
}


def _import_timm(name: str) -> ModuleType:
    try:
        import timm  # noqa: PLC0415 - optional
    except ImportError:
        raise UserError(f"--feature_net timm/{name} needs the package timm: pip install timm") from None
    if tuple(int(part) for part in timm.__version__.split(".")[:3]) < TIMM:
        raise UserError(f"--feature_net timm/{name} needs timm {'.'.join(map(str, TIMM))} or later, not "
                        f"{timm.__version__}: pip install --upgrade timm")
    module: ModuleType = timm
    return module


def _load(name: str, create: Callable[..., Any], **weights: Any) -> Any:
    """Build the network, with pretrained weights if ``weights`` asks for them."""
    if not any(weights.values()):
        return create(**weights)
    try:
        return create(**weights)
    except (OSError, RuntimeError) as error:  # no network; no such weights; a broken file
        raise UserError(f"--vgg_weights imagenet: cannot get the weights of {name} ({first_line(error)}): use a "
                        "file or random") from error


def _require_known(problem: str, wanted: Sequence[str], known: Iterable[str]) -> None:
    """Refuse an unknown name, and suggest similar ones."""
    names = list(dict.fromkeys(known))
    for name in wanted:
        if name not in names:
            near = difflib.get_close_matches(name, names, n=6, cutoff=0.5) or sorted(names, key=len)[:12]
            raise UserError(f"{problem} '{name}': choose another, such as {', '.join(near)}")


def first_line(error: Exception) -> str:
    """Shorten the message of an error."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]
