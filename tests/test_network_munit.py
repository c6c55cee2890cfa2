"""MUNIT's generator and style encoder: shapes, numbers of parameters, and AdaIN against its formula."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from models.networks import initialize
from models.networks.munit import AdaptiveBlock, MunitGenerator, StyleEncoder
from util.errors import UserError


def parameter_count(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def small_generator(**keywords: int | bool) -> MunitGenerator:
    torch.manual_seed(0)
    generator = MunitGenerator(**{"ngf": 2, "blocks": 1, "mlp_width": 8, "style_dim": 3} | keywords)
    initialize(generator, "kaiming")
    return generator


@pytest.mark.parametrize("antialias", [True, False])
@pytest.mark.parametrize(("input_nc", "output_nc"), [(1, 3), (3, 1)])
def test_outputs_have_the_size_of_images_that_are_not_square(input_nc: int, output_nc: int, antialias: bool) -> None:
    generator = small_generator(input_nc=input_nc, output_nc=output_nc, antialias=antialias, antialias_up=antialias)
    output = generator(torch.randn(2, input_nc, 12, 20), torch.randn(2, 3))
    assert output.shape == (2, output_nc, 12, 20)
    assert output.abs().max() <= 1
    assert output.std() > 0.01


@pytest.mark.parametrize(("height", "width"), [(16, 16), (17, 40), (33, 16)])
@pytest.mark.parametrize("input_nc", [1, 3])
def test_a_style_has_one_length_whatever_the_image(input_nc: int, height: int, width: int) -> None:
    assert StyleEncoder(input_nc=input_nc, nsf=2, style_dim=5)(torch.randn(2, input_nc, height, width)).shape == (2, 5)


def test_smallest_images_work_and_smaller_ones_are_refused() -> None:
    generator, encoder = small_generator(), StyleEncoder(nsf=2)
    assert generator(torch.randn(1, 3, 8, 8), torch.randn(1, 3)).shape == (1, 3, 8, 8)
    with pytest.raises(UserError, match="munit needs images of at least 8x8"):
        generator(torch.randn(1, 3, 8, 4), torch.randn(1, 3))
    with pytest.raises(UserError, match="munit needs sides that are multiples of 4, but got 12x10"):
        generator(torch.randn(1, 3, 12, 10), torch.randn(1, 3))
    with pytest.raises(UserError, match="style encoder needs images of at least 16x16"):
        encoder(torch.randn(1, 3, 15, 20))


def test_full_size_networks_have_the_number_of_parameters_that_their_layers_make() -> None:
    def convolution(before: int, after: int, side: int) -> int:
        return before * after * side**2 + after

    blocks = 4 * 2 * convolution(256, 256, 3)
    content = convolution(3, 64, 7) + convolution(64, 128, 3) + convolution(128, 256, 3) + blocks
    mlp = convolution(8, 256, 1) + convolution(256, 256, 1) + convolution(256, 4 * 4 * 256, 1)
    decoder = blocks + convolution(256, 128, 5) + convolution(128, 64, 5) + 2 * (128 + 64) + convolution(64, 3, 7)
    assert parameter_count(MunitGenerator()) == content + mlp + decoder == 11_974_531
    style = (convolution(3, 64, 7) + convolution(64, 128, 4) + convolution(128, 256, 4) + 2 * convolution(256, 256, 4)
             + convolution(256, 8, 1))
    assert parameter_count(StyleEncoder()) == style == 2_764_936


def test_a_block_gives_features_the_means_and_deviations_of_the_style() -> None:
    torch.manual_seed(0)
    block = AdaptiveBlock(2).double()
    x, style = (torch.randn(3, *shape, dtype=torch.float64) for shape in ((2, 6, 5), (8,)))
    scale, shift = 1 + style[:, 4:6], style[:, 6:8]
    added = block(x, style) - x
    torch.testing.assert_close(added.mean(dim=(2, 3)), shift)
    torch.testing.assert_close(added.std(dim=(2, 3), correction=0), scale.abs(), rtol=1e-3, atol=1e-3)
    first = F.instance_norm(block.convolutions[0][1](F.pad(x, (1, 1, 1, 1), mode="reflect")))
    hidden = (first * (1 + style[:, 0:2, None, None]) + style[:, 2:4, None, None]).clamp(min=0)
    second = F.instance_norm(block.convolutions[1][1](F.pad(hidden, (1, 1, 1, 1), mode="reflect")))
    torch.testing.assert_close(added, second * scale[:, :, None, None] + shift[:, :, None, None])


def test_one_pass_draws_an_image_in_several_styles() -> None:
    generator = small_generator(blocks=2).double()
    images, styles = torch.randn(2, 3, 8, 12, dtype=torch.float64), torch.randn(6, 3, dtype=torch.float64)
    encoded: list[int] = []
    generator.encoder.register_forward_hook(lambda _, given, __: encoded.append(len(given[0])))
    together = generator(images, styles)
    assert encoded == [2]
    for number, style in enumerate(styles):
        alone = generator(images[number % 2][None], style[None])[0]
        torch.testing.assert_close(together[number], alone)
        assert (together[(number + 2) % 6] - alone).abs().max() > 0.01, "another style, the same picture"
