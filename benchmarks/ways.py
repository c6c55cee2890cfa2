"""The ways of computing each part of the training step, from the published one to ours: what benchmarks.parts times.

All ways of a part return the same tensors, up to rounding (tests/test_benchmark_parts.py); but of whole steps, which
"reading" takes, each begins where the one before ended.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from unittest.mock import patch

import torch
from torch import Tensor, nn

from models.base import judge
from models.losses.gan import Prediction, gan_loss
from models.losses.spatial_correlative import SpatialCorrelativeLoss, self_similarity
from models.networks import VGG16Features, blocks, create_discriminator, create_generator, layer_channels, layer_strides
from models.networks.vgg import LAYERS

from .images import jittered, random_images
from .measure import Call
from .plain import patch_similarity, random_positions
from .step import METHODS, SPEEDS, build_ours

ATTENDED = ("relu3_1", "relu4_1", "relu4_3")  # the default of --attn_layers
QUERIES = 256
Ways = dict[str, Call]  # by name, the plain one first


@dataclass(frozen=True)
class Setting:
    """Batches of ``batch`` images of ``size`` pixels; ``filters`` are those of the first layer of G and of D."""

    size: int
    batch: int
    filters: int
    device: torch.device

    @property
    def window(self) -> int:
        """Side of the window of keys: half of relu3_1's map, which is 32 for 256 pixels, as in LSeSim."""
        return max(1, self.size // 8)

    def images(self) -> tuple[Tensor, ...]:
        """A, B and jittered copies of them, [B, 3, H, W] in [-1, 1]."""
        real = random_images(2 * self.batch, self.size).to(self.device)
        return (*real.chunk(2), *jittered(real).chunk(2))

    def features(self, layer: str) -> Tensor:
        """Random features of the shape of a layer of VGG16."""
        side = self.size // layer_strides([layer])[0]
        return torch.randn(self.batch, layer_channels([layer])[0], side, side, device=self.device)


def gradients(outputs: Sequence[Tensor], inputs: Sequence[Tensor]) -> list[Tensor]:
    """The backward pass from all outputs to those inputs that they depend on."""
    for leaf in inputs:
        leaf.grad = None
    torch.autograd.backward(outputs, [torch.ones_like(output) for output in outputs], inputs=inputs)
    return [leaf.grad for leaf in inputs if leaf.grad is not None]


def vgg_ways(setting: Setting) -> Ways:
    """VGG16 for both losses of LSeSim: of five images the translation alone needs a gradient."""
    real, other, aug, other_aug = setting.images()
    fake = jittered(aug).requires_grad_()
    pairs = [torch.cat(pair) for pair in ((real, real), (fake.detach(), aug), (other, other_aug))]

    def attended(vgg: VGG16Features, images: Tensor) -> list[Tensor]:
        found = dict(zip(vgg.layers, vgg(images), strict=True))
        return [found[layer] for layer in ATTENDED]

    def each_time(vgg: VGG16Features) -> list[Tensor]:
        vgg.requires_grad_(not vgg.frozen)
        of_pairs = [features for pair in pairs for features in attended(vgg, pair)]
        if not vgg.frozen:
            gradients(of_pairs, list(vgg.parameters()))
        vgg.requires_grad_(False)
        attended(vgg, real)
        return gradients(attended(vgg, fake), [fake])

    def once(vgg: VGG16Features) -> list[Tensor]:
        attended(vgg, torch.cat([real, other, aug, other_aug]))
        return gradients(attended(vgg, fake), [fake])

    last = VGG16Features(ATTENDED, "random").to(setting.device)  # the class chooses channels last
    first = copy.deepcopy(last).to(memory_format=torch.contiguous_format)
    whole = VGG16Features(LAYERS, "random", frozen=False).to(setting.device).to(memory_format=torch.contiguous_format)
    return {"for each loss, to relu5_3, with weight gradients": partial(each_time, whole),
            "to relu4_3, frozen": partial(each_time, first), "each image once": partial(once, first),
            "channels last": partial(once, last)}


def discriminator_ways(setting: Setting) -> Ways:
    """The loss of D; the published way also computes the gradient of the real images."""
    discriminator = create_discriminator("basic", ndf=setting.filters).to(setting.device)
    weights = list(discriminator.parameters())
    real, fake, *_ = setting.images()
    tracked = real.clone().requires_grad_()

    def losses(of_real: Prediction, of_fake: Prediction) -> list[Tensor]:
        loss = partial(gan_loss, mode="lsgan", for_discriminator=True)
        return [loss(of_real, True), loss(of_fake, False)]

    return {
        "two passes": lambda: gradients(losses(discriminator(tracked), discriminator(fake)), [*weights, tracked])[:-1],
        "one": lambda: gradients(losses(*judge(discriminator, real, fake)), weights),
    }


def similarity_ways(setting: Setting) -> Ways:
    """Self-similarity of relu3_1's features in windows, and back to the features."""
    features = setting.features("relu3_1").requires_grad_()
    positions = random_positions(features, QUERIES)
    loop = partial(patch_similarity, features, positions, patch_size=setting.window, normalize=False)
    product = partial(self_similarity, features, positions, patch_size=setting.window)
    return {"patch loop": lambda: gradients([loop()], [features]),
            "product and gather": lambda: gradients([product()], [features])}


def heads_ways(setting: Setting) -> Ways:
    """LSeSim's contrastive loss of two pairs, whose source is the same, and back to the heads' weights."""
    structure = SpatialCorrelativeLoss(patch_count=QUERIES, patch_size=setting.window,
                                       head_channels=layer_channels(ATTENDED)).to(setting.device)
    weights = list(structure.parameters())
    real, fake, other, aug, other_aug = (
        [setting.features(layer).contiguous(memory_format=torch.channels_last) for layer in ATTENDED] for _ in range(5))
    positions = structure.sample(real)

    def apart() -> list[Tensor]:
        losses = [structure.contrast(real, fake, other, positions), structure.contrast(real, aug, other_aug, positions)]
        return gradients(losses, weights)

    def shared() -> list[Tensor]:
        maps = [structure.maps(of, positions) for of in (real, fake, other, aug, other_aug)]
        return gradients([structure.contrast_maps(*maps[:3]), structure.contrast_maps(maps[0], *maps[3:])], weights)

    return {"both pairs apart": apart, "source maps shared": shared}


def adam_ways(setting: Setting) -> Ways:
    """One step of the optimizer of G."""
    generator = create_generator("resnet_9blocks", ngf=setting.filters).to(setting.device)
    slopes = [1e-3 * torch.randn_like(parameter) for parameter in generator.parameters()]

    def way(**kind: bool) -> Call:
        parameters = list(copy.deepcopy(generator).parameters())
        for parameter, slope in zip(parameters, slopes, strict=True):
            parameter.grad = slope
        optimizer = torch.optim.Adam(parameters, lr=2e-4, betas=(0.5, 0.999), **kind)

        def call() -> list[nn.Parameter]:
            optimizer.step()
            return parameters

        return call

    return {"loop": way(foreach=False), "foreach": way(foreach=True), "fused": way(fused=True)}


def blur_ways(setting: Setting) -> Ways:
    """The blurring layers of G and D under autocast, on the activations that they meet there."""
    met: list[tuple[nn.Module, Tensor]] = []
    half = torch.autocast(setting.device.type, torch.bfloat16)

    def meet(blur: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        met.append((blur, inputs[0].detach().requires_grad_()))

    for network in (create_generator("resnet_9blocks", ngf=setting.filters),
                    create_discriminator("basic", ndf=setting.filters)):
        blurs = [module for module in network.modules() if isinstance(module, blocks.Downsample | blocks.Upsample)]
        hooks = [blur.register_forward_pre_hook(meet) for blur in blurs]
        with torch.no_grad(), half:
            network.to(setting.device)(setting.images()[0])
        for hook in hooks:
            hook.remove()

    def as_it_comes(convolution: Callable[..., Tensor], x: Tensor, filt: Tensor, **geometry: int) -> Tensor:
        return convolution(x, filt, groups=x.shape[1], **geometry)

    def ours() -> list[Tensor]:
        with half:
            outputs = [blur(x).bfloat16() for blur, x in met]  # bf16 is what the next convolution takes
        return gradients(outputs, [x for _, x in met])

    def plain() -> list[Tensor]:
        with patch.object(blocks, "blur", as_it_comes):
            return ours()

    return {"in bf16": plain, "in float32": ours}


def reading_ways(setting: Setting) -> Ways:
    """Whole steps of LSeSim in bf16: a host that reads every loss cannot prepare the next step meanwhile."""
    sizes = {"--crop_size": setting.size, "--load_size": setting.size, "--patch_size": setting.window,
             "--batch_size": setting.batch, "--ngf": setting.filters, "--ndf": setting.filters}
    flags = [str(word) for pair in sizes.items() for word in pair]
    step = build_ours([*METHODS["LSeSim"], *flags, *SPEEDS["bf16"]], setting.device)

    def read() -> object:
        losses = step()
        for loss in losses.values():  # type: ignore[attr-defined]
            loss.item()
        return losses

    return {"losses read each step": read, "when printed": step}


PARTS: dict[str, Callable[[Setting], Ways]] = {
    "VGG16": vgg_ways, "discriminator": discriminator_ways, "similarity": similarity_ways, "heads": heads_ways,
    "Adam": adam_ways, "blur": blur_ways, "reading": reading_ways}
ONLY_ON = {"blur": "cpu", "reading": "cuda"}
