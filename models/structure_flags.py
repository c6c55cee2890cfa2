"""Flags of the spatially-correlative loss, and their checks."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from options import DataFlags, Options, TrainFlags, flag, has_crop
from options.flag import comma_list, count_or_all
from util.errors import UserError

from .networks.backbones import library_and_name
from .networks.features import VGG16, distinct_layers, feature_shapes


@dataclass(frozen=True)
class StructureFlags:
    """The spatially-correlative loss."""

    feature_net: str = flag(
        VGG16, "network whose features are compared: vgg16, torchvision/NAME or timm/NAME, such as "
        "torchvision/convnext_tiny or timm/vit_small_patch14_dinov2.lvd142m")
    attn_layers: tuple[str, ...] = flag(
        ("4", "7", "9"), "its layers, by name: layer2, say, or blocks.5; of VGG16 also by number of the ReLU from 0: "
        "4,7,9 is relu3_1,relu4_1,relu4_3", parse=comma_list)
    patch_nums: int | None = flag(256, "query positions a layer; inf or -1: every position", parse=count_or_all,
                                  unset="inf")
    patch_size: int = flag(
        64, "side of the window of keys around a query, in positions of the feature map. 256-pixel crops give maps "
        "64, 32 and 32 wide, so that 64 takes the whole map; the paper's LSeSim uses 32", minimum=1)
    loss_mode: str = flag("cos", "how maps are compared: cos, l1, or info (the contrastive loss; "
                          "--lambda_spatial_idt then compares by cos)",
                          choices=("cos", "l1", "info"))
    use_norm: bool = flag(False, "cosine similarity instead of a squashed scalar product")
    learned_attn: bool = flag(False, "LSeSim: learn the self-similarity (best with --augment)")
    T: float = flag(0.07, "temperature of the contrastive loss", above=0)
    lambda_spatial: float = flag(10.0, "weight of the spatially-correlative loss", minimum=0)
    vgg_weights: str = flag("bundled", "weights of --feature_net: bundled (only VGG16), imagenet (the pretrained ones "
                            "of torchvision or timm, downloaded once), random, or a file")
    vgg_lr_scale: float = flag(0.0, "learning rate of LSeSim's --feature_net, as a multiple of --lr; 0: frozen",
                               minimum=0)
    query_by: str = flag("random", "query positions of the generator's loss: random ones, with --mask_A in its white "
                         "parts, or those of the input whose attention, the softmax of cosines over --T, has the "
                         "lowest entropy; the heads of LSeSim always learn from random ones of the whole image",
                         choices=("random", "entropy"))


def check_structure(options: Options) -> None:
    """Refuse flags of the loss that contradict each other, before anything is built or loaded.

    Raises:
        UserError: they do.
    """
    flags = options[StructureFlags]
    layers = layer_names(flags.attn_layers, flags.feature_net)
    if TrainFlags not in options:
        return
    if flags.feature_net != VGG16 and flags.vgg_weights == "bundled":
        library_and_name(flags.feature_net)  # refuses a name of another form
        raise UserError(f"--feature_net {flags.feature_net} is not bundled: add --vgg_weights imagenet, which is "
                        "downloaded once, or a file")
    data = options[DataFlags]
    shapes = feature_shapes(flags.feature_net, layers, data.crop_size, data.crop_size)
    side = min(min(height, width) for _, height, width in shapes)
    if side == 0 and has_crop(data.preprocess):
        raise UserError(f"--crop_size {data.crop_size} leaves no feature at {layers[-1]} of --attn_layers: enlarge "
                        "it or choose earlier layers")
    keys = min(flags.patch_size, side) ** 2
    if flags.loss_mode == "l1" and keys < 4:
        raise UserError(f"--loss_mode l1 needs at least four keys a query, --patch_size {flags.patch_size} with "
                        f"--crop_size {data.crop_size} leaves {keys}: enlarge them or use --loss_mode cos")
    if flags.vgg_lr_scale and not flags.learned_attn:
        raise UserError("--vgg_lr_scale trains the --feature_net of LSeSim: it needs --learned_attn")


def layer_names(layers: Sequence[str], network: str = VGG16) -> tuple[str, ...]:
    """Convert ``("4", "relu4_1")`` of VGG16 to ``("relu3_1", "relu4_1")``; keep names of other networks as typed.

    Raises:
        UserError: VGG16 has no such layer, or one is named twice.
    """
    return distinct_layers(network, layers, "--attn_layers")


CHOICES = ("fsesim", "lsesim")
"""Values of ``--structure`` that select the spatially-correlative loss, in models that have other ones too."""


def implied_by(typed: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the flags that the typed ``--structure`` implies, for `options.FlagOwner.implied`."""
    return {"learned_attn": typed.get("structure") == "lsesim"}


def check_choice(structure: str, options: Options) -> None:
    """Refuse flags of the loss that contradict ``--structure``, or each other.

    Raises:
        UserError: they do.
    """
    if options[StructureFlags].learned_attn != (structure == "lsesim"):
        raise UserError(f"--learned_attn and --structure {structure} contradict each other: type only --structure "
                        "fsesim or lsesim")
    if structure in CHOICES:
        check_structure(options)
