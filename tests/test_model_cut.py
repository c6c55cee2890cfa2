"""Model cut: what one optimisation step computes, from which passes, and what is refused."""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from steps import Descent, assert_same_steps, batch, build_model, checked_steps
from tiny import METHODS, NETWORKS, SIZES, train_options, train_step
from torch import Tensor, nn

from models.cut import ContrastiveModel, PatchFlags
from models.losses.patch_contrasts import hard_negative_contrast, monce, semantic_relation_loss
from models.losses.patch_nce import patch_nce
from models.networks import create_generator
from options import TrainFlags
from util.errors import UserError

LAYERS = (0, 4, 8, 12)
DEFAULTS = (NETWORKS, SIZES, METHODS["CUT"])


def build(root: Path, flags: str = "", *, double: bool = False) -> ContrastiveModel:
    return build_model(root, flags, defaults=DEFAULTS, double=double)


# --- features of the generator --------------------------------------------------------------------------------------


@pytest.mark.parametrize("norm", ["instance", "none"])
@pytest.mark.parametrize("antialias", [True, False])
def test_features_are_what_each_layer_gives(norm: str, antialias: bool) -> None:
    generator = create_generator("resnet_6blocks", ngf=2, norm=norm, antialias=antialias).double()
    for convolution in generator.modules():
        if isinstance(convolution, torch.nn.Conv2d):
            torch.nn.init.uniform_(convolution.bias)
    images = torch.rand(2, 3, 8, 12, dtype=torch.float64)
    x, outputs = images, []
    for layer in generator.model:
        is_convolution = isinstance(layer, torch.nn.Conv2d)  # with its bias, which is a part of the features
        x = torch.nn.Conv2d.forward(layer, x) if is_convolution else layer(x.clone())  # ReLU works in place
        outputs.append(x)
    layers = tuple(range(generator.encoder_depth))
    translation, *features = generator(images, layers)
    close = partial(torch.testing.assert_close, rtol=0, atol=1e-10)
    close(translation, generator(images))
    for number in layers:
        close(features[number], outputs[number])
        close(generator(images, (number,), True)[0], outputs[number])
    assert generator.channels_of(layers) == [output.shape[1] for output in outputs[: len(layers)]]


# --- one whole step against plain formulas --------------------------------------------------------------------------


class PlainStep(Descent):
    """One optimisation step of CUT or FastCUT, straight from the mathematics: a pass for each image and purpose."""

    def __init__(self, model: ContrastiveModel, fast: bool) -> None:
        self.networks = copy.deepcopy(model.networks)
        self.g, self.d, self.heads = (self.networks[name] for name in ("G", "D", "F"))
        self.fast, self.mirrored, self.turns = fast, False, set[bool]()
        self.optimizers = {name: torch.optim.Adam(network.parameters(), lr=0.01, betas=(0.5, 0.999))
                           for name, network in self.networks.items()}

    def features(self, x: Tensor) -> list[Tensor]:
        found = []
        for number, layer in enumerate(self.g.model[:LAYERS[-1] + 1]):
            x = torch.nn.Conv2d.forward(layer, x) if isinstance(layer, torch.nn.Conv2d) else layer(x)  # with biases
            if number in LAYERS:
                found.append(x.clone())
        return found

    def contrast(self, image: Tensor, output: Tensor) -> Tensor:
        losses = []
        queries = [self.turn(f) for f in self.features(output)]
        for (first, _, second), t, s in zip(self.heads.heads, queries, self.features(image), strict=True):
            places = torch.randperm(t.shape[2] * t.shape[3])[:16].tolist()
            rows = []
            for features in (t, s):
                picked = torch.stack([features[:, :, place // t.shape[3], place % t.shape[3]] for place in places], 1)
                head = second(first(picked).clamp(min=0))
                rows.append(head / head.norm(dim=2, keepdim=True))
            logits = torch.einsum("bic,bjc->bij", rows[0], rows[1].detach()) / 0.07
            losses.append((logits.logsumexp(2) - logits.diagonal(dim1=1, dim2=2)).mean())
        return sum(losses) / len(losses)

    def turn(self, x: Tensor) -> Tensor:
        return x.flip(3) if self.mirrored else x

    def __call__(self, images: dict[str, Tensor]) -> dict[str, Tensor]:
        self.mirrored = self.fast and torch.rand(()).item() < 0.5
        self.turns.add(self.mirrored)
        height, width = images["A"].shape[2:]
        a, b = (F.pad(image, (0, -image.shape[3] % 4, 0, -image.shape[2] % 4), mode="reflect")
                for image in (images["A"], images["B"]))
        output = self.g(self.turn(a))
        fake = self.turn(self.turn(output)[..., :height, :width])
        losses = {"D_real": (self.d(images["B"]) - 1).square().mean(), "D_fake": self.d(fake.detach()).square().mean()}
        self.descend((losses["D_real"] + losses["D_fake"]) / 2, "D")
        losses["G_GAN"] = (self.d(fake) - 1).square().mean()
        if self.fast:
            losses["G_NCE"] = 10 * self.contrast(a, output)
        else:
            losses |= {"G_NCE": self.contrast(a, output) / 2, "G_NCE_idt": self.contrast(b, self.g(b)) / 2}
        losses["G"] = sum(loss for name, loss in losses.items() if name.startswith("G_"))
        self.descend(losses["G"], "G", "F")
        return losses


@pytest.mark.parametrize("mode", ["CUT", "FastCUT"])
@pytest.mark.parametrize(("size_a", "size_b"), [((16, 16), (16, 16)), ((17, 22), (20, 18))])
def test_steps_equal_the_plain_formulas(
    tmp_path: Path, mode: str, size_a: tuple[int, int], size_b: tuple[int, int]
) -> None:
    model = build(tmp_path, f"--CUT_mode {mode} --lr 0.01 --init_gain 0.5 --preprocess none", double=True)
    for parameter in model.networks["F"].parameters():
        nn.init.normal_(parameter, 0.0, 0.5)  # with biases of 0 all hidden units of a patch may be off
    plain = PlainStep(model, mode == "FastCUT")
    images = batch(7, 2, size_a=size_a, size_b=size_b, dtype=torch.float64)
    assert_same_steps(model, plain, images, steps=4)
    assert plain.turns == ({False, True} if mode == "FastCUT" else {False})


# --- which passes, and which networks change ------------------------------------------------------------------------


@pytest.mark.parametrize(("flags", "seed", "passes"), [
    ("", 0, [(4, False), (4, True)]), ("--nce_idt false", 0, [(2, False), (2, True)]),
    ("--flip_equivariance --nce_idt false", 1, [(2, False), (2, True)]),
    ("--flip_equivariance --nce_idt false", 0, [(2, False), (2, True), (2, True)]),
])
def test_the_input_is_encoded_by_the_pass_that_translates_it(
    tmp_path: Path, flags: str, seed: int, passes: list[tuple[int, bool]]
) -> None:
    model = build(tmp_path, flags)
    seen, later = [], []
    model.generator.register_forward_hook(lambda _, given, __: seen.append((len(given[0]), given[2])))
    model.generator.model[LAYERS[-1] + 1].register_forward_hook(lambda *_: later.append(1))
    torch.manual_seed(seed)
    assert (torch.rand(()).item() < 0.5) is (seed == 0)
    torch.manual_seed(seed)
    train_step(model, [batch(count=2)])
    assert sorted(seen) == sorted(passes)
    assert len(later) == 1, "encoder passes end at the deepest layer"


# --- flags ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("flags", [
    "--CUT_mode FastCUT --nce_idt", "--netG resnet_9blocks --nce_layers 3,10,16", "--nce_layers 5,6", "--norm none",
    "--norm batch --no_dropout false", "--no_antialias", "--lambda_GAN 0", "--num_patches 1000 --netF_nc 3",
])
def test_steps_work_with(tmp_path: Path, flags: str) -> None:
    checked_steps(build(tmp_path, flags), batch(count=2))


@pytest.mark.parametrize(("flags", "weight", "contrast"), [
    ("--nce_loss patchnce --nce_T 1", 1, partial(patch_nce, temperature=1)),
    ("--nce_loss monce --monce_eps 0.5", 1, partial(monce, epsilon=0.5)),
    ("--nce_loss hdce --hdce_gamma 2", 0.1, partial(hard_negative_contrast, gamma=2)),
    ("--nce_loss src --lambda_SRC 3 --lambda_NCE 5", 5, partial(hard_negative_contrast, gamma=0.1)),
    ("--query_by entropy", 1, patch_nce),
])
def test_the_contrastive_loss_is_chosen(
    tmp_path: Path, flags: str, weight: float, contrast: Callable[[Tensor, Tensor], Tensor]
) -> None:
    model = build(tmp_path, f"{flags} --init_gain 0.5", double=True)
    generator, nce = copy.deepcopy(model.generator), copy.deepcopy(model.nce)
    images = batch(5, 2, dtype=torch.float64)
    torch.manual_seed(3)
    losses = train_step(model, [images])
    torch.manual_seed(3)
    for name, image in (("G_NCE", images["A"]), ("G_NCE_idt", images["B"])):
        rows = nce.rows(generator(generator(image), LAYERS, True), generator(image, LAYERS, True))
        expected = weight / 2 * sum(contrast(*layer).item() for layer in rows) / len(LAYERS)
        assert losses[name].item() == pytest.approx(expected, rel=1e-9), name
        if name == "G_NCE" and "src" in flags:
            relation = 3 * sum(semantic_relation_loss(*layer).item() for layer in rows) / len(LAYERS)
            assert losses["G_SRC"].item() == pytest.approx(relation, rel=1e-9)
    assert ("G_SRC" in losses) == ("src" in flags)


def test_without_its_weight_there_are_no_heads(tmp_path: Path) -> None:
    model = build(tmp_path, "--lambda_NCE 0")
    losses = train_step(model, [batch()])
    assert set(model.networks) == {"G", "D"}
    assert losses.keys() == {"D_real", "D_fake", "G_GAN", "G"}


def test_defaults_are_the_published_ones(tmp_path: Path) -> None:
    def values(flags: str) -> tuple[PatchFlags, tuple[int, int]]:
        options = train_options(tmp_path, f"--model cut {flags}", defaults=())
        assert (options[TrainFlags].lr, options[TrainFlags].pool_size) == (0.0002, 0)
        return options[PatchFlags], (options[TrainFlags].n_epochs, options[TrainFlags].n_epochs_decay)

    slow = PatchFlags(1.0, 1.0, True, (0, 4, 8, 12, 16), 256, 256, 0.07, "CUT", False)
    fast = PatchFlags(1.0, 10.0, False, (0, 4, 8, 12, 16), 256, 256, 0.07, "FastCUT", True)
    assert values("") == values("--CUT_mode CUT") == (slow, (200, 200))
    assert values("--CUT_mode FastCUT") == (fast, (150, 50))
    assert values("--CUT_mode FastCUT --lambda_NCE 3 --n_epochs 7")[0].lambda_NCE == 3
    assert values("--CUT_mode FastCUT --lambda_NCE 3 --n_epochs 7")[1] == (7, 50)


@pytest.mark.parametrize(("flags", "message"), [
    ("--netG unet_128", "--netG unet_128 has no encoder"), ("--input_nc 1", "--input_nc equal to --output_nc"),
    ("--gan_mode wgangp", "--gan_mode wgangp needs a gradient penalty"),
    ("--nce_layers 4,0", "--nce_layers: '4,0' is not a list of layers"), ("--nce_layers 4,4", "--nce_layers: '4,4'"),
    ("--nce_layers=-1,4", "--nce_layers: '-1,4'"), ("--nce_layers a", "--nce_layers: 'a' is not a list of layers"),
    ("--nce_layers 0,18", "--nce_layers: there is no layer 18 .*resnet_6blocks.* layer 17; choose"),
    ("--dataset_mode single", "--dataset_mode single has no images of the target domain"),
    ("--nce_loss monce --num_patches 1", "--nce_loss monce needs negatives: use --num_patches 2 or more"),
])
def test_flags_that_cannot_work_are_refused_in_one_sentence(
    tmp_path: Path, flags: str, message: str
) -> None:
    with pytest.raises(UserError, match=message) as caught:
        build(tmp_path, flags)
    assert "\n" not in str(caught.value)
