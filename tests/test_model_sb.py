"""Model sb: its walk, one optimisation step from the published formulation, and translations in several steps."""

from __future__ import annotations

import copy
import math
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from steps import assert_same_steps, batch, build_model, checked_steps
from tiny import METHODS, NETWORKS, SIZES, save_folders, train_options, train_step, translate_options
from torch import Tensor, nn

from models import MODELS
from models.image_pool import PreviousImages
from models.networks.bridge import BridgeGenerator, TimeDiscriminator, sinusoids
from models.sb import BridgeModel, walk
from options import TrainFlags
from test import translate
from train import train
from util.errors import UserError

DEFAULTS = (NETWORKS, SIZES, METHODS["UNSB"])
LAYERS = (0, 4, 8, 12)


def build(root: Path, flags: str = "", *, double: bool = False, method: str = "UNSB") -> BridgeModel:
    return build_model(root, flags, defaults=(NETWORKS, SIZES, METHODS[method]), double=double)


def times(steps: int) -> list[float]:
    """Compute the times as published: 0, and from 1/2 on the cumulated sums of 0, 1, 1/2, 1/3, ..., up to 1."""
    sums = [sum([0, *(1 / (number + 1) for number in range(steps - 1))][: end + 1]) for end in range(steps)]
    return [0, *(0.5 + 0.5 * value / sums[-1] for value in sums)]


@pytest.mark.parametrize("steps", [2, 3, 5, 8])
def test_the_walk_goes_through_the_published_times(steps: int) -> None:
    found, at = walk(steps, 0.25), times(steps)
    assert len(found) == steps - 1
    for number, (share, noise) in enumerate(found):
        delta, rest = at[number + 1] - at[number], at[-1] - at[number]
        assert share == pytest.approx(delta / rest)
        assert noise == pytest.approx(math.sqrt(0.25 * delta * (1 - delta / rest)))
    assert walk(1, 0.25) == []


# --- networks -------------------------------------------------------------------------------------------------------


def test_the_generator_is_its_formulation() -> None:
    torch.manual_seed(0)
    network = BridgeGenerator(ngf=4, blocks=2).double()
    images, latent = (torch.randn(2, *shape, dtype=torch.float64) for shape in ((3, 8, 12), (16,)))
    time = torch.tensor([3])
    rates = [1, 1 / 10000]
    angles = torch.tensor([3 * rate for rate in rates], dtype=torch.float64)
    x = torch.cat([angles.sin(), angles.cos()])[None]
    torch.testing.assert_close(sinusoids(time, 4).double(), x, rtol=1e-6, atol=1e-7)
    now = network.time_embed(sinusoids(time, 4).double())
    z = latent / (latent.square().mean(dim=1, keepdim=True) + 1e-8).sqrt()
    for layer in list(network.mapping)[1:]:
        z = layer(z)
    x, features = images, []
    for number, layer in enumerate(network.encoder):  # convolutions with their biases, which normalisation removes
        x = nn.Conv2d.forward(layer, x) if isinstance(layer, nn.Conv2d) else layer(x.clone())
        features += [x.clone()] if number in LAYERS else []
    for block in network.blocks:
        scale, shift = block.adaptive.linear(z)[..., None, None].chunk(2, dim=1)
        x = x + block.second(scale * block.first(x) + shift + block.time(now)[..., None, None])
        features += [x] if len(features) < 4 else []
    torch.testing.assert_close(network(images, time, latent), network.decoder(x))
    for found, expected in zip(network(images, time, latent, LAYERS), features, strict=True):
        torch.testing.assert_close(found, expected)
    assert network.channels_of(LAYERS) == [feature.shape[1] for feature in features]


@pytest.mark.parametrize("norm", ["instance", "none"])
def test_time_and_latent_matter_in_every_block(norm: str) -> None:
    """A shift of a channel before instance normalisation would be removed."""
    torch.manual_seed(0)
    network, critic = BridgeGenerator(ngf=4, blocks=1, norm=norm), TimeDiscriminator(ndf=4, n_layers=2, norm=norm)
    images, latent = torch.randn(1, 3, 16, 16), torch.randn(1, 16)
    now, later = torch.tensor([0]), torch.tensor([4])
    assert (network(images, now, latent) - network(images, later, latent)).abs().max() > 1e-3
    assert (network(images, now, latent) - network(images, now, -latent)).abs().max() > 1e-3
    for layer in critic.layers:
        x = torch.randn(1, layer.convolution[0].in_channels, 8, 8)
        early, late = (critic.time_embed(sinusoids(moment, 16)) for moment in (now, later))
        assert (layer(x, early) - layer(x, late)).abs().max() > 1e-3
    assert critic(images, now).shape == (1, 1, 2, 2)


# --- one whole step -------------------------------------------------------------------------------------------------


class PlainStep:
    """One optimisation step, straight from the published formulation, with a loop over images."""

    def __init__(self, model: BridgeModel) -> None:
        self.networks, self.previous = copy.deepcopy(model.networks), None
        self.g, self.d, self.e, self.heads = (self.networks[name] for name in ("G", "D", "E", "F"))
        self.parameters = {"G": [*self.g.parameters(), *self.heads.parameters()],
                           "D": list(self.d.parameters()), "E": list(self.e.parameters())}
        self.optimizers = {name: torch.optim.Adam(of, lr=0.01, betas=(0.5, 0.999))
                           for name, of in self.parameters.items()}

    def descend(self, name: str, loss: Tensor) -> None:
        gradients = torch.autograd.grad(loss, self.parameters[name], retain_graph=True, materialize_grads=True)
        for parameter, gradient in zip(self.parameters[name], gradients, strict=True):
            parameter.grad = gradient
        self.optimizers[name].step()

    def guess(self, x: Tensor, t: int) -> Tensor:
        return self.g(x, torch.tensor([t]), torch.randn(len(x), 16, dtype=torch.float64))

    def walk(self, x: Tensor, t: int) -> Tensor:
        at = times(3)
        for number in range(t):
            delta, rest = at[number + 1] - at[number], at[-1] - at[number]
            end = self.guess(x, number).detach()
            noise = (0.3 * delta * (1 - delta / rest)) ** 0.5 * torch.randn_like(x)
            x = (1 - delta / rest) * x + delta / rest * end + noise
        return x

    def energies(self, x: Tensor, ends: Tensor, t: Tensor) -> tuple[list[Tensor], list[Tensor]]:
        alike, unlike = [], []
        for i in range(2):
            one, other = (torch.cat([x[[j]], ends[[j]]], dim=1) for j in (i, i + 2))
            alike.append(self.e(torch.cat([one, one], dim=1), t).mean())
            unlike.append(self.e(torch.cat([one, other], dim=1), t).exp().sum().log())
        return alike, unlike

    def nce(self, source: Tensor, target: Tensor) -> Tensor:
        latent, t = torch.randn(len(source), 16, dtype=torch.float64), torch.tensor([0])
        losses = []
        for head, of_target, of_source in zip(self.heads.heads, self.g(target, t, latent, LAYERS),
                                              self.g(source, t, latent, LAYERS), strict=True):
            places = torch.randperm(of_source.shape[2] * of_source.shape[3])[:16]
            q, k = (F.normalize(head(of.flatten(2)[:, :, places].mT), dim=2) for of in (of_target, of_source.detach()))
            logits = q @ k.detach().mT / 0.07
            losses.append((logits.logsumexp(2) - logits.diagonal(dim1=1, dim2=2)).mean())
        return sum(losses) / len(losses)

    def __call__(self, images: dict[str, Tensor]) -> dict[str, Tensor]:
        t, (a, b) = int(torch.randint(3, ()).item()), (images["A"], images["B"])
        other = a.flip(2, 3) if self.previous is None else self.previous
        self.previous = a
        x = self.walk(torch.cat([a, other]), t)
        ends = self.guess(x, t)
        fake, now = ends[:2], torch.tensor([t])
        idt = self.guess(self.walk(b, t), t)
        losses = {"D_real": (self.d(b, now) - 1).square().mean(), "D_fake": self.d(fake.detach(), now).square().mean()}
        self.descend("D", (losses["D_real"] + losses["D_fake"]) / 2)
        pairs = list(zip(*self.energies(x, ends.detach(), now), strict=True))
        losses["E_entropy"] = sum(-alike + unlike + unlike**2 for alike, unlike in pairs) / 2
        self.descend("E", losses["E_entropy"])
        losses["G_GAN"] = (self.d(fake, now) - 1).square().mean()
        pairs = list(zip(*self.energies(x, ends, now), strict=True))
        mutual = sum(alike - unlike for alike, unlike in pairs) / 2
        losses["G_SB"] = 2 * (0.3 * (x[:2] - fake).square().mean() - (3 - t) / 3 * 0.3 * mutual)
        losses |= {"G_NCE": 5 * self.nce(a, fake) / 2, "G_NCE_idt": 5 * self.nce(b, idt) / 2}
        losses["G"] = sum(loss for name, loss in losses.items() if name.startswith("G_"))
        self.descend("G", losses["G"])
        return losses


def test_steps_equal_the_published_formulation(tmp_path: Path) -> None:
    model = build(tmp_path, "--lr 0.01 --init_gain 0.5 --tau 0.3 --lambda_SB 2 --lambda_NCE 5", double=True)
    for parameter in model.networks["F"].parameters():
        torch.nn.init.normal_(parameter, 0.0, 0.5)
    images = batch(7, 2, dtype=torch.float64)
    assert_same_steps(model, PlainStep(model), images, steps=4)


def test_other_images_are_those_of_the_step_before_at_the_size_of_these() -> None:
    previous, first = PreviousImages(), torch.rand(2, 3, 4, 6)
    assert torch.equal(previous.swap(first), first.flip(2, 3))
    again = PreviousImages()
    again.load_state_dict(previous.state_dict())
    second = torch.rand(3, 3, 4, 6)
    assert torch.equal(again.swap(second), previous.swap(second))
    assert torch.equal(previous.swap(first[:1]), second[:1])
    assert torch.equal(again.swap(torch.rand(5, 3, 4, 6)), second[[0, 1, 2, 0, 1]])
    assert again.swap(torch.rand(1, 3, 8, 8)).shape == (1, 3, 8, 8)


@pytest.mark.parametrize("flags", [
    "--nce_idt false", "--lambda_NCE 0", "--lambda_SB 0", "--num_timesteps 1", "--preprocess none", "--gan_mode hinge",
    "--structure fsesim --attn_layers relu1_2 --vgg_weights random",
])
def test_steps_work_with(tmp_path: Path, flags: str) -> None:
    model = build(tmp_path, flags)
    sizes = {"size_a": (17, 22), "size_b": (20, 18)} if "preprocess" in flags else {}
    if flags == "--lambda_SB 0":
        assert "G_SB" not in train_step(model, [batch()])
    else:
        checked_steps(model, batch(0, 2, **sizes), batch(1, 1, **sizes))
    if "fsesim" in flags:
        assert "F" not in model.networks
        assert "G_spatial" in train_step(model, [batch()])


# --- translations ---------------------------------------------------------------------------------------------------


def test_images_are_translated_one_by_one_as_together_in_any_number_of_steps(tmp_path: Path) -> None:
    trained = build(tmp_path, "--seed 3 --init_gain 0.5")
    images = batch(1, 2)["A"]
    results = []
    for nfe in (1, 2, 3):
        flags = f"--model sb --ngf 4 --num_timesteps 3 --netG resnet_6blocks --nfe {nfe} --seed 3"
        model = MODELS["sb"](translate_options(tmp_path, tmp_path, flags), training=False)
        model.networks["G"].load_state_dict(trained.networks["G"].state_dict())
        with torch.no_grad():
            results.append(model.translate(images))
            for number in range(2):
                torch.testing.assert_close(
                    model.translate(images[[number]]), results[-1][[number]], rtol=0, atol=1e-3)
    assert not torch.allclose(results[0], results[1])
    with torch.no_grad():
        torch.testing.assert_close(trained.translate(images), results[2], rtol=0, atol=1e-3)


def test_a_trained_bridge_is_translated_by_its_own_model_only(tmp_path: Path) -> None:
    root = save_folders(tmp_path, counts=(2, 2))
    train(train_options(root, "--no_html --max_iters 1 --seed 1", defaults=DEFAULTS))
    save_folders(root, "test", counts=(1, 1))
    translate(translate_options(root, root, "--model sb --nfe 2"))
    assert len(list((root / "results").glob("*/*/images/fake_B/*.png"))) == 1
    for flags, message in (("--model sb --nfe 4", "--nfe 4: the bridge has 3 steps"),
                           ("--model sb --tile 64", "--tile: --model sb translates in several steps"),
                           ("--model test", "was trained with --model sb, whose generator needs steps: add --model")):
        with pytest.raises(UserError, match=message):
            translate(translate_options(root, root, flags))


def test_defaults(tmp_path: Path) -> None:
    options = train_options(tmp_path, "--model sb", defaults=())
    assert (options[TrainFlags].lr, options[TrainFlags].pool_size) == (0.0002, 0)
    values = options.as_dict()
    assert (values["num_timesteps"], values["tau"], values["lambda_SB"], values["structure"]) == (5, 0.01, 1, "nce")


@pytest.mark.parametrize(("flags", "message"), [
    ("--netG unet_128", "--netG unet_128 knows no time: --model sb needs resnet_9blocks or resnet_6blocks"),
    ("--netD multi", "--netD multi knows no time"), ("--input_nc 1", "needs --input_nc equal to --output_nc"),
    ("--pool_size 5", "--model sb has no image pool"), ("--gan_mode wgangp", "needs a gradient penalty"),
    ("--structure nce --learned_attn", "--learned_attn and --structure nce contradict each other"),
    ("--nce_layers 0,18", "--nce_layers: there is no layer 18"),
    ("--netD basic", "--crop_size 16 is too small for the discriminator, which needs 24 pixels"),
    ("--dataset_mode single", "--dataset_mode single has no images of the target domain"),
])
def test_flags_that_cannot_work_are_refused_in_one_sentence(tmp_path: Path, flags: str, message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        build(tmp_path, flags)
    assert "\n" not in str(caught.value)
