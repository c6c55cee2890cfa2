"""Images of many channels and depths, from training to translations, scores, exports and the app."""

from __future__ import annotations

import json
import re
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import tifffile
import torch
from cli import TINY, TINY_TEST, run
from PIL import Image
from states import content, differing

from inference import load
from util.images import load_normalized
from util.value_ranges import to_fraction
from web.checkpoints import find_checkpoints
from web.examples import reader, thumbnails
from web.pictures import Studio

BANDS = ("--input_nc", "5", "--range_A", "0,4500", "--rgb_bands", "3,2,1")


def make(root: Path, kind: str, count: int = 3) -> Path:
    outcome = run("datasets.make_example", kind, "--out", root / "data", "--count", count, "--size", "40")
    assert outcome.code == 0, outcome.err
    return root / "data"


def trained(data: Path, name: str, *flags: object) -> str:
    """Train for a few images; return what the program prints."""
    outcome = run("train.py", "--dataroot", data, "--checkpoints_dir", data.parent / "checkpoints", "--name", name,
                  "--model", "sc", "--learned_attn", "--augment", *TINY, *flags)
    assert outcome.code == 0, outcome.err
    return outcome.out


def picture(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image).astype(float)


@pytest.fixture(scope="module")
def bands(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A training from five bands of 16 bits to colour, without a stop and with one."""
    root = tmp_path_factory.mktemp("bands")
    data = make(root, "multispectral2rgb")
    said = trained(data, "whole", *BANDS, "--max_iters", "6", "--no_html", "false")
    assert "pictures of inputs show channels 3, 2, 1 of 5" in said
    assert "--augment changes the brightness and contrast of all channels together" in said
    trained(data, "stopped", *BANDS, "--max_iters", "3")
    trained(data, "stopped", "--max_iters", "6", "--continue_train", *BANDS)
    return root


def test_five_bands_resume_to_the_bit(bands: Path) -> None:
    whole, stopped = (content(bands / "checkpoints" / name) for name in ("whole", "stopped"))
    assert len(whole) > 100
    assert differing(whole, stopped) == []


def test_pages_of_five_bands_show_three(bands: Path) -> None:
    page = bands / "checkpoints" / "whole" / "web"
    text = (page / "index.html").read_text(encoding="utf-8")
    shown = [page / path for path in re.findall(r'src="([^"]+\.(?:png|jpg|webp))"', text)]
    assert len(shown) >= 3
    for path in shown:
        with Image.open(path) as image:
            assert image.mode == "RGB"


def test_five_bands_become_pictures_and_values(bands: Path) -> None:
    found = {}
    for name, flags in (("png", ()), ("tiff", ("--output_format", "tiff", "--output_bits", "16"))):
        outcome = run("test.py", "--dataroot", bands / "data", "--checkpoints_dir", bands / "checkpoints", "--name",
                      "whole", "--model", "sc", "--results_dir", bands / name, *TINY_TEST, *flags)
        assert outcome.code == 0, outcome.err
        found[name] = bands / name / "whole" / "test_latest"
        assert (found[name] / "index.html").is_file()
    shown = picture(found["png"] / "images" / "real_A" / "0000.png")
    bands_of_input = to_fraction(np.load(bands / "data" / "testA" / "0000.npy"), (0, 4500))[..., [2, 1, 0]]
    assert np.abs(shown - bands_of_input * 255).max() <= 0.51
    made = picture(found["png"] / "images" / "fake_B" / "0000.png")
    values = tifffile.imread(found["tiff"] / "outputs" / "fake_B" / "0000.tif")
    assert (values.dtype, values.shape) == (np.uint16, (40, 40, 3))
    assert np.abs(values / 257 - made).max() <= 0.51


def test_translations_of_five_bands_are_scored(bands: Path) -> None:
    outcome = run("evaluate.py", "metrics", "--name", "whole", "--checkpoints_dir", bands / "checkpoints",
                  "--results_dir", bands / "scores", "--gpu_ids", "-1", "--layer", "relu1_2", "--vgg_weights", "random",
                  "--bootstrap", "0", "--cache_dir", "none", "--json", bands / "scores.json")
    assert outcome.code == 0, outcome.err
    scores = json.loads((bands / "scores.json").read_text(encoding="utf-8"))
    assert {"frechet_outputs", "frechet_inputs", "psnr_outputs", "psnr_inputs"} <= scores.keys()
    assert (scores["translation"]["range_A"], scores["translation"]["rgb_bands"]) == ("0,4500", "3,2,1")


@pytest.mark.slow
@pytest.mark.skipif(not all(map(find_spec, ("onnx", "onnxruntime", "onnxscript"))), reason="no ONNX")
def test_a_generator_of_five_bands_is_exported(bands: Path) -> None:
    import onnxruntime

    outcome = run("export.py", "--name", "whole", "--checkpoints_dir", bands / "checkpoints", "--gpu_ids", "-1",
                  "--output", bands / "bands.onnx")
    assert outcome.code == 0, outcome.err
    assert "[B, 5, H, W] of float32 in [-1, 1] -> [B, 3, H, W]" in outcome.out
    assert "-1 and 1 of the input stand for the values 0 and 4500" in outcome.out
    images = torch.rand(2, 5, 21, 38) * 2 - 1
    session = onnxruntime.InferenceSession(str(bands / "bands.onnx"), providers=["CPUExecutionProvider"])
    expected = load(bands / "checkpoints" / "whole", device="-1")(images)
    assert np.abs(session.run(None, {"images": images.numpy()})[0] - expected.numpy()).max() < 1e-4


def test_a_folder_to_share_has_the_range_and_the_bands(bands: Path) -> None:
    outcome = run("export.py", "--name", "whole", "--checkpoints_dir", bands / "checkpoints", "--gpu_ids", "-1",
                  "--format", "hub", "--output", bands / "hub", "--dataroot", bands / "data" / "testA")
    assert outcome.code == 0, outcome.err
    assert "values of A | 0 to 4500" in (bands / "hub" / "README.md").read_text(encoding="utf-8")
    shared, own = (load(bands / place, device="-1") for place in ("hub", "checkpoints/whole"))
    assert (shared.reading, shared.bands) == (own.reading, own.bands) == ((5, (0, 4500), "--range_A"), (3, 2, 1))
    values = np.load(bands / "data" / "testA" / "0000.npy")
    assert np.array_equal(shared(values), own(values))


def test_the_app_takes_a_file_of_five_bands(bands: Path, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    checkpoint = find_checkpoints(bands / "checkpoints")["whole, latest"]
    studio = Studio(tmp_path, "-1", 0)
    shown = studio.translate(bands / "data" / "testA" / "0000.npy", tmp_path, checkpoint, None, style=1, side=64)
    bands_of_input = to_fraction(np.load(bands / "data" / "testA" / "0000.npy"), (0, 4500))[..., [2, 1, 0]]
    assert np.abs(picture(shown.input) - bands_of_input * 255).max() <= 0.51
    assert picture(shown.output).shape == (40, 40, 3)
    [(thumbnail, _)] = thumbnails([bands / "data" / "testA" / "0000.npy"], tmp_path, reader(checkpoint))
    assert np.abs(picture(thumbnail) - picture(shown.input)).mean() < 5
    assert [picture(path).shape[-1] for path in studio.maps(shown, (0.5, 0.5), "relu3_1", checkpoint)] == [3, 3]


@pytest.mark.parametrize(("flags", "shift", "dtype"), [
    (("--range_B", "0,4095", "--output_bits", "16"), 1024, "uint16"),
    (("--range_B", "-1024,3071", "--output_bits", "16"), 0, "int16"),
    (("--range_B", "-1024,3071"), 0, "float32"),
])
def test_values_of_ct_come_back_within_a_unit_through_the_identity(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, flags: tuple[str, ...], shift: int, dtype: str
) -> None:
    data = make(tmp_path, "ct2mr", count=2)
    hounsfield = np.arange(-1024, 3072, dtype=np.int16).reshape(64, 64)  # every value
    tifffile.imwrite(data / "trainA" / "0000.tif", hounsfield)
    trained(data, "ct", "--input_nc", "1", "--output_nc", "1", "--max_iters", "1", "--range_A", "-1024,3071",
            *flags[:2])
    monkeypatch.setattr("models.test.translate_any_size", lambda generator, images: images)
    outcome = run("test.py", "--dataroot", data / "trainA", "--checkpoints_dir", tmp_path / "checkpoints", "--name",
                  "ct", "--results_dir", tmp_path / "results", *TINY_TEST, "--output_format", "tiff", *flags[2:])
    assert outcome.code == 0, outcome.err
    path = tmp_path / "results" / "ct" / "test_latest" / "outputs" / "fake_B" / "0000.tif"
    values = tifffile.imread(path)
    assert values.dtype == dtype
    assert np.abs(values - (hounsfield.astype(float) + shift)).max() <= 1
    low, high = map(int, flags[1].split(","))
    again = load_normalized(path, 1, (low, high))[0].numpy()
    assert np.abs((again + 1) / 2 * 4095 - 1024 - hounsfield).max() <= 1
