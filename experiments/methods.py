"""The methods to compare on the same images, and variants that change one setting of the losses."""

from collections.abc import Mapping
from dataclasses import dataclass

STRUCTURE = "--attn_layers relu3_1"
METHODS = {
    "sc-FSeSim": f"--model sc {STRUCTURE} --use_norm",
    "sc-LSeSim": f"--model sc {STRUCTURE} --learned_attn --augment",
    "cycle_gan": "--model cycle_gan",
    "cycle_gan-LSeSim": f"--model cycle_gan {STRUCTURE} --structure lsesim --augment",
    "cut": "--model cut --nce_layers 0,4,7 --lambda_NCE 3",
    "FastCUT": "--model cut --CUT_mode FastCUT --nce_layers 0,4,7 --lambda_NCE 3",
    "munit_sc": f"--model munit_sc {STRUCTURE} --learned_attn --augment --lambda_spatial 20",
}
"""Name in the table, and flags of ``train.py`` beside `COMMON`.

With their published layers, CUT and FastCUT tint the paper: the receptive fields of the deeper ones are so large that
blank patches differ, and a tint tells them apart. On shallow layers, FastCUT's published weight of 10 leaves almost no
colour. Without ``--use_norm``, FSeSim colours the lines. At a weight of 10, munit_sc fills whole drawings with dark
styles.
"""
MORE = {
    **{f"cut-{name}": f"--model cut --nce_layers 0,4,7 {flags}" for name, flags in (
        ("MoNCE", "--lambda_NCE 3 --nce_loss monce"), ("hDCE", "--lambda_NCE 0.3 --nce_loss hdce"),
        ("SRC", "--lambda_NCE 0.3 --lambda_SRC 0.15 --nce_loss src"),
        ("QS-Attn", "--lambda_NCE 3 --query_by entropy"))},
    "distance_gan": "--model distance_gan",
    "gc_gan": "--model gc_gan --geometry rot",
    "gc_gan-FSeSim": f"--model gc_gan --geometry rot {STRUCTURE} --use_norm --structure fsesim",
    "sb": "--model sb --nce_layers 0,4,7 --lambda_NCE 3 --pool_size 0",
    "sb-LSeSim": f"--model sb {STRUCTURE} --structure lsesim --augment --pool_size 0",
    "munit": "--model munit --lambda_cycle 10",
}
"""Methods that docs' table does not have: name them with ``--methods``."""
VARIANTS = {
    f"{base}-{name}": f"{METHODS[base]} {flags}" for base, name, flags in (
        ("sc-FSeSim", "lambda-2.5", "--lambda_spatial 2.5"),
        ("sc-FSeSim", "lambda-40", "--lambda_spatial 40"),
        ("sc-FSeSim", "relu4_1", "--attn_layers relu4_1"),
        ("sc-FSeSim", "patch-8", "--patch_size 8"),
        ("sc-LSeSim", "T-0.3", "--T 0.3"),
        ("sc-LSeSim", "no-copies", "--augment false"),
        ("cut", "published", "--nce_layers 0,4,8,12,16 --lambda_NCE 1"),
    )
}
"""One setting each that differs from the method's, where lambda is 10, the layer relu3_1 with its whole map, T 0.07.

CUT's are both the published ones.
"""
KNOWN = METHODS | MORE | VARIANTS
COMMON = ("--preprocess none --ngf 16 --ndf 32 --no_antialias --init_type normal --lr 0.0008 --ema 0.99 "
          "--pool_size 50 --print_freq 200 --no_html --save_latest_freq 400 --save_epoch_freq 1000")

SMALL = ("--load_size 143 --crop_size 64 --cache ram --ngf 16 --ndf 32 --lr 0.0008 --ema 0.99 --print_freq 20 "
         "--no_html --sample_images 0 --save_latest_freq 400 --save_epoch_freq 1000")
"""Flags of all trainings on photographs: small networks, small crops and a high rate, for minutes instead of days."""
FSESIM, LSESIM = "--attn_layers 4,7", "--attn_layers 4,7 --patch_size 32 --augment"
BESIDE = {
    "sc-FSeSim": f"--model sc {FSESIM}",
    "sc-LSeSim": f"--model sc {LSESIM} --learned_attn",
    "cycle_gan": "--model cycle_gan",
    "cycle_gan-LSeSim": f"--model cycle_gan {LSESIM} --structure lsesim",
    "cut": "--model cut",
    "FastCUT": "--model cut --CUT_mode FastCUT",
    "munit_sc": f"--model munit_sc {LSESIM} --learned_attn",
    "pix2pix": "--model pix2pix",
    "munit": "--model munit",
    "distance_gan": "--model distance_gan",
    "gc_gan": "--model gc_gan",
    "gc_gan-FSeSim": f"--model gc_gan {FSESIM} --structure fsesim",
    "gc_gan-LSeSim": f"--model gc_gan {LSESIM} --structure lsesim",
    "sb": "--model sb",
    "sb-FSeSim": f"--model sb {FSESIM} --structure fsesim",
    "sb-LSeSim": f"--model sb {LSESIM} --structure lsesim",
    "cut-MoNCE": "--model cut --nce_loss monce",
    "cut-hDCE": "--model cut --nce_loss hdce",
    "cut-SRC": "--model cut --nce_loss src",
    "cut-QS-Attn": "--model cut --query_by entropy",
    "sc-projected": f"--model sc {FSESIM} --netD projected",
}
"""Each method with the weights, layers and pools of its authors, beside `SMALL`."""

UNNORMALIZED = ("sc-FSeSim", "sc-LSeSim", "sc-projected", "cycle_gan", "cycle_gan-LSeSim", "gc_gan", "gc_gan-FSeSim",
                "gc_gan-LSeSim", "cut", "FastCUT", "cut-MoNCE")
"""The methods whose generators the recipe builds without normalisation."""


def with_recipe(name: str, flags: str) -> str:
    """Add flags that help short trainings, as far as the method has them; see scripts/quickstart.sh.

    The discriminator sees colours, thanks to spectral normalisation, which a projected one always has, and shifted
    images. Generators without normalisation start from the colours of their input, where the method has such generators
    and a loss that holds them: variants of CUT's loss and pix2pix end in images of one colour without normalisation.
    The structure loss compares one layer, FSeSim's by cosines. The identity loss has the weight 5, which cycle_gan and
    gc_gan have by default.
    """
    added = "--diff_augment translation --lr 0.0004 --ema 0.995" + (
        " --normD spectral" if "projected" not in name else " --normD none")
    if name == "pix2pix":
        added += " --netG resnet_9blocks"
    if name in UNNORMALIZED:
        added += " --norm none --init_gain 1 --identity_first 200"
    if "attn_layers" in flags:
        added += " --attn_layers relu3_1" + ("" if "LSeSim" in name or "munit" in name else " --use_norm")
    if name.startswith(("sc-", "munit_sc")):
        added += " --lambda_identity 5"
    return f"{flags} {added}"


@dataclass(frozen=True)
class Study:
    """The methods to compare on a data set.

    Attributes:
        common: flags that all trainings share.
        methods: flags of each method beside them.
        default: the methods to run unless others are named.
        measures: titles in the table, by the names of the scores.
        costs: titles of what the records tell of the cost.
        judged: the segmentation network of ``evaluate.py judge`` scores the translations too.
    """

    common: str
    methods: Mapping[str, str]
    default: tuple[str, ...]
    measures: Mapping[str, str]
    costs: Mapping[str, str]
    judged: bool = False


COSTS = {"seconds_a_step": "seconds a step", "M_parameters": "M parameters", "memory_GB": "GB"}
RECIPES = {f"{name}-recipe": with_recipe(name, flags) for name, flags in BESIDE.items()}
STUDIES = {
    "lineart2color": Study(
        COMMON, KNOWN, tuple(METHODS),
        {"frechet": "Fréchet", "line_iou": "line IoU", "colour_error": "colour error"}, {}),
    "atlas2satellite": Study(
        SMALL, BESIDE | RECIPES, (*BESIDE, *RECIPES),
        {"pixel_accuracy": "pixel accuracy", "mean_iou": "mean IoU", "water_iou": "water IoU",
         "judge_frechet": "judge's Fréchet", "frechet": "VGG16's Fréchet", "psnr": "PSNR", "ssim": "SSIM",
         "colour_error": "colour error"}, COSTS, judged=True),
}
"""By the name of the data set."""
