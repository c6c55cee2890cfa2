"""Fixed samples of a training: the same images, translated at each report, so that reports can be compared."""

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from data import DATASETS, ImageDataset, SampleKey, collate, finish
from data.sampler import spread
from evaluation.experiments import mode_for_test, options_for_test
from evaluation.set_translator import Names
from inference import Translator
from models import Model
from options import DataFlags, DisplayFlags, EvalFlags, Options, SpeedFlags
from util.errors import UserError
from util.loggers import Sink
from util.loggers.sink import SAMPLES, reason
from util.shown import picture, scaled_down

from .evaluation import undisturbed

LABELS = {"real_A": "input", "fake_B": "output", "real_B": "truth", "real_A_similarity": "input_similarity",
          "fake_B_similarity": "output_similarity"}


class FixedSamples:
    """``--sample_images`` images of the test set, or of the training set if there is no test set.

    They depend only on the files, so that all trainings on a data set show the same ones. They are translated as by
    test.py, with the moving average if there is one. Drawing them does not affect the training: the weights are copied
    into a model for translation, and random states are restored.

    Args:
        options: of the training.
        model: the model.
        device: of the model.
        warn: shows a sentence about images that are left out.

    Attributes:
        samples: by name, as on the pages of results: ``input`` and, if it is known, ``truth``, [C, H, W] in [-1, 1].
        masks: of the samples, by ``--mask_A``; None: they have none.

    Raises:
        UserError: there are no images, or test.py cannot translate with the options.
    """

    def __init__(self, options: Options, model: Model, device: torch.device, warn: Callable[[str], None]) -> None:
        self._model, self._device = model, device
        self.samples: dict[str, dict[str, Tensor]] = {}
        self.masks: list[Tensor] | None = [] if options[DataFlags].mask_A else None
        with undisturbed(device):
            test, dataset = sample_set(options, averaged=bool(model.decays))
            self._translator = Translator(test, device)
            names = Names(dataset.root)
            longest = options[DataFlags].load_size if options[DataFlags].preprocess == "zoom_and_patch" else math.inf
            for item in spread(options[DisplayFlags].sample_images, len(dataset)):
                try:
                    self._add(finish(collate([dataset[SampleKey(item, 0)]])), names, longest)
                except UserError as error:
                    warn(f"--sample_images: {error}; the samples go on without this image")

    def _add(self, batch: dict[str, Any], names: Names, longest: float) -> None:
        self.samples[names.of(batch["A_paths"][0])] = {
            label: scaled_down(batch[name], longest)[0].clamp(-1, 1) for name, label in (("A", "input"), ("B", "truth"))
            if name in batch}
        if self.masks is not None:
            self.masks.append(scaled_down(batch["A_mask"].float(), longest)[0] > 0.5)

    def draw(self) -> dict[str, Tensor]:
        """Translate the samples with the present weights.

        Returns:
            Pictures [1 or 3, H, W] in [-1, 1] by name, ``samples/NAME/LABEL``. LABEL is ``input``, ``output``,
            ``truth`` if it is known, or what the model draws, such as ``output_similarity``; it has no slash.
        """
        drawn: dict[str, Tensor] = {}
        with undisturbed(self._device), torch.no_grad():
            torch.manual_seed(0)  # of dropout, and of the noise of stylegan2
            self._translator.copy_weights(self._model.networks)
            outputs = self._translator([images["input"] for images in self.samples.values()], mask=self.masks)
            for (name, images), output in zip(self.samples.items(), outputs, strict=True):
                pair = {"real_A": images["input"], "fake_B": output}
                maps = self._model.drawn({label: image[None].to(self._device) for label, image in pair.items()})
                shown = {"input": images["input"], "output": output, **images,
                         **{LABELS.get(label, label.replace("/", "_")): image[0] for label, image in maps.items()}}
                drawn |= {f"{SAMPLES}/{name}/{label}": picture(image, self._model.bands)
                          for label, image in shown.items()}
        return drawn


def open_samples(
    options: Options, model: Model, device: torch.device, sinks: Sequence[Sink], warn: Callable[[str], None]
) -> FixedSamples | None:
    """Open the fixed samples if a logger takes images; if they cannot be translated, warn and return None."""
    if not options[DisplayFlags].sample_images or not any(sink.takes_images() for sink in sinks):
        return None
    try:
        return FixedSamples(options, model, device, warn)
    except Exception as error:  # of any model or data set, or of memory
        warn(f"--sample_images: no image can be translated ({reason(error)}); the training goes on without samples")
        return None


def sample_set(options: Options, *, averaged: bool) -> tuple[Options, ImageDataset]:
    """Return the options of ``test.py`` for fixed samples, and their data set.

    Images are preprocessed as for the training, but without random choices: ``resize_and_crop`` scales the whole image
    to --crop_size, other crops are taken from the centre, and ``zoom_and_patch`` leaves the image whole.

    Raises:
        UserError: neither the test set nor the training set has images to translate.
    """
    data, scores, trained = options[DataFlags], options[EvalFlags], options.as_dict()
    root = Path(scores.eval_dataroot or data.dataroot)
    whole = data.preprocess == "zoom_and_patch"
    flags = [
        f"--preprocess={'none' if whole else data.preprocess}", f"--crop_size={data.crop_size}",
        f"--load_size={data.crop_size if data.preprocess == 'resize_and_crop' else data.load_size}",
        f"--batch_size={options[DisplayFlags].sample_images}", f"--use_ema={averaged}",
        f"--no_tf32={options[SpeedFlags].no_tf32}"]

    def opened(folder: Path, phase: str, mode: str) -> tuple[Options, ImageDataset]:
        test = options_for_test(trained, f"--dataroot={folder}", f"--phase={phase}", f"--dataset_mode={mode}", *flags)
        return test, DATASETS[mode](test, training=False)

    try:
        return opened(root, scores.eval_phase, mode_for_test(trained, root, scores.eval_phase, "auto"))
    except UserError:
        return opened(Path(data.dataroot), data.phase, data.dataset_mode)
