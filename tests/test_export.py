"""export.py: files that compute what test.py computes, whatever the batch and the size."""

from __future__ import annotations

import sys
from importlib.util import find_spec
from pathlib import Path

import cli
import numpy as np
import pytest
import torch
from tiny import METHODS, NETWORKS, SIZES, train_options
from torch import Tensor

import export as program
from models import MODELS, Model
from models.exporting import FORMATS, Translation, padded_places
from models.networks import create_generator
from models.translation import pad_to_fit, translate_any_size
from training.checkpoints import save_checkpoint

GENERATORS = {
    "resnet": ("resnet_6blocks", {"ngf": 2}),
    "batch": ("resnet_6blocks", {"ngf": 2, "norm": "batch", "dropout": True}),
    "U-Net": ("unet_128", {"ngf": 1}),
    "stylegan2": ("stylegan2", {"ngf": 1, "size": 64, "downsamplings": 2}),
}
BATCHES = ((1, 16, 16), (1, 5, 7), (3, 9, 30), (2, 128, 129))
NEEDS_ONNX = pytest.mark.skipif(not all(map(find_spec, ("onnx", "onnxruntime", "onnxscript"))), reason="no ONNX")
KINDS = [pytest.param("onnx", marks=NEEDS_ONNX), pytest.param("pt2", marks=pytest.mark.slow)]
USUAL = ("sc", "cut", "pix2pix", "gc_gan", "distance_gan", "sb")
SPECIAL = {flags.split()[1]: flags for flags in METHODS.values() if flags.split()[1] not in USUAL}
ARGUMENTS = ("--gpu_ids", "-1", "--name", "run")


def saved(root: Path, flags: str, tag: str = "latest") -> Model:
    """Save a model's checkpoint and options file, as training leaves them."""
    torch.manual_seed(1)
    images = cli.make_images(root / "images", "trainA", "trainB")
    options = train_options(images, flags, defaults=(NETWORKS, SIZES))
    model = MODELS[flags.split()[1]](options, training=True)
    folder = root / "checkpoints" / "run"
    save_checkpoint(folder, tag, model, {})
    options.save(folder, "train_opt")
    return model


def export(root: Path, *flags: object) -> cli.Outcome:
    return cli.run("export.py", *ARGUMENTS, "--checkpoints_dir", root / "checkpoints", *flags)


def run_file(path: Path, images: Tensor) -> Tensor:
    """Run an exported file as another program would."""
    if path.suffix == ".pt2":
        return torch.export.load(path).module()(images)
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    assert [place.name for place in (*session.get_inputs(), *session.get_outputs())] == ["images", "translations"]
    return torch.from_numpy(session.run(None, {"images": images.numpy()})[0])


@pytest.mark.parametrize(("name", "kind"), [
    *(pytest.param(name, "onnx", marks=NEEDS_ONNX) for name in GENERATORS), ("resnet", "pt2"), ("U-Net", "pt2"),
])
@pytest.mark.slow
def test_every_generator_is_exported_for_every_size(tmp_path: Path, name: str, kind: str) -> None:
    netG, flags = GENERATORS[name]
    torch.manual_seed(0)
    network = create_generator(netG, **flags).eval()
    run = FORMATS[kind](Translation(network), 3, tmp_path / "file")
    for batch, height, width in BATCHES:
        images = torch.rand(batch, 3, height, width) * 2 - 1
        with torch.inference_mode():
            expected = translate_any_size(network, images)
        torch.testing.assert_close(run(images), expected, rtol=0, atol=1e-4, msg=f"{batch}x{height}x{width}")


@pytest.mark.parametrize("multiple", [1, 4, 8])
def test_padding_in_the_graph_is_that_of_test_py(multiple: int) -> None:
    for side in range(1, 20):
        images = torch.rand(1, 1, side, side)
        rows = padded_places(side, multiple)
        places = torch.where(rows[0].min() >= 0, *rows)
        assert torch.equal(images[:, :, places][:, :, :, places], pad_to_fit(images, multiple, multiple))


@pytest.mark.parametrize("kind", KINDS)
def test_the_program_reads_the_experiments_options_and_checks_what_it_wrote(tmp_path: Path, kind: str) -> None:
    model = saved(tmp_path, "--model sc --norm batch --no_antialias")
    outcome = export(tmp_path, "--format", kind)
    assert (outcome.code, outcome.err) == (0, "")
    path = tmp_path / "checkpoints" / "run" / f"latest_net_G.{kind}"
    assert "largest difference from test.py --eval, over two sizes: " in outcome.out
    assert f"{path}: [B, 3, H, W] of float32 in [-1, 1] -> [B, 3, H, W]" in outcome.out
    images = torch.rand(2, 3, 21, 34) * 2 - 1
    with torch.inference_mode():
        expected = translate_any_size(model.networks["G"].eval(), images)
    torch.testing.assert_close(run_file(path, images), expected, rtol=0, atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_uint8_pictures_go_in_and_come_out(tmp_path: Path, kind: str) -> None:
    model = saved(tmp_path, "--model sc --input_nc 1 --init_gain 0.2")
    path = tmp_path / "deep" / f"file.{kind}"
    outcome = export(tmp_path, "--format", kind, "--uint8", "--output", path)
    assert (outcome.code, outcome.err) == (0, "")
    assert "[B, H, W, 1] of uint8 -> [B, H, W, 3] of uint8" in outcome.out
    pixels = torch.randint(256, (2, 19, 23, 1), dtype=torch.uint8)
    found = run_file(path, pixels)
    assert (found.dtype, found.shape) == (torch.uint8, (2, 19, 23, 3))
    with torch.inference_mode():
        made = translate_any_size(model.networks["G"].eval(), pixels.permute(0, 3, 1, 2) / 255 * 2 - 1)
    expected = ((made + 1) * 127.5).permute(0, 2, 3, 1)
    assert (found - expected).abs().max() < 0.52
    assert found.float().std() > 1


@pytest.mark.slow
@pytest.mark.parametrize("name", SPECIAL)
def test_models_with_other_networks_are_exported(tmp_path: Path, name: str) -> None:
    """The program compares with the model's own translation: of munit_sc that in its first style."""
    model = saved(tmp_path, SPECIAL[name])
    outcome = export(tmp_path, "--model", name, "--format", "pt2")
    assert (outcome.code, outcome.err) == (0, "")
    generator = "G_A" if "G_A" in model.networks else "G"
    assert (tmp_path / "checkpoints" / "run" / f"latest_net_{generator}.pt2").is_file()


def test_a_bridge_of_several_steps_is_no_file(tmp_path: Path) -> None:
    saved(tmp_path, METHODS["UNSB"])
    outcome = export(tmp_path, "--model", "sb")
    assert outcome.code == 2
    assert "--model sb translates in several steps, and a file would hold one of them: use --format hub" in outcome.err


@pytest.mark.slow
def test_averages_epochs_and_halves_are_chosen_as_in_test_py(tmp_path: Path) -> None:
    saved(tmp_path, "--model cycle_gan --ema 0.9", tag="3")
    outcome = export(tmp_path, "--epoch", 3, "--model_suffix", "_B", "--use_ema", "--format", "pt2")
    assert (outcome.code, outcome.err) == (0, "")
    assert (tmp_path / "checkpoints" / "run" / "3_net_G_B_ema.pt2").is_file()


def test_a_wrong_export_is_not_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    saved(tmp_path, "--model sc")

    monkeypatch.setattr(program, "FORMATS", {"onnx": lambda graph, *_: lambda images: graph(images) + 0.001})
    outcome = export(tmp_path)
    assert outcome.code == 2
    assert "latest_net_G.onnx was not written: it would differ from test.py by 0.001 in [-1, 1]" in outcome.err
    assert not list((tmp_path / "checkpoints" / "run").glob("*.onnx"))
    monkeypatch.setattr(program, "FORMATS", {"onnx": lambda *_: lambda images: images * np.nan})
    assert export(tmp_path).code == 2


def test_a_missing_package_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    saved(tmp_path, "--model sc")
    package = "onnxscript"
    monkeypatch.setitem(sys.modules, package, None)
    outcome = export(tmp_path)
    assert outcome.code == 2
    assert f"--format onnx needs the package {package}: pip install onnx onnxscript onnxruntime" in outcome.err


@pytest.mark.parametrize("name", ["file.pt2", "checkpoints/run/latest_net_G.pth"])
def test_a_file_of_another_format_is_not_replaced(tmp_path: Path, name: str) -> None:
    saved(tmp_path, "--model sc")
    (path := tmp_path / name).write_bytes(b"mine")
    outcome = export(tmp_path, "--output", path)
    assert outcome.code == 2
    assert "should end in .onnx" in outcome.err
    assert path.read_bytes() == b"mine"
