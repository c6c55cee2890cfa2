"""Model cut: what one optimisation step computes, from which passes, and what is refused."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from test_model_sc import batch, check_step, weights
from tiny import METHODS, NETWORKS, SIZES, train_options, train_step
from torch import Tensor, nn

from models import MODELS
from models.cut import ContrastiveModel, PatchFlags
from models.networks import create_generator
from options import Options, TrainFlags
from util.errors import UserError

LAYERS = (0, 4, 8, 12)
Build = Callable[..., ContrastiveModel]


@pytest.fixture
def parse(tmp_path: Path) -> Callable[[str], Options]:
    return lambda flags: train_options(tmp_path, flags, defaults=(NETWORKS, SIZES, METHODS["CUT"]))


@pytest.fixture
def build(parse: Callable[[str], Options]) -> Build:
    def build(flags: str = "") -> ContrastiveModel:
        torch.manual_seed(0)
        return MODELS["cut"](parse(flags), training=True)

    return build


# --- features of the generator --------------------------------------------------------------------------------------


@pytest.mark.parametrize("norm", ["instance", "none"])
@pytest.mark.parametrize("antialias", [True, False])
def test_features_are_what_each_layer_gives(norm: str, antialias: bool) -> None:
    generator = create_generator("resnet_6blocks", ngf=2, norm=norm, antialias=antialias).double()
    images = torch.rand(2, 3, 8, 12, dtype=torch.float64)
    x, outputs = images, []
    for layer in generator.model:
        x = layer(x.clone())  # ReLU works in place
        outputs.append(x)
    layers = tuple(range(generator.encoder_depth))
    translation, *features = generator(images, layers)
    assert torch.equal(translation, generator(images))
    for number in layers:
        assert torch.equal(features[number], outputs[number]), number
        assert torch.equal(generator(images, (number,), True)[0], outputs[number]), number
    assert generator.channels_of(layers) == [output.shape[1] for output in outputs[: len(layers)]]


# --- one whole step against plain formulas --------------------------------------------------------------------------


class PlainStep:
    """One optimisation step of CUT or FastCUT, straight from the mathematics: a pass for each image and purpose."""

    def __init__(self, model: ContrastiveModel, fast: bool) -> None:
        self.networks = copy.deepcopy(model.networks)
        self.g, self.d, self.heads = (self.networks[name] for name in ("G", "D", "F"))
        self.fast, self.mirrored = fast, False
        self.optimizers = {name: torch.optim.Adam(network.parameters(), lr=0.01, betas=(0.5, 0.999))
                           for name, network in self.networks.items()}

    def features(self, x: Tensor) -> list[Tensor]:
        found = []
        for number, layer in enumerate(self.g.model[:LAYERS[-1] + 1]):
            x = layer(x)
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

    def descend(self, loss: Tensor, *names: str) -> None:
        for name in names:
            parameters = list(self.networks[name].parameters())
            for parameter, gradient in zip(parameters, torch.autograd.grad(loss, parameters, retain_graph=True),
                                           strict=True):
                parameter.grad = gradient
        for name in names:
            self.optimizers[name].step()

    def __call__(self, images: dict[str, Tensor]) -> dict[str, Tensor]:
        self.mirrored = self.fast and torch.rand(()).item() < 0.5
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
    build: Build, mode: str, size_a: tuple[int, int], size_b: tuple[int, int]
) -> None:
    model = build(f"--CUT_mode {mode} --lr 0.01 --init_gain 0.5 --preprocess none")
    for network in model.networks.values():
        network.double()
    for parameter in model.networks["F"].parameters():
        nn.init.normal_(parameter, 0.0, 0.5)  # with biases of 0 all hidden units of a patch may be off
    images = batch((3, 3), size_a, size_b, count=2, augment=False, dtype=torch.float64)
    plain, mirrored = PlainStep(model, mode == "FastCUT"), set()
    for seed in range(4):
        torch.manual_seed(seed)
        losses = train_step(model, [images])
        torch.manual_seed(seed)
        expected = plain(images)
        mirrored.add(plain.mirrored)
        assert losses.keys() == expected.keys()
        for name, loss in expected.items():
            assert losses[name].item() == pytest.approx(loss.item(), rel=1e-6), f"{name}, seed {seed}"
        for name, network in plain.networks.items():
            for theirs, ours in zip(network.parameters(), model.networks[name].parameters(), strict=True):
                torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-5, atol=1e-9)
                ours.data.copy_(theirs)  # Adam blows up the rounding of gradients that are zero
    assert mirrored == ({False, True} if mode == "FastCUT" else {False})


# --- which passes, and which networks change ------------------------------------------------------------------------


@pytest.mark.parametrize(("flags", "seed", "passes"), [
    ("", 0, [(4, False), (4, True)]), ("--nce_idt false", 0, [(2, False), (2, True)]),
    ("--flip_equivariance --nce_idt false", 1, [(2, False), (2, True)]),
    ("--flip_equivariance --nce_idt false", 0, [(2, False), (2, True), (2, True)]),
])
def test_the_input_is_encoded_by_the_pass_that_translates_it(
    build: Build, flags: str, seed: int, passes: list[tuple[int, bool]]
) -> None:
    model = build(flags)
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
    "", "--CUT_mode FastCUT", "--CUT_mode FastCUT --nce_idt", "--netG resnet_9blocks --nce_layers 3,10,16",
    "--nce_layers 5,6", "--norm none", "--norm batch --no_dropout false", "--no_antialias", "--netD multi",
    "--gan_mode hinge", "--lambda_GAN 0", "--num_patches 1000 --netF_nc 3", "--nce_T 1",
])
def test_steps_work_with(build: Build, flags: str) -> None:
    model = build(flags)
    before = {name: weights(network) for name, network in model.networks.items()}
    for _ in range(2):
        losses = train_step(model, [batch(count=2)])
    check_step(model, before, losses)


def test_without_its_weight_there_are_no_heads(build: Build) -> None:
    model = build("--lambda_NCE 0")
    losses = train_step(model, [batch()])
    assert set(model.networks) == {"G", "D"}
    assert losses.keys() == {"D_real", "D_fake", "G_GAN", "G"}


def test_defaults_are_the_published_ones(tmp_path: Path) -> None:
    def values(flags: str) -> tuple[PatchFlags, tuple[int, int]]:
        options = train_options(tmp_path, f"--model cut {flags}", defaults=())
        assert (options[TrainFlags].lr, options[TrainFlags].pool_size) == (0.0002, 0)
        return options[PatchFlags], (options[TrainFlags].n_epochs, options[TrainFlags].n_epochs_decay)

    slow = PatchFlags("CUT", 1.0, 1.0, True, (0, 4, 8, 12, 16), 256, 256, 0.07, False)
    fast = PatchFlags("FastCUT", 1.0, 10.0, False, (0, 4, 8, 12, 16), 256, 256, 0.07, True)
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
])
def test_flags_that_cannot_work_are_refused_in_one_sentence(
    parse: Callable[[str], Options], flags: str, message: str
) -> None:
    with pytest.raises(UserError, match=message) as caught:
        MODELS["cut"](parse(flags), training=True)
    assert "\n" not in str(caught.value)
