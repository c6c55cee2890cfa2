"""Scores against a true counterpart: by hand on small pictures; SSIM and PSNR as scikit-image has them."""

from __future__ import annotations

import pytest
import torch
from cli import ROOT
from torch import Tensor

from metrics.paired import PSNR_MOST, colour_error, line_iou, line_mask, psnr, ssim
from util.image_folders import find_images
from util.images import load_normalized

DRAWINGS = ROOT / "datasets" / "lineart2color"


def picture(*dark: tuple[int, int]) -> Tensor:
    """Return white [3, 4, 6] with black pixels at (row, column)."""
    image = torch.ones(3, 4, 6)
    for row, column in dark:
        image[:, row, column] = -1
    return image


def test_iou_counts_shared_dark_pixels_over_all_dark_pixels_of_each_image() -> None:
    pairs = {((0, 0), (0, 1), (3, 5)): ((0, 1), (3, 5), (2, 2), (1, 4)), ((1, 1),): ((1, 1),), ((1, 2),): ((1, 1),),
             (): (), ((0, 3),): ()}
    images, truths = (torch.stack([picture(*dark) for dark in of]) for of in (pairs, pairs.values()))
    assert line_iou(images, truths).tolist() == pytest.approx([2 / 5, 1, 0, 1, 0])
    assert colour_error(images, truths).tolist() == pytest.approx([3 / 24, 0, 2 / 24, 0, 1 / 24])


def test_mask_is_where_luminance_is_below_the_threshold() -> None:
    colours = {(255, 0, 0): True, (0, 255, 0): False, (0, 0, 255): True, (127, 127, 127): True, (128, 128, 128): False}
    image = (torch.tensor(list(colours)).T / 255 * 2 - 1)[..., None]
    assert line_mask(image)[:, 0].tolist() == list(colours.values())
    grey = torch.full((3, 2, 2), 0.3 * 2 - 1)
    assert not line_mask(grey, threshold=0.2).any()
    assert line_mask(grey, threshold=0.4).all()


def test_colour_error_is_a_fraction_of_the_range() -> None:
    black, white = -torch.ones(3, 5, 7), torch.ones(3, 5, 7)
    assert colour_error(black, white).item() == 1
    one_channel = black.clone()
    one_channel[1] = 0.0
    assert colour_error(one_channel, black).item() == pytest.approx(0.5 / 3)


@pytest.mark.parametrize("score", [line_iou, colour_error, psnr, ssim])
def test_images_of_different_shapes_are_refused(score) -> None:
    with pytest.raises(ValueError, match="shape"):
        score(torch.zeros(3, 16, 16), torch.zeros(3, 16, 1))


def test_shipped_drawings_reach_a_line_iou_of_079_against_their_coloured_counterparts() -> None:
    drawings, truths = (torch.stack([load_normalized(path, 3) for path in find_images(DRAWINGS / folder, "--x")])
                        for folder in ("testA", "testB"))
    assert len(drawings) == 160
    assert line_iou(drawings, truths).mean().item() == pytest.approx(0.7887, abs=5e-4)


@pytest.mark.parametrize("size", [(16, 20), (11, 11)])
def test_ssim_and_psnr_are_those_of_scikit_image(size: tuple[int, int]) -> None:
    reference = pytest.importorskip("skimage.metrics")
    generator = torch.Generator().manual_seed(0)
    truths = torch.rand(2, 3, *size, generator=generator) * 2 - 1
    images = (truths + 0.3 * torch.randn(truths.shape, generator=generator)).clamp(-1, 1)
    for image, truth, similarity, ratio in zip(images, truths, ssim(images, truths), psnr(images, truths), strict=True):
        arrays = (image.double().numpy(), truth.double().numpy())
        expected = reference.structural_similarity(
            *arrays, data_range=2, channel_axis=0, gaussian_weights=True, sigma=1.5, use_sample_covariance=False)
        assert similarity.item() == pytest.approx(expected, rel=1e-6)
        assert ratio.item() == pytest.approx(reference.peak_signal_noise_ratio(*arrays, data_range=2), rel=1e-6)


def test_limits_of_ssim_and_psnr() -> None:
    image = torch.rand(3, 12, 14) * 2 - 1
    assert ssim(image, image).item() == pytest.approx(1)
    assert psnr(image, image).item() == PSNR_MOST
    assert psnr(torch.ones(3, 2, 2), -torch.ones(3, 2, 2)).item() == 0
    with pytest.raises(ValueError, match="11x11"):
        ssim(torch.zeros(3, 10, 20), torch.zeros(3, 10, 20))
