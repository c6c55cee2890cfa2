"""Line overlap and colour error, counted by hand on small pictures; SSIM and PSNR, as scikit-image has them."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from evaluation.pairing import Unsuited, partners, read_image
from metrics.paired import PSNR_MOST, colour_error, line_iou, line_mask, psnr, ssim
from util.images import find_images

DRAWINGS = Path(__file__).parent.parent / "datasets" / "lineart2color"


def picture(*dark: tuple[int, int], size: tuple[int, int] = (4, 6)) -> Tensor:
    """White [3, H, W] with black pixels at (row, column)."""
    image = torch.ones(3, *size)
    for row, column in dark:
        image[:, row, column] = -1
    return image


def test_iou_counts_shared_dark_pixels_over_all_dark_pixels():
    image, truth = picture((0, 0), (0, 1), (3, 5)), picture((0, 1), (3, 5), (2, 2), (1, 4))
    assert line_iou(image, truth).item() == pytest.approx(2 / 5)


def test_iou_of_equal_images_is_one_and_of_disjoint_lines_zero():
    assert line_iou(picture((1, 1)), picture((1, 1))).item() == 1
    assert line_iou(picture((1, 1)), picture((1, 2))).item() == 0


def test_two_images_without_dark_pixels_agree():
    assert line_iou(picture(), picture()).item() == 1
    assert line_iou(picture(), picture((0, 0))).item() == 0


def test_scores_of_a_batch_are_those_of_its_images():
    images = torch.stack([picture((0, 0)), picture((0, 0), (0, 1)), picture()])
    truths = torch.stack([picture((0, 0)), picture((0, 1)), picture((2, 2))])
    assert line_iou(images, truths).tolist() == [1, 0.5, 0]
    assert colour_error(images, truths).tolist() == pytest.approx([0, 1 / 24, 1 / 24])


@pytest.mark.parametrize(
    ("rgb", "dark"),
    [((255, 0, 0), True), ((0, 255, 0), False), ((0, 0, 255), True), ((127, 127, 127), True),
     ((128, 128, 128), False), ((255, 128, 0), False)],
)
def test_mask_is_where_luminance_is_below_one_half(rgb: tuple[int, int, int], dark: bool):
    image = (torch.tensor(rgb) / 255 * 2 - 1).view(3, 1, 1)
    assert line_mask(image).tolist() == [[dark]]


def test_threshold_decides_what_is_dark():
    grey = torch.full((3, 2, 2), 0.3 * 2 - 1)
    assert not line_mask(grey, threshold=0.2).any()
    assert line_mask(grey, threshold=0.4).all()


def test_colour_error_is_a_fraction_of_the_range():
    black, white = -torch.ones(3, 5, 7), torch.ones(3, 5, 7)
    assert colour_error(black, white).item() == 1
    one_channel = black.clone()
    one_channel[1] = 0.0
    assert colour_error(one_channel, black).item() == pytest.approx(0.5 / 3)


@pytest.mark.parametrize("measure", [line_iou, colour_error])
def test_images_of_different_shapes_are_refused(measure):
    with pytest.raises(ValueError, match="shape"):
        measure(torch.zeros(3, 4, 4), torch.zeros(3, 4, 1))


def test_shipped_drawings_reach_a_line_iou_of_079_against_their_coloured_counterparts():
    drawings = find_images(DRAWINGS / "testA", "--inputs", subfolders=False)
    scores = [
        line_iou(read_image(drawing), read_image(truth)).item()
        for drawing, truth in zip(drawings, partners(drawings, DRAWINGS / "testB", "--truth"), strict=True)
    ]
    assert len(scores) == 160
    assert sum(scores) / 160 == pytest.approx(0.7887, abs=5e-4)


@pytest.fixture(params=[(16, 20), (11, 11), (40, 33)], ids=str)
def noisy(request: pytest.FixtureRequest) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    truth = torch.rand(2, 3, *request.param, generator=generator) * 2 - 1
    return (truth + 0.3 * torch.randn(truth.shape, generator=generator)).clamp(-1, 1), truth


def test_ssim_and_psnr_are_those_of_scikit_image(noisy: tuple[Tensor, Tensor]):
    reference = pytest.importorskip("skimage.metrics")
    for image, truth, similarity, ratio in zip(*noisy, ssim(*noisy), psnr(*noisy), strict=True):
        arrays = (image.double().numpy(), truth.double().numpy())
        expected = reference.structural_similarity(
            *arrays, data_range=2, channel_axis=0, gaussian_weights=True, sigma=1.5, use_sample_covariance=False)
        assert similarity.item() == pytest.approx(expected, rel=1e-6)
        assert ratio.item() == pytest.approx(reference.peak_signal_noise_ratio(*arrays, data_range=2), rel=1e-6)


def test_an_image_is_like_itself():
    image = torch.rand(3, 12, 14) * 2 - 1
    assert ssim(image, image).item() == pytest.approx(1)
    assert psnr(image, image).item() == PSNR_MOST
    assert psnr(torch.ones(3, 2, 2), -torch.ones(3, 2, 2)).item() == 0


def test_ssim_refuses_what_is_smaller_than_its_window():
    with pytest.raises(Unsuited, match="11x11"):
        ssim(torch.zeros(3, 10, 20), torch.zeros(3, 10, 20))
