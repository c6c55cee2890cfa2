"""UNSB: the unpaired neural Schroedinger bridge (Kim, Kwon, Kim, Ye: ICLR 2024, arXiv 2305.15086).

A translation is a walk of T steps from A to B. At step t of the times t_0 = 0 < ... < t_T = 1, G guesses the end of the
walk, x_1 = G(x_t, t, z) with a random vector z; the walk goes a part of the way, and noise is added:

    x_0 = A,    x_t+1 = (1 - s) x_t + s x_1 + sqrt(tau (t_t+1 - t_t) (1 - s)) n,    s = (t_t+1 - t_t) / (1 - t_t)

A training step draws one t, walks there without gradient, and trains the guess. D compares guesses with images of B,
and knows t. A network E estimates the entropy of the pair p = (x_t, x_1), as its mutual information with itself, by a
bound like that of Donsker and Varadhan; p' is the pair of another image:

    L_E = -mean E(p, p) + L + L^2,    L = log sum exp E(p, p')
    L_G = lambda_GAN * L_GAN(D, x_1) + lambda_SB * tau * (mean (x_t - x_1)^2 - (T - t) / T * (mean E(p, p) - L))
        + lambda_NCE * (L_PatchNCE(A, x_1) + L_PatchNCE(B, G(x_t of B, t, z))) / 2               with --structure nce
        + lambda_spatial * L_structure(A, x_1)                                     with --structure fsesim or lsesim

Means and sums are over the places of an image, and the losses are means over images. The other image of p' is that of
the step before.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, ClassVar, cast

import torch
import torch.nn.functional as F
from torch import Tensor

from options import DataFlags, NetworkFlags, Options, RunFlags, TestFlags, TrainFlags, flag, has_crop
from util.errors import UserError

from .base import Model
from .building import adam, refuse_one_domain, refuse_pool_and_penalty, refuse_way_back
from .cut import PAIRS, ContrastFlags, patch_loss
from .image_pool import PreviousImages
from .networks import initialize
from .networks.bridge import BridgeGenerator, ScaleAndShift, TimeDiscriminator
from .objective import Minimize, Objective, total
from .structure import PairFeatures
from .structure_flags import StructureFlags, check_choice, implied_by
from .translation import pad_to_fit, translate_any_size

BLOCKS = {"resnet_9blocks": 9, "resnet_6blocks": 6}


@dataclass(frozen=True)
class BridgeFlags:
    """The bridge."""

    num_timesteps: int = flag(5, "steps of the bridge", minimum=1, maximum=1000)
    tau: float = flag(0.01, "variance of the noise of the bridge, and weight of its entropy", minimum=0)
    lambda_SB: float = flag(1.0, "weight of the bridge's own loss: distance and entropy", minimum=0)
    structure: str = flag("nce", "loss that keeps the structure: nce (PatchNCE, as in CUT), fsesim, or lsesim (which "
                          "learns best with --augment)", choices=("nce", "fsesim", "lsesim"))


@dataclass(frozen=True)
class WalkFlags:
    """Steps of a translation."""

    nfe: int | None = flag(None, "steps of a translation, each a pass through the generator, up to --num_timesteps",
                           minimum=1, unset="all")


class BridgeModel(Model):
    """``--model sb``. Networks: G, D, E and F (the heads of PatchNCE, or of LSeSim)."""

    flags: ClassVar[tuple[type, ...]] = (BridgeFlags, ContrastFlags, StructureFlags)
    test_flags: ClassVar[tuple[type, ...]] = (WalkFlags,)
    inherited: ClassVar[tuple[str, ...]] = ("num_timesteps", "tau")
    published = ("G", "D", "E")
    shown = ("real_A", "noisy_A", "fake_B", "real_B", "idt_B")
    learned_losses = ("F",)

    @classmethod
    def defaults(cls, training: bool) -> Mapping[str, Any]:
        return {"pool_size": 0, "lr": 0.0002} if training else {}

    @classmethod
    def implied(cls, typed: Mapping[str, Any]) -> Mapping[str, Any]:
        return implied_by(typed)

    @classmethod
    def check(cls, options: Options) -> None:
        flags, network, data = options[BridgeFlags], options[NetworkFlags], options[DataFlags]
        if network.netG not in BLOCKS:
            raise UserError(f"--netG {network.netG} knows no time: --model sb needs resnet_9blocks or resnet_6blocks")
        check_choice(flags.structure, options)
        if TrainFlags not in options:
            refuse_way_back(options)
            steps = options[WalkFlags].nfe
            if steps and steps > flags.num_timesteps:
                raise UserError(f"--nfe {steps}: the bridge has {flags.num_timesteps} steps; choose at most as many")
            if options[TestFlags].tile:
                raise UserError("--tile: --model sb translates in several steps, which tiles would take apart; leave "
                                "it out")
            return
        refuse_one_domain(options)
        refuse_pool_and_penalty(options)
        if network.netD not in ("basic", "n_layers"):
            raise UserError(f"--netD {network.netD} knows no time: --model sb needs basic or n_layers")
        if data.input_nc != data.output_nc:
            raise UserError("--model sb walks from one domain to the other: it needs --input_nc equal to --output_nc")

    def __init__(self, options: Options, *, training: bool) -> None:
        super().__init__(options, training=training)
        self.bridge, data, network = options[BridgeFlags], options[DataFlags], options[NetworkFlags]
        self.seed = options[RunFlags].seed or 0
        self.steps = self.bridge.num_timesteps if training else options[WalkFlags].nfe or self.bridge.num_timesteps
        self.walk_of = walk(self.bridge.num_timesteps, self.bridge.tau)
        self.generator = BridgeGenerator(
            input_nc=data.input_nc, output_nc=data.output_nc, ngf=network.ngf, blocks=BLOCKS[network.netG],
            norm=network.norm, dropout=not network.no_dropout, antialias=not network.no_antialias,
            antialias_up=not network.no_antialias_up)
        self.networks["G"] = self.generator
        if training:
            self._build_training(options)

    def _build_training(self, options: Options) -> None:
        data, network, train = options[DataFlags], options[NetworkFlags], options[TrainFlags]
        self.contrast, self.gan_mode = options[ContrastFlags], train.gan_mode
        layers = 3 if network.netD == "basic" else network.n_layers_D
        for name, channels in (("D", data.output_nc), ("E", 4 * data.output_nc)):
            self.networks[name] = TimeDiscriminator(
                input_nc=channels, ndf=network.ndf, n_layers=layers, norm=network.norm)
        if has_crop(data.preprocess) and data.crop_size < 3 * 2**layers:
            raise UserError(f"--crop_size {data.crop_size} is too small for the discriminator, which needs "
                            f"{3 * 2**layers} pixels: enlarge it or choose another --n_layers_D")
        for built in self.networks.values():
            initialize(built, network.init_type, network.init_gain)
        for module in self.generator.modules():
            if isinstance(module, ScaleAndShift):  # at first it changes little
                module.linear.bias.data.chunk(2)[0].fill_(1)
        self.previous = self.memory["previous"] = PreviousImages()
        learners = list(self.generator.parameters())
        self.optimizers = {name: adam(self.networks[name].parameters(), train) for name in ("D", "E")}
        self.by_patches = self.bridge.structure == "nce" and self.contrast.lambda_NCE > 0
        if self.by_patches:
            self.nce = self.networks["F"] = patch_loss(self.generator, self.contrast, network)
            learners += self.nce.parameters()
        self.optimizers["G"] = adam(learners, train)
        self.add_chosen_structure(self.bridge.structure, options)
        self.keep_averages(train.ema, "G")

    def translate(self, images: Tensor) -> Tensor:
        """Guess the end of the bridge after the last step but one; noise is drawn by --seed, the same for all images.
        """
        generator = torch.Generator().manual_seed(self.seed)

        def draw(like: Tensor, *shape: int) -> Tensor:
            return torch.randn(1, *shape, generator=generator).to(like).expand(len(like), *shape)

        return self._guess(self._walk(images, self.steps - 1, draw), self.steps - 1, draw)

    def draw(self, like: Tensor, *shape: int) -> Tensor:
        """Draw numbers from N(0, 1) for each of B images: [B, *shape]."""
        return torch.randn(len(like), *shape, device=like.device, dtype=like.dtype)

    def _guess(self, x: Tensor, time: int, draw: Any) -> Tensor:
        """Compute G's guess of the end of the bridge, from x at a step."""
        return translate_any_size(self.generator, x, moment(x, time), draw(x, self.generator.latent_dim))

    def _walk(self, x: Tensor, steps: int, draw: Any) -> Tensor:
        """Walk from images [B, C, H, W], x at step 0, to x at step ``steps``."""
        for time, (share, noise) in enumerate(self.walk_of[:steps]):
            x = (1 - share) * x + share * self._guess(x, time, draw) + noise * draw(x, *x.shape[1:])
        return x

    def choose(self) -> int:
        """Draw a step of the bridge."""
        return int(torch.randint(self.bridge.num_timesteps, ()).item())

    def optimize_parameters(self, minimize: Minimize) -> None:
        """Train F of LSeSim, if there is one, then D, E and G, at one random step of the bridge."""
        images, time = self.images, cast(int, self.choice)
        real_A, real_B = images["real_A"], images["real_B"]
        both = torch.cat([real_A, self.previous.swap(real_A)])
        with torch.no_grad():
            x = self._walk(both, time, self.draw)
        guesses = self._guess(x, time, self.draw)
        images["noisy_A"], fake_B = x[: len(real_A)], guesses[: len(real_A)]
        images["fake_B"] = fake_B
        if self.by_patches and self.contrast.nce_idt:
            with torch.no_grad():
                from_B = self._walk(real_B, time, self.draw)
            images["idt_B"] = self._guess(from_B, time, self.draw)
        features = self.learn_structure(minimize)
        now = moment(real_A, time)
        minimize("D", lambda: self.discriminator_loss("D", real_B, fake_B, gan_mode=self.gan_mode, given=(now,)))
        minimize("E", lambda: self._entropy_loss(x, guesses.detach(), now))
        minimize("G", lambda: total("G", self._terms(x, guesses, time, features)))

    def _entropy(self, x: Tensor, guesses: Tensor, now: Tensor) -> tuple[Tensor, Tensor]:
        """Compute E of the pairs with themselves, averaged over each image's places, and ``L`` of the paper's bound.

        Args:
            x, guesses: [2 * B, C, H, W], of the images and of the others.
        """
        pairs, others = torch.cat([x, guesses], dim=1).chunk(2)
        energy = self.networks["E"]
        alike = energy(torch.cat([pairs, pairs], dim=1), now).flatten(1).mean(dim=1)
        return alike, energy(torch.cat([pairs, others], dim=1), now).flatten(1).logsumexp(dim=1)

    def _entropy_loss(self, x: Tensor, guesses: Tensor, now: Tensor) -> Objective:
        alike, unlike = self._entropy(x, guesses, now)
        loss = (unlike + unlike.square() - alike).mean()
        return Objective(loss, {"E_entropy": loss})

    def _terms(self, x: Tensor, guesses: Tensor, time: int, features: PairFeatures | None) -> dict[str, Tensor]:
        """Compute the weighted terms of G's objective."""
        images, count, steps = self.images, len(self.images["real_A"]), self.bridge.num_timesteps
        fake_B, now = images["fake_B"], moment(x, time)
        adversarial = self.adversarial("D", fake_B, gan_mode=self.gan_mode, given=(now,))
        terms = {"G_GAN": self.contrast.lambda_GAN * adversarial}
        if self.bridge.lambda_SB:
            alike, unlike = self._entropy(x, guesses, now)
            distance = F.mse_loss(fake_B, x[:count])
            bridge = distance - (steps - time) / steps * (alike - unlike).mean()
            terms["G_SB"] = self.bridge.lambda_SB * self.bridge.tau * bridge
        pairs = PAIRS[: 1 + self.contrast.nce_idt]
        for name, source, target in pairs if self.by_patches else ():
            terms[name] = self.contrast.lambda_NCE / len(pairs) * self._contrast(images[source], images[target])
        return terms | self.structure_term(features)

    def _contrast(self, source: Tensor, target: Tensor) -> Tensor:
        """Compute PatchNCE between images and their translations, on G's features at the first step."""
        latent, now = self.draw(source, self.generator.latent_dim), moment(source, 0)
        passed = []
        for images, learns in ((target, True), (source, False)):
            padded = pad_to_fit(images, self.generator.multiple, self.generator.least_size)
            with torch.set_grad_enabled(learns):
                passed.append(self.generator(padded, now, latent, self.contrast.nce_layers))
        loss: Tensor = self.nce(*passed)
        return loss


def walk(steps: int, tau: float) -> list[tuple[float, float]]:
    """Return the share of the way and the standard deviation of the noise, for each step of the bridge but the last.

    The first step takes half of the time. The later ones divide the other half in proportion to 1, 1 / 2, 1 / 3, ...
    """
    lengths = [1 / number for number in range(1, steps)]
    times = [0.0, *(0.5 + 0.5 * sum(lengths[:number]) / (sum(lengths) or 1) for number in range(steps))]
    taken = []
    for start, end in pairwise(times[:-1]):
        share = (end - start) / (times[-1] - start)
        taken.append((share, (tau * (end - start) * (1 - share)) ** 0.5))
    return taken


def moment(like: Tensor, time: int) -> Tensor:
    """Return the number of a step as the networks take it: LongTensor [1]."""
    return torch.full((1,), time, device=like.device)
