"""Model sc: what one optimisation step computes, from which images, and that every flag works."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from steps import assert_same_steps, batch, build_model, checked_steps, weights
from tiny import train_options, train_step
from torch import Tensor, nn

from models import structure as structure_module
from models.image_pool import ImagePool
from models.losses.perceptual import PERCEPTUAL_LAYERS, STYLE_LAYERS, perceptual_loss, style_loss
from models.networks import GENERATORS, VGG16Features, create_generator
from models.sc import SpatialCorrelativeModel
from models.translation import translate_any_size
from util.errors import UserError

Size = tuple[int, int]


def build(root: Path, flags: str = "", *, double: bool = False) -> SpatialCorrelativeModel:
    return build_model(root, f"--model sc {flags}", double=double)


# --- one whole step against plain formulas --------------------------------------------------------------------------


def plain_similarity(features: Tensor, positions: Tensor, patch: int) -> Tensor:
    """Compute the loss section by section from the paper, with a loop over queries."""
    features = features - features.mean(dim=(2, 3), keepdim=True)
    features = features / features.shape[1] ** 0.5
    height, width = features.shape[2:]
    rows = []
    for position in positions.tolist():
        y, x = divmod(position, width)
        top, left = min(max(y - patch // 2, 0), height - patch), min(max(x - patch // 2, 0), width - patch)
        keys = features[:, :, top:top + patch, left:left + patch].flatten(2)
        rows.append(torch.tanh((features[:, :, y, x, None] * keys).sum(dim=1) / 10))
    return torch.stack(rows, dim=1)


def plain_distance(source: Tensor, target: Tensor) -> Tensor:
    count = target.shape[2]
    kept = target.detach() >= target.detach().sort(dim=2, descending=True).values[:, :, count // 4, None]
    source, target = source * kept, target * kept
    cosine = (source * target).sum(2) / (source.square().sum(2).sqrt() * target.square().sum(2).sqrt())
    far = 1 - cosine
    return torch.where(far < 1, 0.5 * far**2, far - 0.5).mean()


def plain_contrast(source: Tensor, positive: Tensor, other: Tensor) -> Tensor:
    losses = []
    for maps in zip(source, positive, other, strict=True):
        s, p, o = (rows / rows.norm(dim=1, keepdim=True) for rows in maps)
        for i in range(len(s)):
            logits = torch.cat([p @ s[i], o @ s[i], o @ p[i]]) / 0.07
            losses.append(logits.logsumexp(0) - logits[i])
    return torch.stack(losses).mean()


class PlainStep:
    """One optimisation step of FSeSim or LSeSim, written straight from the mathematics."""

    def __init__(self, model: SpatialCorrelativeModel, learned: bool) -> None:
        self.g, self.d = copy.deepcopy(model.networks["G"]), copy.deepcopy(model.networks["D"])
        self.heads = copy.deepcopy(model.structure.loss.heads) if learned else [nn.Identity(), nn.Identity()]
        self.learned = learned
        self.vgg = VGG16Features(["relu1_2", "relu2_1"], "random").double()
        trained = {"G": self.g, "D": self.d} | ({"F": self.heads} if learned else {})
        self.networks = trained
        self.optimizers = {name: torch.optim.Adam(network.parameters(), lr=0.01, betas=(0.5, 0.999))
                           for name, network in trained.items()}

    def maps(self, image: Tensor, positions: list[Tensor]) -> list[Tensor]:
        features = [head(f) for head, f in zip(self.heads, self.vgg(image), strict=True)]
        return [plain_similarity(f, p, 4) for f, p in zip(features, positions, strict=True)]

    @staticmethod
    def positions() -> list[Tensor]:
        return [torch.randperm(256)[:8], torch.randperm(64)[:8]]  # 16 x 16 pixels, strides 1 and 2

    def over_layers(self, loss: Callable[..., Tensor], positions: list[Tensor], *images: Tensor) -> Tensor:
        layers = zip(*(self.maps(image, positions) for image in images), strict=True)
        return sum(loss(*layer) for layer in layers) / 2

    def descend(self, name: str, loss: Tensor) -> None:
        gradients = torch.autograd.grad(loss, list(self.networks[name].parameters()), materialize_grads=True)
        for parameter, gradient in zip(self.networks[name].parameters(), gradients, strict=True):
            parameter.grad = gradient
        self.optimizers[name].step()

    def train_heads(self, images: dict[str, Tensor], fake: Tensor) -> Tensor:
        a, positions = images["A"], self.positions()
        translated = self.over_layers(plain_contrast, positions, a, fake, images["B"].flip(2, 3))
        jittered = self.over_layers(plain_contrast, positions, a, images["A_aug"], images["B_aug"].flip(2, 3))
        loss = (translated + jittered) / 2
        self.descend("F", loss)
        return loss

    def __call__(self, images: dict[str, Tensor]) -> dict[str, Tensor]:
        a, b = images["A"], images["B"]
        fake = self.g(a)
        losses = {}
        if self.learned:
            losses["F_contrastive"] = self.train_heads(images, fake.detach())
        losses["D_real"] = (self.d(b) - 1).square().mean()
        losses["D_fake"] = self.d(fake.detach()).square().mean()
        self.descend("D", (losses["D_real"] + losses["D_fake"]) / 2)
        losses["G_GAN"] = (self.d(fake) - 1).square().mean()
        losses["G_spatial"] = 10 * self.over_layers(plain_distance, self.positions(), a, fake)
        losses["G"] = losses["G_GAN"] + losses["G_spatial"]
        self.descend("G", losses["G"])
        return losses


@pytest.mark.parametrize("learned", [False, True])
def test_steps_equal_the_plain_formulas(tmp_path: Path, learned: bool) -> None:
    flags = "--lr 0.01 --pool_size 0 --init_gain 0.5" + " --learned_attn --augment" * learned
    model = build(tmp_path, flags, double=True)
    assert_same_steps(model, PlainStep(model, learned), batch(7, 2, dtype=torch.float64), steps=3, rel=1e-9, rtol=1e-7,
                      atol=1e-12, compare_weights=True)


# --- which networks see and change what -----------------------------------------------------------------------------


@pytest.mark.parametrize(("flags", "distinct", "again"), [
    ("", 2, 0), ("--lambda_perceptual 1", 2, 0), ("--loss_mode info", 3, 0), ("--lambda_identity 1", 2, 0),
    ("--learned_attn", 3, 0), ("--learned_attn --augment", 5, 0), ("--learned_attn --augment --vgg_lr_scale 0.5", 5, 2),
    ("--learned_attn --vgg_lr_scale 0.5 --lambda_spatial_idt 1 --loss_mode info", 5, 3),
    ("--lambda_style 1", 3, 0), ("--lambda_spatial_idt 1", 4, 0), ("--lambda_spatial 0", 0, 0),
])
def test_each_image_passes_vgg_once_and_the_generators_again_where_vgg_learned(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, flags: str, distinct: int,
    again: int,
) -> None:
    seen: list[Tensor] = []
    forward = VGG16Features.forward

    def record(self: VGG16Features, images: Tensor) -> list[Tensor]:
        seen.extend(images.detach())
        return forward(self, images)

    monkeypatch.setattr(VGG16Features, "forward", record)
    model = build(tmp_path, flags)
    images = batch()
    train_step(model, [images if "--augment" in flags else {name: images[name] for name in "AB"}])
    assert len(seen) == distinct + again
    assert len({tuple(image.flatten().tolist()) for image in seen}) == distinct


def test_no_vgg_is_built_where_no_weight_needs_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*args: object, **kwargs: object) -> None:
        raise AssertionError("VGG16 was built")

    monkeypatch.setattr(structure_module, "create_features", refuse)
    model = build(tmp_path, "--lambda_spatial 0 --learned_attn --lambda_identity 1")
    assert "G_identity" in train_step(model, [batch()])
    assert set(model.networks) == set(model.optimizers) == {"G", "D"}
    with pytest.raises(AssertionError, match="VGG16"):
        build(tmp_path, "--lambda_style 1 --lambda_spatial 0")


@pytest.mark.parametrize("learns", [False, True])
def test_vgg_is_frozen_unless_vgg_lr_scale_trains_it(
    tmp_path: Path, learns: bool
) -> None:
    model = build(tmp_path, "--learned_attn --augment --lambda_style 1" + " --vgg_lr_scale 0.5" * learns)
    before = weights(model.structure.vgg)
    train_step(model, [batch()])
    assert all(map(torch.equal, before, weights(model.structure.vgg))) is not learns
    assert ("VGG" in model.networks) is learns
    if not learns:
        assert all(p.grad is None and not p.requires_grad for p in model.structure.vgg.parameters())
    rates = [group["lr"] for group in model.optimizers["F"].param_groups]
    assert rates == ([1e-4, 5e-5] if learns else [1e-4])


# --- every flag -----------------------------------------------------------------------------------------------------


CASES = [
    "--loss_mode info", "--loss_mode info --learned_attn --augment --use_norm", "--loss_mode l1 --use_norm",
    "--patch_nums inf",
    "--lambda_spatial_idt 1 --lambda_spatial 0 --learned_attn", "--lambda_identity 1",
    "--lambda_perceptual 1 --lambda_style 1 --lambda_spatial 0",
    "--learned_attn --augment --vgg_lr_scale 1 --lambda_perceptual 1",
    *(f"--gan_mode {mode} --lambda_gradient 1" for mode in ("lsgan", "vanilla", "hinge", "nonsaturating", "wgangp")),
    "--netD multi --gan_mode hinge", "--netD multi --gan_mode wgangp --lambda_gradient 10", "--netD n_layers",
    "--netG unet_128 --norm none --netD pixel", "--no_antialias --no_antialias_up --norm batch",
    "--no_dropout false --pool_size 0 --init_type kaiming", "--netG unet_128 --no_dropout false --init_type orthogonal",
    "--netG stylegan2 --netD stylegan2 --gan_mode nonsaturating --lambda_gradient 1",
    "--netG smallstylegan2 --stylegan2_G_num_downsampling 2 --netD tilestylegan2 --D_patch_size 8",
]


@pytest.mark.parametrize("flags", CASES)
def test_steps_work_with(tmp_path: Path, flags: str) -> None:
    model = build(tmp_path, flags)
    losses = checked_steps(model, batch(count=2))
    assert {name.split("_", 1)[1] for name in losses if name.startswith("G_")} == {"GAN"} | {
        term for term in ("spatial", "spatial_idt", "identity", "perceptual", "style")
        if f"--lambda_{term} 1" in flags or (term == "spatial" and "--lambda_spatial 0" not in flags)}
    assert ("F_contrastive" in losses) is ("--learned_attn" in flags)
    assert ("D_penalty" in losses) is ("--lambda_gradient" in flags)


@pytest.mark.parametrize("flags", ["--learned_attn --augment --vgg_lr_scale 1 --lambda_gradient 1",
                                   "--loss_mode info --lambda_spatial_idt 1 --lambda_identity 1",
                                   "--lambda_perceptual 1 --lambda_style 1"])
def test_steps_work_with_images_of_different_sizes(
    tmp_path: Path, flags: str
) -> None:
    model = build(tmp_path, f"{flags} --preprocess none --pool_size 1")
    sizes = [(17, 22), (24, 16), (19, 19), (16, 30)]
    for size_a, size_b in zip(sizes, sizes[::-1], strict=True):
        checked_steps(model, batch(size_a=size_a, size_b=size_b))
        assert model.visuals()["fake_B"].shape[2:] == size_a


def test_optional_terms_are_what_their_names_say(tmp_path: Path) -> None:
    flags = "--lambda_identity 2 --lambda_perceptual 3 --lambda_style 5 --lambda_spatial_idt 7 --patch_nums inf"
    model = build(tmp_path, flags)
    images = batch(count=2)
    a, b = images["A"], images["B"]
    with torch.no_grad():
        fake, identity = model.translate(a), model.translate(b)
        at = {layers: [model.structure.vgg(image, layers) for image in (fake, a, b)]
              for layers in (PERCEPTUAL_LAYERS, STYLE_LAYERS)}
        expected = {
            "G_identity": 2 * (identity - b).abs().mean(),
            "G_perceptual": 3 * perceptual_loss(*at[PERCEPTUAL_LAYERS][:2]),
            "G_style": 5 * style_loss(at[STYLE_LAYERS][0], at[STYLE_LAYERS][2]),
            "G_spatial_idt": 7 * model.structure.loss(*(
                model.structure.vgg(image, model.structure.layers) for image in (b, identity))),
        }
    losses = train_step(model, [images])
    for name, value in expected.items():
        assert value > 0
        torch.testing.assert_close(losses[name], value, rtol=1e-4, atol=1e-6, msg=name)


@pytest.mark.parametrize(("flags", "message"), [
    ("--vgg_lr_scale 1", "--learned_attn"),
    ("--loss_mode l1 --patch_size 1", "--loss_mode l1 needs at least four keys"),
    ("--loss_mode l1 --attn_layers relu4_1 --crop_size 12", "--loss_mode l1 needs at least four keys"),
])
def test_flags_that_cannot_work_are_refused_before_anything_is_built(
    tmp_path: Path, flags: str, message: str
) -> None:
    with pytest.raises(UserError, match=message):
        train_options(tmp_path, flags)


# --- image pool -----------------------------------------------------------------------------------------------------


def picture(value: float, size: Size = (2, 2)) -> Tensor:
    return torch.full((1, 1, *size), float(value))


def test_pool_returns_new_images_until_it_is_full_and_then_older_ones_half_of_the_time() -> None:
    torch.manual_seed(0)
    pool = ImagePool(10)
    assert [pool.query(picture(i))[0, 0, 0, 0].item() for i in range(10)] == list(range(10))
    returned = [pool.query(picture(i))[0, 0, 0, 0].item() for i in range(10, 1010)]
    older = [value for i, value in enumerate(returned, 10) if value != i]
    assert 400 < len(older) < 600
    assert len(set(older)) == len(older)  # each leaves the pool when it is shown
    assert len(pool.images) == 10


def test_pool_keeps_its_own_copies_without_gradient() -> None:
    torch.manual_seed(1)
    pool = ImagePool(1)
    image = picture(1).requires_grad_()
    assert not pool.query(2 * image).requires_grad
    for value in range(5, 25):
        current = picture(value)
        shown = pool.query(current)
        for used in (current, shown):
            used.zero_()
        assert pool.images[0].min() > 0


def test_pool_keeps_channels_last() -> None:
    pool = ImagePool(3)
    for _ in range(3):  # while it fills, and when it is full
        images = torch.rand(2, 3, 4, 5).contiguous(memory_format=torch.channels_last)
        assert pool.query(images).stride() == images.stride()


def test_pool_with_images_of_other_sizes_answers_in_the_size_asked_for() -> None:
    torch.manual_seed(2)
    pool = ImagePool(2)
    for turn in range(40):
        size = (2, 2 + turn % 3)
        assert pool.query(picture(turn, size).repeat(2, 1, 1, 1)).shape == (2, 1, *size)


def test_stored_images_come_back_on_the_device_of_the_new_ones() -> None:
    pool = ImagePool(1)
    pool.query(picture(0))  # on the CPU, as after loading
    stored = pool.images[0]
    while pool.images[0] is stored:
        shown = pool.query(picture(1).to("meta"))
        assert shown.device.type == "meta"
    assert pool.images[0].device.type == "meta"


@pytest.mark.parametrize("flags", ["", "--init_type kaiming", "--init_gain 9"])
def test_heads_are_drawn_as_published_whatever_the_networks_are(
    tmp_path: Path, flags: str
) -> None:
    for name, weight in build(tmp_path, f"--learned_attn {flags}").structure.loss.named_parameters():
        if name.endswith("weight"):
            assert weight.std().item() == pytest.approx(0.02, rel=0.1)


def test_pool_goes_on_from_its_state() -> None:
    torch.manual_seed(3)
    pool, restored = ImagePool(4), ImagePool(4)
    for i in range(9):
        pool.query(picture(i))
    restored.load_state_dict(copy.deepcopy(pool.state_dict()))
    random = torch.get_rng_state()
    expected = [pool.query(picture(i)) for i in range(9, 30)]
    torch.set_rng_state(random)
    assert all(torch.equal(restored.query(picture(i)), image) for i, image in enumerate(expected, 9))
    smaller = ImagePool(2)
    smaller.load_state_dict(pool.state_dict())
    assert len(smaller.images) == 2


# --- any size -------------------------------------------------------------------------------------------------------


SIZES = {
    "resnet": [(1, 1), (1, 9), (7, 64), (8, 8), (37, 50), (16, 18)],
    "unet": [(1, 1), (3, 130), (128, 128)],
    "stylegan2": [(1, 1), (2, 3), (9, 31), (16, 18)],
    "smallstylegan2": [(1, 1), (7, 64)],
}


@pytest.mark.parametrize("name", list(GENERATORS))
def test_output_has_the_size_of_the_input(name: str) -> None:
    generator = create_generator(name, ngf=1).eval()
    for size in SIZES[name.split("_", maxsplit=1)[0]]:
        with torch.inference_mode():
            output = translate_any_size(generator, torch.rand(2, 3, *size) - 0.5)
        assert output.shape == (2, 3, *size)
        assert output.isfinite().all()


class Identity(nn.Module):
    """Records what it is given."""

    multiple = least_size = 8

    def forward(self, images: Tensor) -> Any:
        self.given = images
        return images


def test_edges_are_mirrored_and_cut_off_again() -> None:
    generator = Identity()
    images = torch.rand(1, 3, 13, 6)
    assert torch.equal(translate_any_size(generator, images), images)
    assert torch.equal(generator.given, F.pad(images, (0, 2, 0, 3), mode="reflect"))
    small = torch.rand(1, 3, 3, 2)
    assert torch.equal(translate_any_size(generator, small), small)
    assert torch.equal(generator.given, F.pad(small, (0, 6, 0, 5), mode="replicate"))
