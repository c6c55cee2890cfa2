"""Single-image translation by the spatially-correlative loss (Zheng, Cham, Cai: CVPR 2021, arXiv 2104.00854).

Translate one photograph to the style of one painting, and learn from random patches of these two images. Everything is
as in `sc`, except the networks and the adversarial loss. They are StyleGAN2's (Karras et al., CVPR 2020), as in SinCUT
(Park et al., ECCV 2020): the non-saturating loss, and residual blocks with equalised learning rates and without
normalisation, so that an image may be larger than the patches of the training. The discriminator has the gradient
penalty of WGAN-GP, as in the published code; SinCUT and StyleGAN2 use R1 (``--lambda_R1``) instead.
"""

from collections.abc import Mapping
from typing import Any

from .sc import SpatialCorrelativeModel

ARCHITECTURE = {"netG": "stylegan2", "netD": "stylegan2", "ngf": 8, "ndf": 8, "stylegan2_G_num_downsampling": 2}
DATA = {"dataset_mode": "singleimage", "load_size": 1024, "crop_size": 128}
TRAINING = {"preprocess": "zoom_and_patch", "batch_size": 16, "n_epochs": 4, "n_epochs_decay": 4,
            "save_latest_freq": 20000, "save_epoch_freq": 1, "lr": 0.001, "beta1": 0.0, "beta2": 0.99,
            "gan_mode": "nonsaturating"}
TESTING = {"preprocess": "none", "num_test": 1, "eval": True}  # the generator adds noise in training mode


class SingleImageModel(SpatialCorrelativeModel):
    """``--model sinsc``: `sc` with other networks, another adversarial objective and a gradient penalty."""

    @classmethod
    def defaults(cls, training: bool) -> Mapping[str, Any]:
        return {**ARCHITECTURE, **DATA, "lambda_gradient": 1.0, **(TRAINING if training else TESTING)}
