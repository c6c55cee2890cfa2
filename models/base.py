"""The base of every model: networks, optimizers and four verbs."""

import copy
from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable, Iterable, Mapping
from pathlib import Path
from typing import Any, ClassVar, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from options import DataFlags, FlagOwner, Options, RunFlags, TrainFlags
from util.errors import UserError
from util.shown import picture
from util.state_dicts import AVERAGE, load_file, network_path

from .diff_augment import diff_augment
from .losses.gan import gan_loss, gradient_penalty, r1_penalty
from .networks.discriminators import judge
from .networks.recognition import recognize_generator
from .objective import Minimize, Objective, total
from .structure import Pair, PairFeatures, Structure
from .structure_flags import CHOICES
from .translation import translate_any_size

INPUTS = {"A": "real_A", "B": "real_B", "A_aug": "aug_A", "B_aug": "aug_B", "A_mask": "mask_A"}
"""Names in a batch, and the names of the same images in a model."""


class Stateful(Protocol):
    """Something beside networks and optimizers that a resumed run needs."""

    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state: dict[str, Any], /) -> Any: ...


class Model(FlagOwner, ABC):
    """One method of image translation: take a batch, translate, optimise, show.

    A method defines at least ``__init__`` and `optimize_parameters`. It is built of the parts that follow `drawn`.

    Devices, precision, checkpoints, schedules and logs belong to the training.

    Attributes:
        networks: trained networks by name. Those named in ``published`` are also saved as plain state dicts.
        optimizers: by name; ``G`` is the generator's.
        constants: frozen networks. They are moved to the device and not saved.
        memory: other state that a resumed run needs.
        learned_losses: names of networks that are part of a loss. They are always computed in float32.
        images: the current images by name: real, generated and augmented. `INPUTS`, and those that a step adds.
        shown: names of the images that `visuals` returns, in order.
        structures: structure losses, see `add_structure`.
        drawings: functions that draw more pictures of images, by name.
        translator: name of the network that translates.
        shared: names of the networks that a hub folder gets beside it.
        augmentation: policies of `diff_augment` for the images that discriminators see.
        bands: ``--rgb_bands``.
        takes_masks: whether training composes translations by ``--mask_A``.
        autoencoders: names of the generators that ``--identity_first`` can teach to return their input; all that the
            model has, or none.
        images_last: whether `set_input` stores images channels last, so that each network need not.
        judged_channels: channels of each picture, where a discriminator sees several pictures side by side as channels.
        choice: result of `choose` for the current batch.
    """

    published: tuple[str, ...] = ("G",)
    translator: ClassVar[str] = "G"
    shared: ClassVar[tuple[str, ...]] = ()
    shown: tuple[str, ...] = ("real_A", "fake_B", "real_B", "idt_B")
    learned_losses: tuple[str, ...] = ()
    takes_masks: ClassVar[bool] = False
    autoencoders: ClassVar[tuple[str, ...]] = ()

    def __init__(self, options: Options, *, training: bool) -> None:
        """Build everything; parts that only training needs are built only with ``training``.

        Raises:
            UserError: the model does not train with ``--mask_A`` or ``--identity_first``.
        """
        if training and options[DataFlags].mask_A and not self.takes_masks:
            raise UserError(f"--mask_A: --model {options[RunFlags].model} does not train with masks; leave it out, or "
                            "choose another model")
        if training and options[TrainFlags].identity_first:
            self._check_autoencoders(options)
        self.augmentation: tuple[str, ...] = options[TrainFlags].diff_augment if training else ()
        self.bands = options[DataFlags].rgb_bands
        self.images_last = False
        self.judged_channels: tuple[int, ...] = ()
        self.images: dict[str, Tensor] = {}
        self.drawings: list[Callable[[Mapping[str, Tensor]], dict[str, Tensor]]] = []
        self.structures: list[Structure] = []
        self.networks: dict[str, nn.Module] = {}
        self.optimizers: dict[str, torch.optim.Optimizer] = {}
        self.constants: dict[str, nn.Module] = {}
        self.memory: dict[str, Stateful] = {}
        self.decays: dict[str, float] = {}  # of moving averages, by network
        self.choice: Hashable = None

    def set_input(self, batch: Mapping[str, Any]) -> None:
        """Take a batch from the data set; images are [B, C, H, W] in [-1, 1], on the model's device.

        With ``--mask_A``, ``mask_A`` is bool [B, 1, H, W], False where it is black.
        """
        self.images = {name: batch[key] for key, name in INPUTS.items() if key in batch}
        if self.images_last:
            self.images = {name: image.contiguous(memory_format=torch.channels_last)
                           for name, image in self.images.items()}

    def study(self, samples: Iterable[Mapping[str, Any]]) -> None:
        """Measure training images before the first step, also of a resumed run; most models do nothing.

        Args:
            samples: batches of one image of each domain, ``A`` and ``B``, on the CPU. They are always the same, and
                are read one by one.
        """

    def choose(self) -> Hashable:
        """Draw on the host, before a batch, the choice of the operations of `optimize_parameters`; None: no choice.

        A CUDA graph repeats the operations of one choice. Everything else that is random is drawn on the device.
        """
        return None

    def translate(self, images: Tensor) -> Tensor:
        """Translate [B, C, H, W] in [-1, 1] to the other domain, at the same height and width."""
        return translate_any_size(self.networks[self.translator], images)

    def translators(self) -> Mapping[str, Callable[[Tensor], Tensor]]:
        """Return functions like `translate`, one for each result of test.py, by the result's name."""
        return {"fake_B": self.translate}

    @abstractmethod
    def optimize_parameters(self, minimize: Minimize) -> None:
        """Train on the current batch: `minimize` each optimizer's objective, in the method's order."""

    def visuals(self) -> dict[str, Tensor]:
        """Return pictures of the current images by name, [B, 1 or 3, H, W] in [-1, 1]."""
        return {name: picture(self.images[name].detach(), self.bands) for name in self.shown if name in self.images}

    @torch.no_grad()
    def drawn(self, images: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return pictures that the model's parts draw from images by name, [B, C, H, W] in [-1, 1]; change nothing."""
        return {name: image for draw in self.drawings for name, image in draw(images).items()}

    def discriminator_loss(
        self, name: str, real: Tensor, fake: Tensor, *, gan_mode: str, penalty: float = 0.0, r1: float = 0.0,
        given: tuple[Tensor, ...] = (),
    ) -> Objective:
        """Compute the adversarial loss of a discriminator, with its gradient penalties.

        Args:
            name: of the discriminator in ``networks``.
            real, fake: images to tell apart, [B, C, H, W]. No gradient reaches ``fake``. The discriminator sees both
                through ``--diff_augment``, and the penalties are taken at what it sees.
            gan_mode: see `gan_loss`.
            penalty: weight of the gradient penalty, see `gradient_penalty`.
            r1: weight of the gradient penalty at real images, see `r1_penalty`.
            given: further inputs of the discriminator, the same for all images.

        Returns:
            The mean of ``D_real`` and ``D_fake`` plus, where weighted, ``D_penalty`` and ``D_R1``, for a
            discriminator ``D``.
        """
        discriminator = self.networks[name]
        real, fake = self.augment(real), self.augment(fake.detach())
        of_real, of_fake = judge(discriminator, real, fake, *given)
        terms = {f"{name}_real": gan_loss(of_real, True, mode=gan_mode, for_discriminator=True),
                 f"{name}_fake": gan_loss(of_fake, False, mode=gan_mode, for_discriminator=True)}
        loss = torch.stack(list(terms.values())).mean()
        if penalty:
            height, width = (min(sides) for sides in zip(real.shape[2:], fake.shape[2:], strict=True))
            images = (image[..., :height, :width] for image in (real, fake))  # sizes differ in training without a crop
            terms[f"{name}_penalty"] = gradient_penalty(discriminator, *images, weight=penalty)
            loss = loss + terms[f"{name}_penalty"]
        if r1:
            terms[f"{name}_R1"] = r1_penalty(discriminator, real, gamma=r1)
            loss = loss + terms[f"{name}_R1"]
        return Objective(loss, terms)

    def adversarial(self, name: str, fake: Tensor, *, gan_mode: str, given: tuple[Tensor, ...] = ()) -> Tensor:
        """Compute the generator's adversarial loss against the discriminator ``name``.

        Args:
            fake: [B, C, H, W]; gradients reach it, through ``--diff_augment``.
            gan_mode: see `gan_loss`.
            given: see `discriminator_loss`.
        """
        scores = self.networks[name](self.augment(fake), *given)
        return gan_loss(scores, True, mode=gan_mode, for_discriminator=False)

    def augment(self, images: Tensor) -> Tensor:
        """Change images [B, C, H, W] as a discriminator sees them, by ``--diff_augment``."""
        return diff_augment(images, self.augmentation, channels=self.judged_channels)

    def add_structure(self, structure: Structure) -> None:
        """Train and save the networks of a `Structure` with the model's own, and show its drawings."""
        self.networks |= structure.networks
        self.constants |= structure.constants
        self.optimizers |= structure.optimizers
        self.drawings.append(structure.draw)
        self.structures.append(structure)

    def add_chosen_structure(self, structure: str, options: Options) -> None:
        """Build and add the spatially-correlative loss, if ``--structure`` chooses it; set ``by_structure``."""
        self.by_structure = structure in CHOICES
        if self.by_structure:
            self.structure = Structure(options)
            self.add_structure(self.structure)

    def learn_structure(self, minimize: Minimize) -> PairFeatures | None:
        """Extract the features of A and its translation, and train LSeSim's heads; None without ``--structure``."""
        if not self.by_structure:
            return None
        features = self.structure.features(Pair.of(self.images))
        if self.structure.learns:
            minimize("F", lambda: self.structure.contrast([features]))
        return features

    def structure_term(self, features: PairFeatures | None) -> dict[str, Tensor]:
        """Return the weighted structure distance of A and its translation; no term without ``--structure``."""
        if features is None:
            return {}
        distance = self.structure.distance(self.structure.renewed(features))
        return {"G_spatial": self.structure.flags.lambda_spatial * distance}

    def compile_losses(self, **options: Any) -> None:
        """Compile the losses, with options of torch.compile; `precision.prepare` compiles the other networks."""
        for structure in self.structures:
            structure.compile(**options)

    def keep_averages(self, decay: float, *names: str) -> None:
        """Keep an exponential moving average of networks' weights beside them, published as ``NAME_ema``; 0: none.

        Averaging the last ``1 / (1 - decay)`` steps or so removes much of the oscillation of adversarial training
        (Yazici et al., "The Unusual Effectiveness of Averaging in GAN Training", ICLR 2019).
        """
        for name in names if decay else ():
            self.decays[name] = decay
            self.networks[name + AVERAGE] = copy.deepcopy(self.networks[name]).requires_grad_(False)
            self.published = (*self.published, name + AVERAGE)

    @classmethod
    def _check_autoencoders(cls, options: Options) -> None:
        """Refuse ``--identity_first`` where it cannot teach a generator to return its input."""
        data, name = options[DataFlags], options[RunFlags].model
        if not cls.autoencoders:
            raise UserError(f"--identity_first: --model {name} does not begin so; leave it out, or choose another "
                            "model")
        if data.input_nc != data.output_nc:
            raise UserError("--identity_first teaches generators to return images of both domains: it needs --input_nc "
                            "equal to --output_nc")

    def learn_identity(self, minimize: Minimize) -> None:
        """Train the generators to return the current images of both domains: the steps of ``--identity_first``.

        CartoonGAN begins alike, with only its content loss (Chen, Lai, Liu: CVPR 2018, section 3.3).
        """
        images = [self.images["real_A"], self.images["real_B"]]
        minimize("G", lambda: total("G", {"G_first": torch.stack([
            F.l1_loss(translate_any_size(self.networks[name], image), image)
            for name in self.autoencoders for image in images]).mean()}))

    @classmethod
    def recognized(cls, values: Mapping[str, Any]) -> tuple[Path, Mapping[str, Any], Mapping[str, Any]] | None:
        """Read the flags of the architecture from the file of the generator.

        Raises:
            UserError: the file is damaged, or belongs to no generator of this project.
        """
        path = cls.checkpoint(values)
        if not path.is_file() or (found := recognize_generator(load_file(path), path)) is None:
            return None
        return path, found.certain, found.likely

    @classmethod
    def checkpoint(cls, values: Mapping[str, Any]) -> Path:
        """Return the file of the generator that the flags of test.py name."""
        tag = f"iter_{values['load_iter']}" if values["load_iter"] else values["epoch"]
        name = cls.translator + values.get("model_suffix", "") + (AVERAGE if values["use_ema"] else "")
        return network_path(Path(values["checkpoints_dir"]) / values["name"], tag, name)

    @property
    def device(self) -> torch.device:
        """The device of the networks."""
        return next(p.device for network in self.networks.values() for p in network.parameters())

    def to(self, device: torch.device) -> None:
        """Move networks to ``device``; optimizers keep their parameters."""
        for network in (*self.networks.values(), *self.constants.values()):
            network.to(device)
