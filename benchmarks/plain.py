"""The training step as the published F-LSeSim code computes it, to compare with the step of ``models/sc.py``.

The mathematics is the same, for the same query positions to the last gradient (tests/test_benchmarks.py); the way is
the published one: a Python loop cuts each query's window out of the features; VGG16 runs to its last layer, and again
for each loss that looks at an image; LSeSim computes gradients of VGG16's weights, whose learning rate is 0; D sees
real images and translations in two passes, and computes the gradient of the real images; keys are sorted to find the
strongest quarter; doubled maps are cut out of larger ones; convolutions add biases that torch's instance normalisation
removes; the losses are read by the host. Otherwise the networks are this repository's.
"""

import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.building import build_discriminator, build_generator
from models.image_pool import ImagePool
from models.losses.gan import gan_loss
from models.networks import initialize
from models.networks.blocks import FewOutputsConv2d, InstanceNorm, UnbiasedConv2d, Upsample
from models.networks.vgg import VGG16Features, layer_channels
from models.structure_flags import StructureFlags, layer_names
from options import Options, TrainFlags
from spatial_correlative import similarity_head
from spatial_correlative.vgg import LAYERS
from util.errors import UserError


def random_positions(features: Tensor, count: int) -> Tensor:
    """Draw ``count`` different positions of a map [B, C, H, W]: LongTensor [N], row-major."""
    return torch.randperm(features.shape[2] * features.shape[3], device=features.device)[:count]


def patch_similarity(features: Tensor, positions: Tensor, *, patch_size: int, normalize: bool) -> Tensor:
    """Compute the self-similarity [B, N, P] of [B, C, H, W]; each query's window of keys is cut out on its own."""
    batch, channels, height, width = features.shape
    features = features - features.mean(dim=(2, 3), keepdim=True)
    features = F.normalize(features, dim=1) if normalize else features / math.sqrt(channels)
    queries = features.flatten(2).permute(0, 2, 1)[:, positions]  # [B, N, C]
    if patch_size < height and patch_size < width:
        top = (positions // width - patch_size // 2).clamp(0, height - patch_size)
        left = (positions % width - patch_size // 2).clamp(0, width - patch_size)
        windows = [features[:, :, top[i] : top[i] + patch_size, left[i] : left[i] + patch_size]
                   for i in range(len(positions))]
        # Stacked query by query, as published, so that batches above 1 are copied once more.
        keys = torch.stack(windows).transpose(0, 1).reshape(batch * len(positions), channels, patch_size**2)
        queries = queries.reshape(batch * len(positions), 1, channels)
    else:
        keys = features.flatten(2)
    similarity = queries.bmm(keys).view(batch, len(positions), -1)
    return similarity if normalize else torch.tanh(similarity / 10)


def sorted_distance(source: Tensor, target: Tensor, *, normalize: bool) -> Tensor:
    """Compute the distance of two maps [B, N, P] by cosine, where the target is among its strongest quarter."""
    quarter = target.shape[-1] // 4
    threshold = target.sort(dim=-1, descending=True).values[..., quarter : quarter + 1]
    weak = target < threshold
    source, target = torch.where(weak, 0 * source, source), torch.where(weak, 0 * target, target)
    cosine = F.cosine_similarity(source, target, dim=-1)
    return (F.l1_loss if normalize else F.smooth_l1_loss)(cosine, torch.ones_like(cosine))


def contrastive_distance(source: Tensor, target: Tensor, other: Tensor, *, temperature: float) -> Tensor:
    """Compute the cross-entropy of recognising each of N queries: maps [B, N, P]."""
    source, target, other = (F.normalize(rows, dim=-1) for rows in (source, target, other))
    pairs = ((source, target), (source, other), (target, other))
    logits = torch.cat([left.bmm(right.permute(0, 2, 1)).flatten(0, 1) / temperature for left, right in pairs], dim=1)
    return F.cross_entropy(logits, torch.arange(len(logits), device=logits.device) % source.shape[1])


class CutUpsample(Upsample):
    """Doubling as published: cut out of a larger transposed convolution, and copied by the next layer."""

    def forward(self, x: Tensor) -> Tensor:
        x = F.pad(x, (1, 1, 1, 1), mode="replicate")
        return F.conv_transpose2d(x, self.filt, stride=2, padding=2, groups=x.shape[1])[:, :, 1:-1, 1:-1]


PUBLISHED: dict[type[nn.Module], type[nn.Module]] = {
    Upsample: CutUpsample, UnbiasedConv2d: nn.Conv2d, FewOutputsConv2d: nn.Conv2d, InstanceNorm: nn.InstanceNorm2d}
"""Layers of this repository, and the published ones."""


class PlainStep:
    """FSeSim or, with ``--learned_attn``, LSeSim, in the published default ``--loss_mode cos``.

    Args:
        options: of ``train.py --model sc``.
        device: where to run.

    Raises:
        UserError: the options ask for a loss that this step has not.
    """

    lacks = ("lambda_identity", "lambda_spatial_idt", "lambda_perceptual", "lambda_style", "lambda_gradient",
             "lambda_R1", "vgg_lr_scale")

    def __init__(self, options: Options, device: torch.device) -> None:
        self.flags, train = options[StructureFlags], options[TrainFlags]
        if self.flags.patch_nums is None or self.flags.loss_mode != "cos":
            raise UserError("the plain step knows only --loss_mode cos with a number of --patch_nums")
        asked = options.as_dict()
        if used := [name for name in self.lacks if asked[name]]:
            raise UserError(f"the plain step has no --{used[0]}: leave it out")
        self.patch_count = self.flags.patch_nums
        self.gan_mode, self.layers = train.gan_mode, layer_names(self.flags.attn_layers)
        self.generator, self.discriminator = build_generator(options), build_discriminator(options)
        for module in (*self.generator.modules(), *self.discriminator.modules()):
            module.__class__ = PUBLISHED.get(type(module), type(module))
        self.vgg = VGG16Features(LAYERS, "random", frozen=not self.flags.learned_attn)
        trained = VGG16Features(self.layers, self.flags.vgg_weights)
        self.vgg.load_state_dict(trained.state_dict(), strict=False)  # the bundled weights end at relu4_3
        channels = layer_channels(self.layers) if self.flags.learned_attn else ()
        self.heads = nn.ModuleList(similarity_head(count) for count in channels)
        initialize(self.heads, "normal", 0.02)
        for network in (self.generator, self.discriminator, self.vgg, self.heads):
            network.to(device).to(memory_format=torch.contiguous_format)
        self.pool = ImagePool(train.pool_size)
        self.sample: Callable[[Tensor, int], Tensor] = random_positions
        groups: dict[str, list[dict[str, Any]]] = {
            "G": [{"params": self.generator.parameters()}], "D": [{"params": self.discriminator.parameters()}]}
        if self.heads:
            groups["F"] = [{"params": self.vgg.parameters(), "lr": 0.0}, {"params": self.heads.parameters()}]
        self.optimizers = {name: torch.optim.Adam(group, lr=train.lr, betas=(train.beta1, train.beta2))
                           for name, group in groups.items()}

    def train_step(self, batch: Mapping[str, Tensor]) -> dict[str, float]:
        """Train the heads, then D, then G; return their losses."""
        images = {name: image.detach() for name, image in batch.items()}
        fake = self.generator(images["A"])
        losses = {}
        if self.heads:
            for network in (self.heads, self.vgg):
                network.requires_grad_(True)
            losses["F"] = self._minimize("F", self._contrastive(images, fake.detach()))
            for network in (self.heads, self.vgg):
                network.requires_grad_(False)
        self.discriminator.requires_grad_(True)
        losses["D"] = self._minimize("D", self._discriminator_loss(images["B"], self.pool.query(fake)))
        self.discriminator.requires_grad_(False)
        adversarial = gan_loss(self.discriminator(fake), True, mode=self.gan_mode, for_discriminator=False)
        losses["G"] = self._minimize("G", adversarial + self.flags.lambda_spatial * self._spatial(images["A"], fake))
        return losses

    def _minimize(self, name: str, loss: Tensor) -> float:
        self.optimizers[name].zero_grad()
        loss.backward()
        self.optimizers[name].step()
        return loss.item()

    def _contrastive(self, images: Mapping[str, Tensor], fake: Tensor) -> Tensor:
        real, other = images["A"], images["B"]
        if "A_aug" in images:  # the input goes through VGG once for each of its two partners
            real, fake = torch.cat([real, real]), torch.cat([fake, images["A_aug"]])
            other = torch.cat([other, images["B_aug"]])
        return self._spatial(real, fake, other.flip(2, 3))

    def _discriminator_loss(self, real: Tensor, fake: Tensor) -> Tensor:
        on_real = self.discriminator(real.requires_grad_())
        loss = gan_loss(on_real, True, mode=self.gan_mode, for_discriminator=True)
        on_fake = self.discriminator(fake)
        return (loss + gan_loss(on_fake, False, mode=self.gan_mode, for_discriminator=True)) * 0.5

    def _spatial(self, *images: Tensor) -> Tensor:
        """Compute the structure distance of two images, or the contrastive loss of three: the mean over the layers."""
        features = [self.vgg(image, LAYERS) for image in images]
        wanted = [LAYERS.index(layer) for layer in self.layers]
        losses = [self._one_layer(number, [of[index] for of in features]) for number, index in enumerate(wanted)]
        return torch.stack(losses).mean()

    def _one_layer(self, number: int, features: list[Tensor]) -> Tensor:
        if self.heads:
            features = [self.heads[number](f) for f in features]
        positions = self.sample(features[0], self.patch_count)
        maps = [patch_similarity(f, positions, patch_size=self.flags.patch_size, normalize=self.flags.use_norm)
                for f in features]
        if len(maps) == 3:
            return contrastive_distance(*maps, temperature=self.flags.T)
        return sorted_distance(*maps, normalize=self.flags.use_norm)
