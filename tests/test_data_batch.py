"""Collating samples, and finishing raw batches: in a worker, and on the device that trains."""

from __future__ import annotations

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from data import finish
from data.batch import Choices, collate
from data.jitter import jitter, merge, plan_jitter
from util.errors import UserError

GPU = pytest.param("cuda", marks=[
    pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")])


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def raw_samples(count: int = 4, *, channels: int = 3, augment: bool = True) -> list[dict]:
    """Return raw samples of both domains, of which every second image is to be mirrored."""
    samples = []
    for index in range(count):
        samples.append({})
        for domain, name in enumerate("AB"):
            random = seeded(2 * index + domain)
            samples[-1] |= {
                name: torch.randint(256, (channels, 20, 24), generator=random, dtype=torch.uint8),
                f"{name}_choices": Choices(index % 2 == 0, plan_jitter(random) if augment else None),
                f"{name}_paths": f"{name}/{index}.png",
            }
    return samples


def on(device: str, batch: dict) -> dict:
    return {name: value.to(device) if isinstance(value, torch.Tensor) else value for name, value in batch.items()}


@pytest.mark.parametrize("pixels", [torch.tensor([0, 255], dtype=torch.uint8), torch.tensor([0.0, 1.0])])
def test_finished_images_span_minus_one_to_one(pixels):
    finished = finish(collate([{"A": pixels.reshape(1, 1, 2), "A_choices": Choices(False, None), "A_paths": "a"}]))
    assert finished["A"].dtype == torch.float32
    assert finished["A"].tolist() == [[[[-1.0, 1.0]]]]
    assert finished.keys() == {"A", "A_paths"}


def test_each_image_is_mirrored_and_jittered_by_its_own_choices():
    samples = raw_samples()
    finished = finish(collate(samples))
    for name in "AB":
        for index, sample in enumerate(samples):
            image, plan = sample[name], sample[f"{name}_choices"].jitter
            crop = (image.flip(2) if index % 2 == 0 else image) / 255
            torch.testing.assert_close(finished[name][index], 2 * crop - 1)
            torch.testing.assert_close(finished[f"{name}_aug"][index], 2 * jitter(crop[None], *merge([plan]))[0] - 1)
        assert finished[f"{name}_paths"] == [sample[f"{name}_paths"] for sample in samples]


def test_no_copies_without_augment():
    assert finish(collate(raw_samples(augment=False))).keys() == {"A", "B", "A_paths", "B_paths"}


def test_a_batch_is_finished_as_its_images_would_be_alone():
    samples = raw_samples()
    whole = finish(collate(samples))
    for index in range(4):
        alone = finish(collate(samples[index:index + 1]))
        assert all(torch.equal(alone[name], whole[name][index:index + 1]) for name in ("A", "B", "A_aug", "B_aug"))


@pytest.mark.parametrize("device", ["meta", GPU])
@pytest.mark.parametrize("channels", [1, 3])
def test_finishing_never_waits_for_the_device(device, channels):
    """A tensor on the meta device has no values: whatever reads one, as .item() or .cpu() does, raises."""
    batch = on(device, collate(raw_samples(channels=channels)))
    if device == "cuda":
        torch.cuda.set_sync_debug_mode("error")
    try:
        finished = finish(batch)
    finally:
        if device == "cuda":
            torch.cuda.set_sync_debug_mode("default")
    assert finished["A"].device.type == finished["B_aug"].device.type == device
    assert finished["A_aug"].shape == (4, channels, 20, 24)


class Operations(TorchDispatchMode):
    """Counts operations."""

    count = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        self.count += 1
        return function(*args, **(kwargs or {}))


def test_a_batch_needs_hardly_more_operations_than_an_image():
    counts = []
    for size in (1, 8):
        batch = on("meta", collate(raw_samples(size)))
        with Operations() as operations:
            finish(batch)
        counts.append(operations.count)
    assert counts[1] < 2 * counts[0]


@pytest.mark.parametrize("device", [GPU])
def test_device_and_worker_agree_but_for_rounding(device):
    batch = collate(raw_samples())
    in_worker, on_device = finish(batch), finish(on(device, batch))
    for name in ("A", "B", "A_aug", "B_aug"):
        torch.testing.assert_close(on_device[name].cpu(), in_worker[name], atol=1e-4, rtol=0)


def test_tensors_are_stacked_and_everything_else_is_listed():
    samples = [{"A": torch.full((1, 2, 3), i, dtype=torch.uint8), "A_paths": str(i), "A_choices": Choices(False, None)}
               for i in range(2)]
    batch = collate(samples)
    assert batch["A"].shape == (2, 1, 2, 3)
    assert batch["A"][:, 0, 0, 0].tolist() == [0, 1]
    assert batch["A_paths"] == ["0", "1"]
    assert batch["A_choices"].tolist() == [[0, 0]]
    assert batch["A_steps"] == ()


def test_8_bit_and_16_bit_images_share_a_batch():
    levels = torch.arange(256, dtype=torch.uint8).reshape(1, 16, 16)
    samples = [{"A": image, "A_paths": "", "A_choices": Choices(False, None)} for image in (levels, levels / 255)]
    eight, sixteen = finish(collate(samples))["A"]
    torch.testing.assert_close(eight, sixteen)
    assert torch.equal(eight, finish(collate(samples[:1]))["A"][0])


def test_different_sizes_are_refused_with_both_files():
    samples = [{"A": torch.zeros(3, 4, width), "A_paths": f"{width}.png"} for width in (5, 6)]
    with pytest.raises(UserError, match=r"\(5\.png gives 5x4 and 6\.png gives 6x4\); use --batch_size 1"):
        collate(samples)
