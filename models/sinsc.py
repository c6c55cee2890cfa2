"""Single-image translation by the spatially-correlative loss (Zheng, Cham, Cai: CVPR 2021, arXiv 2104.00854).

One photograph becomes what one painting would make of it. All that is learned comes from random patches of these two
images. Everything is as in `sc`, but networks and adversarial objective are StyleGAN2's (Karras et al., CVPR 2020), as
in SinCUT (Park et al., ECCV 2020): residual blocks with equalised learning rates and no normalisation, so that an
image may be larger than the patches that were learned from, the non-saturating loss, and R1 for the discriminator.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from options import Options, TrainFlags
from util.errors import UserError

from .sc import SpatialCorrelativeModel

ARCHITECTURE = {"netG": "stylegan2", "netD": "stylegan2", "ngf": 8, "ndf": 8, "stylegan2_G_num_downsampling": 2}
DATA = {"dataset_mode": "singleimage", "load_size": 1024, "crop_size": 128}
TRAINING = {"preprocess": "zoom_and_patch", "batch_size": 16, "n_epochs": 4, "n_epochs_decay": 4,
            "save_latest_freq": 20000, "save_epoch_freq": 1, "lr": 0.001, "beta1": 0.0, "beta2": 0.99,
            "gan_mode": "nonsaturating"}
TESTING = {"preprocess": "none", "num_test": 1, "eval": True}  # the generator adds noise in training mode


class SingleImageModel(SpatialCorrelativeModel):
    """``--model sinsc``: `sc` with other networks and R1, weighted by ``--lambda_gradient``, in every step of D."""

    @classmethod
    def defaults(cls, training: bool) -> Mapping[str, Any]:
        return {**ARCHITECTURE, **DATA, "lambda_gradient": 1.0, **(TRAINING if training else TESTING)}

    @classmethod
    def check(cls, options: Options) -> None:
        super().check(options)
        if TrainFlags in options and options[TrainFlags].gan_mode == "wgangp":
            raise UserError("--gan_mode wgangp needs a gradient penalty other than R1, the one of --model sinsc: "
                            "choose another, nonsaturating say")

    def discriminate(self, real: Tensor, fake: Tensor) -> dict[str, Tensor]:
        return self.optimize_discriminator("D", real, fake, gan_mode=self.gan_mode, r1=self.weights.lambda_gradient)
