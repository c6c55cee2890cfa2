"""Tiled translation: equal to the untiled one where that is promised, and bounded in memory everywhere."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from models.networks import initialize
from models.networks.resnet import ResnetGenerator
from models.tiles import RAMP, Tiling, blend_weights, tile_starts, translate_tiled
from models.translation import translate_any_size

CPU = torch.device("cpu")
RADIUS = 29  # of the generator below; see test_the_radius_is_what_the_tests_assume


def small_generator(norm: str = "none", **keywords: bool) -> nn.Module:
    """Return a resnet of one block in float64, far from constant."""
    torch.manual_seed(0)
    generator = ResnetGenerator(output_nc=2, ngf=2, blocks=1, norm=norm, **keywords)
    initialize(generator, "xavier", 1.5)
    return generator.double().eval()


def image(height: int, width: int, count: int = 1) -> Tensor:
    generator = torch.Generator().manual_seed(height * width)
    rough = torch.rand(count, 3, 7, 5, generator=generator, dtype=torch.float64)  # its parts differ in contrast
    fine = torch.rand(count, 3, height, width, generator=generator, dtype=torch.float64)
    smooth = nn.functional.interpolate(rough, (height, width), mode="bilinear")
    return 2 * (0.7 * smooth + 0.3 * fine * smooth) - 1


def both(generator: nn.Module, images: Tensor, tiling: Tiling) -> tuple[Tensor, Tensor]:
    """Return the tiled and the untiled translation."""
    with torch.inference_mode():
        whole = translate_any_size(generator, images)
        tiled = translate_tiled(lambda x: translate_any_size(generator, x), images, tiling, device=CPU,
                                networks=[generator])
    assert whole.std() > 0.05, "a constant output would agree with anything"
    return tiled, whole


def counting(generator: nn.Module, shapes: list[torch.Size]) -> Callable[[Tensor], Tensor]:
    def translate(x: Tensor) -> Tensor:
        shapes.append(x.shape)
        return translate_any_size(generator, x)

    return translate


@pytest.mark.parametrize("antialias", [True, False])
@pytest.mark.parametrize(("height", "width"), [(203, 150), (97, 251), (101, 101), (96, 100), (100, 40)])
def test_without_normalisation_tiles_give_the_untiled_result(height: int, width: int, antialias: bool) -> None:
    generator = small_generator(antialias=antialias, antialias_up=antialias)
    tiled, whole = both(generator, image(height, width), Tiling(96, 2 * RADIUS + RAMP, 4, batch_size=3))
    torch.testing.assert_close(tiled, whole, rtol=0, atol=1e-12)


def test_a_smaller_overlap_is_felt() -> None:
    """Otherwise the test above could not tell anything."""
    tiled, whole = both(small_generator(), image(203, 150), Tiling(96, 16, 4))
    assert (tiled - whole).abs().max() > 1e-4


@pytest.mark.parametrize("statistics", ["tile", "scaled", "exact"])
@pytest.mark.parametrize("size", [(96, 96), (50, 37), (3, 5)])
def test_an_image_no_larger_than_a_tile_is_translated_whole(statistics: str, size: tuple[int, int]) -> None:
    tiled, whole = both(small_generator("instance"), image(*size, count=2), Tiling(96, 32, 4, statistics=statistics))
    torch.testing.assert_close(tiled, whole, rtol=0, atol=1e-12)


@pytest.mark.parametrize("norm", ["instance", "batch"])
@pytest.mark.parametrize(("height", "width"), [(203, 150), (101, 40)])
def test_exact_statistics_give_the_untiled_result(norm: str, height: int, width: int) -> None:
    generator = small_generator(norm).train()  # batch normalisation by the statistics of its input
    images = image(height, width)
    before = {name: value.clone() for name, value in generator.state_dict().items()}
    with torch.inference_mode():
        tiled = translate_tiled(lambda x: translate_any_size(generator, x), images,
                                Tiling(96, 2 * RADIUS + RAMP, 4, 2, "exact"), device=CPU, networks=[generator])
        assert all(torch.equal(value, before[name]) for name, value in generator.state_dict().items())
        torch.testing.assert_close(tiled, translate_any_size(generator, images), rtol=0, atol=1e-11)


def test_statistics_of_the_scaled_image_come_nearer_than_each_tiles_own() -> None:
    generator, errors = small_generator("instance"), {}
    for statistics in ("tile", "scaled"):
        tiled, whole = both(generator, image(256, 200), Tiling(96, 48, 4, statistics=statistics))
        errors[statistics] = float((tiled - whole).square().mean())
    assert errors["scaled"] < 0.5 * errors["tile"], errors


def test_each_image_of_a_batch_has_its_own_statistics() -> None:
    generator, tiling = small_generator("instance"), Tiling(96, 48, 4, 4, "scaled")
    images = torch.cat([image(120, 130), 0.2 * image(120, 130).flip(2)])
    together, _ = both(generator, images, tiling)
    alone = torch.cat([both(generator, one, tiling)[0] for one in images.split(1)])
    torch.testing.assert_close(together, alone, rtol=0, atol=1e-12)


@pytest.mark.parametrize("statistics", ["scaled", "exact"])
def test_the_generator_is_afterwards_what_it_was(statistics: str) -> None:
    generator, images = small_generator("instance"), image(130, 100)
    modules = list(generator.modules())
    both(generator, images, Tiling(96, 48, 4, statistics=statistics))
    assert all(one is other for one, other in zip(modules, generator.modules(), strict=True))

    def fail(x: Tensor) -> Tensor:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        translate_tiled(fail, images, Tiling(96, 48, 4, statistics=statistics), device=CPU, networks=[generator])
    assert all(one is other for one, other in zip(modules, generator.modules(), strict=True))


@pytest.mark.parametrize("side", [96, 97, 100, 101, 250, 1000])
@pytest.mark.parametrize("overlap", [0, 1, 15, 16, 48, 90, 92])
def test_the_weights_of_all_tiles_sum_to_one(side: int, overlap: int) -> None:
    tiling = Tiling(96, overlap, 4)
    side += -side % 4
    starts = tile_starts(side, tiling)
    assert starts[0] == 0
    assert starts[-1] == max(side - 96, 0)
    assert all(start % 4 == 0 for start in starts)
    assert all(0 < after - before <= 96 - overlap for before, after in itertools.pairwise(starts))
    ramp = min(RAMP, max(overlap, 1))
    margin = max(overlap - ramp, 0) // 2
    total = torch.zeros(side, dtype=torch.float64)
    for start, weights in zip(starts, blend_weights(starts, min(96, side), ramp), strict=True):
        assert weights.min() >= 0
        if start:
            assert not weights[:margin].any(), "shown where the tile's padding may be felt"
        if start != starts[-1]:
            assert not weights[96 - margin:].any(), "shown where the tile's padding may be felt"
        total[start:start + 96] += weights
    torch.testing.assert_close(total, torch.ones_like(total), rtol=0, atol=1e-12)


@pytest.mark.parametrize("statistics", ["tile", "scaled", "exact"])
@pytest.mark.parametrize(("height", "width"), [(161, 202), (50, 300)])
def test_the_generator_never_sees_more_than_a_batch_of_tiles(height: int, width: int, statistics: str) -> None:
    generator, shapes = small_generator("instance"), list[torch.Size]()
    with torch.inference_mode():
        translate_tiled(counting(generator, shapes), image(height, width), Tiling(64, 16, 4, 3, statistics),
                        device=CPU, networks=[generator])
    assert max(shape[0] for shape in shapes) == 3
    assert max(shape.numel() for shape in shapes) <= 3 * 3 * 64 * 64


def test_half_precision_is_normalised_by_statistics_in_float32() -> None:
    generator = small_generator("instance").float()
    images = image(203, 150).float()
    tiling = Tiling(96, 2 * RADIUS + RAMP, 4, 2, "exact")

    def translate(x: Tensor) -> Tensor:
        with torch.autocast("cpu", torch.bfloat16):
            return translate_any_size(generator, x).float()

    with torch.inference_mode():
        tiled = translate_tiled(translate, images, tiling, device=CPU, networks=[generator])
        whole = translate(images)
    assert (tiled - whole).abs().mean() < 0.01
