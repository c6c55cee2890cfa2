"""FSeSim and LSeSim of images."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from cli import ROOT
from torch import Tensor, nn

from spatial_correlative import FSeSim, LSeSim, SpatialCorrelativeLoss, VGG16Features


class Pyramid(nn.Module):
    """Two layers of features, [B, 4, H, W] and [B, 6, H / 2, W / 2]; smooth, for numerical gradients."""

    def __init__(self) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.register_buffer("first", torch.randn(4, 3, 3, 3, generator=generator))
        self.register_buffer("second", torch.randn(6, 4, 2, 2, generator=generator))

    def forward(self, images: Tensor) -> list[Tensor]:
        first = torch.nn.functional.conv2d(images, self.first, padding=1).tanh()
        return [first, torch.nn.functional.conv2d(first, self.second, stride=2).tanh()]


def batch(seed: int, *shape: int) -> Tensor:
    """Return images of noise in [-1, 1]."""
    return torch.rand(shape or (2, 3, 32, 40), generator=torch.Generator().manual_seed(seed)) * 2 - 1


def learned(**arguments: object) -> LSeSim:
    torch.manual_seed(0)
    return LSeSim(Pyramid(), channels=(4, 6), **arguments)


@pytest.fixture(scope="module")
def vgg() -> VGG16Features:
    return VGG16Features(["relu3_1", "relu4_1"])


POSITIONS = [torch.arange(0, 80, 3), torch.arange(0, 20, 2)]


def test_fsesim_is_the_loss_on_features_of_the_bundled_vgg16(vgg: VGG16Features) -> None:
    photo, painting = batch(0), batch(1).requires_grad_()
    loss = FSeSim()(photo, painting, POSITIONS)
    expected = SpatialCorrelativeLoss(patch_count=256, patch_size=64)(vgg(photo), vgg(painting), POSITIONS)
    assert torch.equal(loss, expected)
    (gradient,) = torch.autograd.grad(loss, painting)
    assert torch.equal(gradient, *torch.autograd.grad(expected, painting))
    assert gradient.abs().sum() > 0


def test_lsesim_compares_with_its_heads_which_learn_by_contrast_alone(vgg: VGG16Features) -> None:
    structure = LSeSim(vgg)
    photo, jittered, other = (batch(seed).requires_grad_() for seed in range(3))
    alike = SpatialCorrelativeLoss(patch_size=32, head_channels=(256, 512))
    alike.heads.load_state_dict(structure.heads.state_dict())
    features = [vgg(images) for images in (photo, jittered, other)]

    distance = structure(photo, jittered, POSITIONS)
    assert torch.equal(distance, alike(*features[:2], POSITIONS))
    distance.backward()
    assert jittered.grad.abs().sum() > 0
    assert all(parameter.grad is None for parameter in structure.parameters())

    photo.grad = jittered.grad = None
    contrast = structure.contrast(photo, jittered, other, POSITIONS)
    assert torch.equal(contrast, alike.contrast(*features, POSITIONS))
    contrast.backward()
    assert all(parameter.grad.isfinite().all() for parameter in structure.heads.parameters())
    assert structure.heads[1][2].weight.grad.abs().sum() > 0
    assert photo.grad is jittered.grad is other.grad is None


def test_heads_begin_as_published() -> None:
    heads = LSeSim(VGG16Features(["relu3_1", "relu4_1"], "random")).heads
    assert [head[0].weight.shape[:2] for head in heads] == [(64, 256), (128, 512)]
    assert heads[1][0].weight.std().item() == pytest.approx(0.02, rel=0.05)
    assert all(not head[index].bias.any() for head in heads for index in (0, 2))


def test_any_network_gives_features() -> None:
    images = batch(0, 2, 3, 8, 8), batch(1, 2, 3, 8, 8)
    assert FSeSim(Pyramid(), patch_size=3, mode="l1")(*images) > 0
    assert learned(patch_size=3)(*images) > 0
    with pytest.raises(ValueError, match="LSeSim needs channels, the number of channels of each layer"):
        LSeSim(Pyramid())


@pytest.mark.parametrize("structure", [FSeSim(Pyramid()), learned()])
def test_images_that_do_not_fit_are_refused(structure: nn.Module) -> None:
    photo = batch(0, 2, 3, 8, 8)
    calls: list[Callable[[Tensor], object]] = [lambda image: structure(photo, image)]
    if isinstance(structure, LSeSim):
        calls.append(lambda image: structure.contrast(photo, photo, image))
    for call in calls:
        with pytest.raises(ValueError, match=r"(target|other) must be images \[B, C, H, W\], not of shape \[3, 8, 8\]"):
            call(photo[0])
        with pytest.raises(ValueError, match=r"\[2, 8, 8\] in source, .*\[2, 8, 6\] in (target|other)"):
            call(photo[..., :6])


def both(structure: LSeSim, positions: list[Tensor]) -> Callable[..., Tensor]:
    """Return a function that sums both losses of LSeSim for images [3, H, W]."""
    return lambda a, b, c: (structure(a[None], b[None], positions)
                            + structure.contrast(a[None], b[None], c[None], positions))


def test_gradients_in_double_precision_equal_the_numerical_ones() -> None:
    positions = [torch.tensor([0, 7, 14]), torch.tensor([1, 5])]
    for structure in (FSeSim(Pyramid(), patch_size=3), learned(patch_size=3)):
        structure.double()
        images = [batch(seed, 1, 3, 6, 4).double().requires_grad_() for seed in range(2)]
        assert torch.autograd.gradcheck(lambda a, b, of=structure: of(a, b, positions), images)


def test_vmap_gives_the_losses_of_single_images() -> None:
    structure, positions = learned(patch_size=3), [torch.tensor([0, 7, 14]), torch.tensor([1, 5])]
    images = [batch(seed, 3, 3, 6, 6) for seed in range(3)]
    loss = both(structure, positions)
    expected = torch.stack([loss(*triple) for triple in zip(*images, strict=True)])
    torch.testing.assert_close(torch.func.vmap(loss)(*images), expected)
    drawn = torch.func.vmap(lambda a, b: structure(a[None], b[None]), randomness="different")(*images[:2])
    assert drawn.shape == (3,)


def test_autocast_channels_last_and_meta(vgg: VGG16Features) -> None:
    images = [batch(seed) for seed in range(3)]
    structure = LSeSim(vgg)
    expected = structure(*images[:2], POSITIONS), structure.contrast(*images, POSITIONS)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        mixed = structure(*images[:2], POSITIONS), structure.contrast(*images, POSITIONS)
    last = [image.contiguous(memory_format=torch.channels_last) for image in images]
    assert [loss.dtype for loss in mixed] == [torch.float32] * 2
    torch.testing.assert_close(mixed, expected, rtol=0.02, atol=0.002)
    torch.testing.assert_close((structure(*last[:2], POSITIONS), structure.contrast(*last, POSITIONS)), expected)
    on_meta = learned().to("meta")
    images = [image.to("meta") for image in images]
    assert all(loss.is_meta for loss in (on_meta(*images[:2]), on_meta.contrast(*images)))


@pytest.mark.slow
def test_the_losses_compile_to_one_graph(vgg: VGG16Features) -> None:
    structure, images = LSeSim(vgg), [batch(seed) for seed in range(3)]
    for function, arguments in ((FSeSim(vgg), images[:2]), (structure, images[:2]), (structure.contrast, images)):
        values = []
        for call in (function, torch.compile(function, fullgraph=True, backend="aot_eager")):
            torch.manual_seed(1)
            values.append(call(*arguments))
        torch.testing.assert_close(*values)


def test_torch_hub_gives_fsesim() -> None:
    structure = torch.hub.load(str(ROOT), "fsesim", source="local", patch_size=16)
    assert structure.loss.patch_size == 16
    assert structure(batch(0), batch(1)) > 0
