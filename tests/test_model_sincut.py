"""Model sincut: features of the stylegan2 encoder, one step against plain formulas, and the way to a translation."""

from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from steps import Descent, assert_same_steps, batch, build_model
from test_model_sinsc import squared_slopes
from tiny import METHODS, NETWORKS, SIZES, save_noise, train_options, translate_options
from torch import Tensor, nn

import test as translation
from models.cut import PatchFlags
from models.networks import create_generator
from models.sincut import SinglePatchFlags, SinglePatchModel
from options import DataFlags, NetworkFlags, TrainFlags
from train import train
from util.errors import UserError


def build(root: Path, flags: str = "", *, double: bool = False) -> SinglePatchModel:
    return build_model(root, flags, defaults=(NETWORKS, SIZES, METHODS["SinCUT"]), double=double)


@pytest.mark.parametrize(("name", "downsamplings", "depth"), [("stylegan2", 1, 6), ("smallstylegan2", 2, 5)])
def test_features_are_what_each_layer_of_the_encoder_gives(name: str, downsamplings: int, depth: int) -> None:
    generator = create_generator(name, ngf=1, size=32, downsamplings=downsamplings).double().eval()
    images = torch.rand(2, 3, 8, 12, dtype=torch.float64)
    outputs = [images]
    for layer in generator.encoder.convs[1:]:
        outputs.append(layer(outputs[-1]))
    layers = tuple(range(depth))
    translated, *features = generator(images, layers)
    assert (generator.encoder_depth, len(outputs)) == (depth, depth)
    assert torch.equal(translated, generator(images))
    assert all(torch.equal(*pair) for pair in zip(features, outputs, strict=True))
    assert generator.channels_of(layers) == [output.shape[1] for output in outputs]
    assert torch.equal(generator(images, (0, 3), True)[1], outputs[3])


class PlainStep(Descent):
    """One optimisation step, straight from the mathematics; one patch of each image, or 8."""

    def __init__(self, model: SinglePatchModel, patches: int) -> None:
        self.networks, self.patches = copy.deepcopy(model.networks), patches
        self.g, self.d, self.heads = (self.networks[name] for name in ("G", "D", "F"))
        self.optimizers = {name: torch.optim.Adam(network.parameters(), lr=0.002, betas=(0.0, 0.99))
                           for name, network in self.networks.items()}

    def features(self, x: Tensor) -> list[Tensor]:
        first = self.g.encoder.convs[1](x)
        second = self.g.encoder.convs[2](first)
        return [x, second, self.g.encoder.convs[3](second)]

    def contrast(self, image: Tensor, output: Tensor) -> Tensor:
        losses = []
        layers = zip(self.heads.heads, self.features(output), self.features(image), strict=True)
        for (first, _, second), target, source in layers:
            places = torch.randperm(target.shape[2] * target.shape[3])[: self.patches].tolist()
            rows: list[list[Tensor]] = [[], []]
            for found, features in zip(rows, (target, source), strict=True):
                for one in features:
                    for place in places:
                        head = second(first(one[:, place // one.shape[2], place % one.shape[2]]).clamp(min=0))
                        found.append(head / head.norm())
            for number, query in enumerate(rows[0]):
                logits = torch.stack([query @ key.detach() for key in rows[1]]) / 0.07
                losses.append((logits.logsumexp(0) - logits[number]) / len(rows[0]))
        return sum(losses) / 3

    def __call__(self, images: dict[str, Tensor]) -> dict[str, Tensor]:
        a, b = images["A"], images["B"]
        fake, same = self.g(a), self.g(b)
        losses = {"D_real": (1 + (-self.d(b)).exp()).log().mean(),
                  "D_fake": (1 + self.d(fake.detach()).exp()).log().mean(),
                  "D_R1": 3 / 2 * squared_slopes(self.d, b).mean()}
        self.descend((losses["D_real"] + losses["D_fake"]) / 2 + losses["D_R1"], "D")
        losses["G_GAN"] = (1 + (-self.d(fake)).exp()).log().mean()
        losses["G_NCE"] = 4 * self.contrast(a, fake) / 2
        losses["G_NCE_idt"] = 4 * self.contrast(b, same) / 2
        losses["G_identity"] = 5 * (same - b).abs().mean()
        losses["G"] = sum(value for name, value in losses.items() if name.startswith("G_"))
        self.descend(losses["G"], "G", "F")
        return losses


@pytest.mark.parametrize("patches", [1, 8])
def test_steps_equal_the_plain_formulas(tmp_path: Path, patches: int) -> None:
    """The negatives of a patch are those of the whole batch."""
    flags = f"--batch_size 3 --num_patches {patches} --lambda_R1 3 --lambda_identity 5"
    model = build(tmp_path, flags, double=True)
    for parameter in model.networks["F"].parameters():
        nn.init.normal_(parameter, 0.0, 0.5)
    assert_same_steps(model, PlainStep(model, patches), batch(7, 3, dtype=torch.float64), steps=2)


def test_defaults_are_the_published_ones(tmp_path: Path) -> None:
    options = train_options(tmp_path, "--model sincut", defaults=())
    patch, single, train_flags = options[PatchFlags], options[SinglePatchFlags], options[TrainFlags]
    assert (patch.nce_layers, patch.num_patches, patch.lambda_NCE, patch.nce_idt) == ((0, 2, 4), 1, 4, True)
    assert patch.nce_includes_all_negatives_from_minibatch
    assert (single.lambda_R1, single.lambda_identity) == (1, 1)
    assert (train_flags.lr, train_flags.beta1, train_flags.beta2, train_flags.pool_size) == (0.002, 0, 0.99, 0)
    assert (train_flags.n_epochs, train_flags.n_epochs_decay, train_flags.gan_mode) == (8, 8, "nonsaturating")
    networks, data = options[NetworkFlags], options[DataFlags]
    assert (networks.netG, networks.netD, networks.ngf, networks.ndf) == ("stylegan2", "stylegan2", 10, 8)
    assert networks.stylegan2_G_num_downsampling == 1
    assert (data.load_size, data.crop_size, data.batch_size, data.preprocess, data.dataset_mode) == (
        1024, 64, 16, "zoom_and_patch", "singleimage")
    assert train_options(tmp_path, "--model cut", defaults=())[PatchFlags].num_patches == 256


def test_from_two_images_to_a_translation_at_the_photographs_own_size(tmp_path: Path) -> None:
    save_noise(tmp_path / "trainA/photo.png", 0, size=(71, 45))
    save_noise(tmp_path / "trainB/painting.png", 1, size=(40, 62))
    flags = ("--model sincut --ngf 1 --ndf 1 --crop_size 16 --max_dataset_size 4 --batch_size 4 --netF_nc 8 "
             "--n_epochs 1 --n_epochs_decay 0 --no_html --seed 1")
    train(train_options(tmp_path, flags, defaults=()))
    translation.translate(translate_options(tmp_path, tmp_path, "--model sincut"))
    (file,) = (tmp_path / "results").glob("*/train_latest/images/fake_B/*.png")
    assert np.array(Image.open(file)).shape == (45, 71, 3)


@pytest.mark.parametrize(("flags", "message"), [
    ("--num_patches 1", "--nce_loss patchnce needs negatives: use --num_patches 2 or more"),
    ("--nce_idt false", "--lambda_identity compares translations of B"),
    ("--amp fp16", "--lambda_R1 needs second derivatives"), ("--nce_layers 0,9", "no layer 9 in the encoder"),
    ("--netG unet_128", "--netG unet_128 has no encoder"),
])
def test_flags_that_cannot_work_are_refused_in_one_sentence(tmp_path: Path, flags: str, message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        build(tmp_path, flags)
    assert "\n" not in str(caught.value)


def test_without_its_weights_there_is_neither_penalty_nor_identity(tmp_path: Path) -> None:
    model = build(tmp_path, "--lambda_R1 0 --lambda_identity 0 --nce_idt false")
    assert model.r1 == 0
    assert model._more_terms() == {}
