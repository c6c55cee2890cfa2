"""Model munit_sc: what one optimisation step computes, and which pictures the styles of test.py give."""

from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from steps import assert_same_steps, batch, build_model, checked_steps
from test_model_sc import plain_distance, plain_similarity
from tiny import METHODS, NETWORKS, SIZES, save_folders, save_noise, train_options, train_step, translate_options
from torch import Tensor

from models.losses.mode_seeking import mode_seeking_loss
from models.munit_sc import MultiModalModel, StyleFlags
from models.styles import ChosenStyleFlags, StyleDimFlags
from options import TrainFlags
from test import translate
from train import train
from util.errors import UserError
from util.state_dicts import load_file

DEFAULTS = (NETWORKS, SIZES, METHODS["MUNIT"])


def build(root: Path, flags: str = "", *, double: bool = False) -> MultiModalModel:
    return build_model(root, flags, defaults=DEFAULTS, double=double)


# --- the losses -----------------------------------------------------------------------------------------------------


def test_mode_seeking_is_the_style_distance_over_that_of_the_pictures() -> None:
    first, second = torch.zeros(2, 1, 1, 2), torch.tensor([[[[0.1, 0.3]]], [[[0.0, -0.02]]]])
    styles = torch.tensor([[1.0, 2.0], [0.0, 0.0]]), torch.tensor([[2.0, 4.0], [0.0, 1.0]])
    expected = (1.5 / (0.2 + 0.01) + 0.5 / (0.01 + 0.01)) / 2
    assert mode_seeking_loss(first, second, *styles).item() == pytest.approx(expected)
    alike = torch.zeros(1, 3, 4, 4, requires_grad=True)
    mode_seeking_loss(alike, alike.detach(), *(style[:1] for style in styles)).backward()
    assert alike.grad.isfinite().all()


class PlainStep:
    """One optimisation step, straight from the formula: a pass for each picture."""

    def __init__(self, model: MultiModalModel) -> None:
        self.networks, self.vgg = copy.deepcopy(model.networks), copy.deepcopy(model.constants["VGG"])
        self.g, self.e, self.d = (self.networks[name] for name in ("G", "E", "D"))
        self.parameters = {"G": [*self.g.parameters(), *self.e.parameters()], "D": list(self.d.parameters())}
        self.optimizers = {name: torch.optim.Adam(of, lr=0.01, betas=(0.5, 0.999))
                           for name, of in self.parameters.items()}

    def picture(self, images: Tensor, styles: Tensor) -> Tensor:
        height, width = images.shape[2:]
        padded = F.pad(images, (0, -width % 4, 0, -height % 4), mode="reflect")
        return self.g(padded, styles)[..., :height, :width]

    def structure(self, source: Tensor, target: Tensor) -> Tensor:
        pairs = list(zip(self.vgg(source), self.vgg(target), strict=True))
        positions = [torch.randperm(f.shape[2] * f.shape[3])[:8] for f, _ in pairs]
        distances = [plain_distance(plain_similarity(a, where, 4), plain_similarity(b, where, 4))
                     for (a, b), where in zip(pairs, positions, strict=True)]
        return sum(distances) / len(distances)

    def descend(self, name: str, loss: Tensor) -> None:
        gradients = torch.autograd.grad(loss, self.parameters[name], materialize_grads=True)
        for parameter, gradient in zip(self.parameters[name], gradients, strict=True):
            parameter.grad = gradient
        self.optimizers[name].step()

    def __call__(self, images: dict[str, Tensor]) -> dict[str, Tensor]:
        a, b = images["A"], images["B"]
        s, t = torch.randn(2 * len(a), 3, dtype=torch.float64).chunk(2)
        fake, other = self.picture(a, s), self.picture(a, t)
        losses = {"D_real": (self.d(b) - 1).square().mean(), "D_fake": self.d(fake.detach()).square().mean()}
        self.descend("D", (losses["D_real"] + losses["D_fake"]) / 2)
        apart = [(x - y).abs().mean() / ((p - q).abs().mean() + 0.01) for x, y, p, q in zip(s, t, fake, other,
                                                                                             strict=True)]
        losses |= {
            "G_GAN": (self.d(fake) - 1).square().mean(),
            "G_spatial": 10 * self.structure(a, fake),
            "G_style_rec": (self.e(fake) - s).abs().mean() + (self.e(other) - t).abs().mean(),
            "G_ms": 0.3 * sum(apart) / len(apart),
            "G_identity": 3 * (self.picture(b, self.e(b)) - b).abs().mean(),
        }
        losses["G"] = sum(loss for name, loss in losses.items() if name.startswith("G_"))
        self.descend("G", losses["G"])
        return losses


@pytest.mark.parametrize(("size_a", "size_b"), [((16, 16), (16, 16)), ((17, 22), (20, 18))])
def test_steps_equal_the_plain_formulas(
    tmp_path: Path, size_a: tuple[int, int], size_b: tuple[int, int]
) -> None:
    flags = "--lr 0.01 --init_gain 0.5 --preprocess none --lambda_style_rec 2 --lambda_ms 0.3 --lambda_identity 3"
    model = build(tmp_path, flags, double=True)
    images = batch(7, 2, size_a=size_a, size_b=size_b, dtype=torch.float64)
    assert_same_steps(model, PlainStep(model), images, steps=2)


def test_images_are_encoded_once_for_both_styles(tmp_path: Path) -> None:
    model = build(tmp_path)
    seen: list[int] = []
    model.generator.encoder.register_forward_hook(lambda _, given, __: seen.append(len(given[0])))
    train_step(model, [batch(count=2)])
    assert seen == [2, 2], "A in two styles, and B in its own"


# --- flags ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("flags", [
    "--learned_attn --augment", "--lambda_ms 0", "--lambda_identity 0", "--lambda_spatial 0", "--loss_mode info",
    "--style_dim 1", "--no_antialias --no_antialias_up", "--norm batch", "--learned_attn --vgg_lr_scale 0.1",
])
def test_steps_work_with(tmp_path: Path, flags: str) -> None:
    model = build(tmp_path, flags)
    checked_steps(model, batch(count=2))


def test_defaults(tmp_path: Path) -> None:
    options = train_options(tmp_path, "--model munit_sc", defaults=())
    assert options[StyleFlags] == StyleFlags(lambda_style_rec=1, lambda_ms=0.02, lambda_identity=1)
    assert options[StyleDimFlags] == StyleDimFlags(style_dim=8)
    assert options[TrainFlags].pool_size == 0
    assert ChosenStyleFlags not in options


@pytest.mark.parametrize(("flags", "message"), [
    ("--gan_mode wgangp", "--gan_mode wgangp needs a gradient penalty"),
    ("--dataset_mode single", "--dataset_mode single has no images of the target domain"),
    ("--input_nc 1", "--lambda_identity translates real B images: it needs --input_nc equal to --output_nc, or"),
    ("--lambda_style_rec 0", "--lambda_style_rec: 0 is too small: it must be above 0"),
    ("--n_styles 3", "--n_styles is not a flag of this program"),
])
def test_flags_that_cannot_work_are_refused_in_one_sentence(
    tmp_path: Path, flags: str, message: str
) -> None:
    with pytest.raises(UserError, match=message) as caught:
        build(tmp_path, flags)
    assert "\n" not in str(caught.value)


# --- test.py --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with trained experiments, which tests only read."""
    root = save_folders(tmp_path_factory.mktemp("trained"), counts=(2, 2))
    shared = "--max_iters 1 --seed 1 --no_html --ema 0.5 --init_gain 0.5"
    train(train_options(root, f"--name colour {shared}", defaults=(NETWORKS, SIZES, METHODS["MUNIT"])))
    return root


@pytest.fixture
def root(tmp_path: Path, trained: Path) -> Path:
    (tmp_path / "checkpoints").symlink_to(trained / "checkpoints")
    for index, size in enumerate([(24, 20), (33, 17)]):
        save_noise(tmp_path / "testA" / f"{index}.png", index, size)
    save_noise(tmp_path / "red.png", 5, (19, 40))
    save_noise(tmp_path / "blue.png", 6, (7, 9))
    return tmp_path


def pictures(root: Path, flags: str, name: str = "colour") -> dict[str, np.ndarray]:
    """Return the pictures that test.py writes, by ``label/name``; ``real_A`` is left out."""
    results = root / "results" / str(len(list(root.glob("results/*"))))
    translate(translate_options(root, root, f"--model munit_sc --name {name} --results_dir {results} {flags}"))
    folder = results / name / "test_latest" / "images"
    return {path.relative_to(folder).with_suffix("").as_posix(): np.asarray(Image.open(path)).astype(int)
            for path in folder.rglob("*.png") if path.parent.name != "real_A"}


def test_without_its_model_a_checkpoint_is_not_guessed_at(root: Path) -> None:
    with pytest.raises(UserError, match=r"colour was trained with --model munit_sc, .* add --model munit_sc"):
        translate_options(root, root, "--name colour")


def test_each_image_gets_the_same_styles_in_every_run(root: Path) -> None:
    three = pictures(root, "--n_styles 3")
    assert sorted(three) == [f"fake_B_{style}/{image}" for style in (1, 2, 3) for image in (0, 1)]
    assert three["fake_B_1/1"].shape == (17, 33, 3)
    again = pictures(root, "--n_styles 2 --batch_size 2")
    assert all(np.array_equal(picture, three[name]) for name, picture in again.items())
    alone = pictures(root, "")
    assert sorted(alone) == ["fake_B/0", "fake_B/1"]
    assert np.array_equal(alone["fake_B/0"], three["fake_B_1/0"])
    other = pictures(root, "--n_styles 3 --seed 5")
    for name, picture in three.items():
        assert np.abs(picture - other[name]).mean() > 1, "another seed, the same style"
    for first, second in ((1, 2), (1, 3), (2, 3)):
        for image in (0, 1):
            difference = three[f"fake_B_{first}/{image}"] - three[f"fake_B_{second}/{image}"]
            assert np.abs(difference).mean() > 1, "another style, the same picture"


def test_pictures_are_those_of_the_trained_generator(
    root: Path, trained: Path
) -> None:
    folder = trained / "checkpoints" / "colour"
    model = build(root, "--init_gain 0.5")
    for name in ("G", "E"):
        model.networks[name].load_state_dict(load_file(folder / f"latest_net_{name}.pth"))
    style = torch.randn(1, 3, generator=torch.Generator().manual_seed(4))
    image = tensor(root / "testA" / "0.png")
    red = model.encoder(tensor(root / "red.png"))
    for flags, chosen in (("--seed 4", style), (f"--style_image {root / 'red.png'}", red)):
        with torch.no_grad():
            expected = (model.generator(image, chosen)[0] + 1) * 127.5
        found = pictures(root, flags)["fake_B/0"]
        assert np.abs(found - expected.permute(1, 2, 0).numpy()).max() <= 1
        assert found.std() > 1


def tensor(path: Path) -> Tensor:
    return torch.from_numpy(np.array(Image.open(path))).permute(2, 0, 1)[None].float() / 127.5 - 1


@pytest.mark.parametrize("more", ["--use_ema --batch_size 2", "--amp bf16 --tile 16 --tile_overlap 8"])
def test_a_style_is_taken_from_a_picture_of_any_size(root: Path, more: str) -> None:
    red, blue = (pictures(root, f"--style_image {root / name}.png {more}") for name in ("red", "blue"))
    assert sorted(red) == sorted(blue) == ["fake_B/0", "fake_B/1"]
    assert red["fake_B/1"].shape == (17, 33, 3)
    assert all(np.abs(red[name] - blue[name]).max() > 1 for name in red)


def test_exact_tiles_give_the_untiled_picture(root: Path) -> None:
    save_noise(root / "testA" / "1.png", 3, (156, 60))
    whole, tiled = (pictures(root, f"--n_styles 2 {flags}")
                    for flags in ("", "--tile 148 --tile_overlap 144 --tile_statistics exact"))
    for name, picture in whole.items():
        assert np.abs(picture - tiled[name]).max() <= 1, name


@pytest.mark.parametrize(("flags", "message"), [
    ("--n_styles 2 --style_image red.png", "--style_image gives one style and --n_styles 2 draws others"),
    ("--style_image nowhere.png", "--style_image: there is no file nowhere.png"),
    ("--n_styles 0", "--n_styles: 0 is too small"),
    ("--tile 18", "--tile 18 is no multiple of 4, which the generator needs: use 20"),
])
def test_wrong_flags_of_a_translation_are_one_sentence(root: Path, flags: str, message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        pictures(root, flags)
    assert "\n" not in str(caught.value)


def test_weights_of_parts_without_normalisation_are_large_whatever_init_type_says(tmp_path: Path) -> None:
    model = build(tmp_path)
    with torch.no_grad():
        images = batch(count=2)["A"]
        first, second = (model.generator(images, torch.randn(2, 3)) for _ in range(2))
        assert model.encode_style(images).std() > 0.05
    assert (first - second).abs().mean() > 0.01 * first.abs().mean()


def test_the_picture_of_a_style_is_read_by_the_range_of_its_domain(tmp_path: Path) -> None:
    np.save(tmp_path / "style.npy", np.array([[-1024, 3071], [1023.5, -1024]], dtype=np.float32))
    options = translate_options(tmp_path, tmp_path, "--model munit_sc --output_nc 1 --range_B -1024,3071 "
                                f"--dataset_mode single --style_image {tmp_path / 'style.npy'}")
    model = MultiModalModel(options, training=False)
    assert model.style_image.tolist() == [[[[-1, 1], [0, -1]]]]
