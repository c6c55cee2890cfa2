"""SinCUT: single-image translation by patch-wise contrast (Park, Efros, Zhang, Zhu: ECCV 2020, arXiv 2007.15651).

Translate one photograph to the style of one painting, as in `sinsc`, with the contrastive loss of `cut` on features of
the encoder of StyleGAN2's generator, R1 of D at real patches, and the identity of B:

    L_D = L_GAN + lambda_R1 / 2 * |dD(B) / dB|^2
    L_G = L_GAN + lambda_NCE * (L_PatchNCE(A, G(A)) + L_PatchNCE(B, G(B))) / 2 + lambda_identity * |G(B) - B|

For each patch of the batch and each layer, one place is drawn; its negatives are the places of the other patches.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch.nn.functional as F
from torch import Tensor

from options import Options, TrainFlags, flag
from util.errors import UserError

from .building import refuse_second_derivatives
from .cut import ContrastiveModel, PatchFlags
from .sinsc import ARCHITECTURE, DATA, TESTING, TRAINING


@dataclass(frozen=True)
class SinglePatchFlags:
    """Single images."""

    lambda_R1: float = flag(1.0, "weight of the discriminator's R1 penalty, at real images", minimum=0)
    lambda_identity: float = flag(1.0, "weight of the L1 distance between a real B and its translation", minimum=0)


class SinglePatchModel(ContrastiveModel):
    """``--model sincut``: `cut` with the networks, the patches and the adversarial objective of `sinsc`."""

    flags: ClassVar[tuple[type, ...]] = (PatchFlags, SinglePatchFlags)

    @classmethod
    def defaults(cls, training: bool) -> Mapping[str, Any]:
        contrast = {"nce_layers": (0, 2, 4), "num_patches": 1, "nce_includes_all_negatives_from_minibatch": True,
                    "lambda_NCE": 4.0}
        more = {**contrast, "pool_size": 0, "lr": 0.002, "n_epochs": 8, "n_epochs_decay": 8} if training else {}
        return {**ARCHITECTURE, "ngf": 10, "stylegan2_G_num_downsampling": 1, **DATA, "crop_size": 64,
                **(TRAINING if training else TESTING), **more}

    @classmethod
    def check(cls, options: Options) -> None:
        super().check(options)
        if TrainFlags not in options:
            return
        flags, patch = options[SinglePatchFlags], options[PatchFlags]
        refuse_second_derivatives(options, {"lambda_R1": flags.lambda_R1})
        if flags.lambda_identity and not (patch.nce_idt and patch.lambda_NCE):
            raise UserError("--lambda_identity compares translations of B, which --nce_idt false or --lambda_NCE 0 "
                            "leaves out: add --lambda_identity 0")

    def _build_training(self, flags: PatchFlags, options: Options) -> None:
        super()._build_training(flags, options)
        self.r1, self.lambda_identity = options[SinglePatchFlags].lambda_R1, options[SinglePatchFlags].lambda_identity

    def _more_terms(self) -> dict[str, Tensor]:
        if not self.lambda_identity:
            return {}
        return {"G_identity": self.lambda_identity * F.l1_loss(self.images["idt_B"], self.images["real_B"])}
