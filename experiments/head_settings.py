"""Compare settings of LSeSim's heads: train heads without a generator, on features that are computed once.

    python -m experiments.head_settings                                                   # minutes on a CPU
    python -m experiments.head_settings --records_dir docs/records/heads --markdown       # the table of docs

Each row changes one setting of the published training. The heads transform features of VGG16's relu3_1 and learn from
the sheets of ``datasets/atlas2satellite``; the measure is that of ``evaluate.py structure`` on its test pairs. A row
whose record exists is not trained again.
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.report import BenchmarkFlags, Row, describe_machine, table, use_device, write_json
from models.networks import initialize
from options import flag, parse_flags
from spatial_correlative.loss import (
    contrastive_loss,
    sample_positions,
    self_similarity,
    similarity_head,
    structure_cosine,
)
from util.errors import run_program

from .head_features import Features
from .records import read


@dataclass(frozen=True)
class Setting:
    """A way to train heads.

    Attributes:
        positive: what a sheet is pulled to: its ``jitter``ed copy, a copy in quite other colours (``recoloured``), its
            translation by a generator that FSeSim has trained (``translated``), or the ``true`` photograph, which no
            unpaired training has.
        negatives: what it is pushed from: other rows of the positive (``own``), of another image (``other``), of both,
            or nothing, which leaves the distance of the positives.
        T, normalize, patch_size, positions: of the contrastive loss and its maps.
        gain, lr, updates: of the training.
        kind: ``mlp`` (published), ``linear``, or ``residual``: outputs beside the features themselves.
    """

    positive: str = "jitter"
    negatives: str = "both"
    T: float = 0.07
    normalize: bool = False
    patch_size: int = 64
    positions: int = 256
    gain: float = 0.02
    lr: float = 8e-4
    updates: int = 600
    kind: str = "mlp"


SETTINGS = {
    "no heads (FSeSim)": Setting(kind="none", updates=0),
    "untrained": Setting(updates=0),
    "published": Setting(),
    "T 0.3": Setting(T=0.3),
    "T 1": Setting(T=1),
    "cosines": Setting(normalize=True),
    "cosines, T 0.3": Setting(normalize=True, T=0.3),
    "cosines, T 1": Setting(normalize=True, T=1),
    "gain 0.2": Setting(gain=0.2),
    "64 positions": Setting(positions=64),
    "linear": Setting(kind="linear"),
    "linear, T 1": Setting(kind="linear", T=1),
    "residual": Setting(kind="residual"),
    "residual, T 1": Setting(kind="residual", T=1),
    "negatives of the own image": Setting(negatives="own"),
    "negatives of the other image": Setting(negatives="other"),
    "negatives of the other image, T 1": Setting(negatives="other", T=1),
    "no negatives": Setting(negatives="none"),
    "recoloured": Setting(positive="recoloured"),
    "recoloured, T 0.3": Setting(positive="recoloured", T=0.3),
    "recoloured, T 1": Setting(positive="recoloured", T=1),
    "recoloured, cosines, T 0.3": Setting(positive="recoloured", normalize=True, T=0.3),
    "recoloured, cosines, T 1": Setting(positive="recoloured", normalize=True, T=1),
    "recoloured, residual, T 0.3": Setting(positive="recoloured", kind="residual", T=0.3),
    "translations": Setting(positive="translated"),
    "translations, T 1": Setting(positive="translated", T=1),
    "true pairs": Setting(positive="true"),
    "true pairs, T 1": Setting(positive="true", T=1),
}
"""By the name of the row."""


class Residual(nn.Module):
    """Outputs of heads, scaled, beside the features themselves around their means."""

    def __init__(self, heads: nn.Module) -> None:
        super().__init__()
        self.heads, self.scale = heads, nn.Parameter(torch.ones(()))

    def forward(self, features: Tensor) -> Tensor:
        """Map [B, C, h, w] to [B, C + width, h, w]."""
        features = features - features.mean(dim=(2, 3), keepdim=True)
        return torch.cat([features, self.scale * self.heads(features)], dim=1)


def build(setting: Setting, channels: int) -> nn.Module:
    """Make untrained heads."""
    if setting.kind == "none":
        return nn.Identity()
    linear = setting.kind == "linear"
    heads = nn.Conv2d(channels, max(32, channels // 4), 1) if linear else similarity_head(channels)
    initialize(heads, "normal", setting.gain)
    return Residual(heads) if setting.kind == "residual" else heads


def train(setting: Setting, features: Features, seed: int = 0) -> nn.Module:
    """Train heads on one sheet in each step."""
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    heads = build(setting, features.test[0].shape[1])
    if not setting.updates:
        return heads
    optimizer = torch.optim.Adam(heads.parameters(), lr=setting.lr, betas=(0.5, 0.999))
    anchors, *positives = getattr(features, setting.positive)

    def drawn(of: Sequence[Tensor] | Tensor) -> int:
        return int(torch.randint(len(of), (), generator=generator))

    for _ in range(setting.updates):
        index, other, copy = drawn(anchors), drawn(features.others), drawn(positives)
        seen = [heads(of[None].float()) for of in (anchors[index], positives[copy][index], features.others[other])]
        height, width = seen[0].shape[2:]
        at = sample_positions(height, width, setting.positions)
        source, positive, foreign = (
            self_similarity(of, at, patch_size=setting.patch_size, normalize=setting.normalize) for of in seen)
        loss = LOSSES[setting.negatives](source, positive, foreign, temperature=setting.T)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return heads


def from_own(source: Tensor, positive: Tensor, _: Tensor, *, temperature: float) -> Tensor:
    """Take only other rows of the positive as negatives."""
    logits = F.normalize(source[0], dim=1) @ F.normalize(positive[0], dim=1).T / temperature
    return F.cross_entropy(logits, torch.arange(len(logits)))


def from_other(source: Tensor, positive: Tensor, other: Tensor, *, temperature: float) -> Tensor:
    """Take only rows of the other image as negatives."""
    rows = [F.normalize(of[0], dim=1) for of in (source, positive, other)]
    logits = torch.cat([(rows[0] * rows[1]).sum(dim=1, keepdim=True), rows[0] @ rows[2].T], dim=1) / temperature
    return F.cross_entropy(logits, torch.zeros(len(logits), dtype=torch.long))


def distance(source: Tensor, positive: Tensor, _: Tensor, *, temperature: float) -> Tensor:
    """Take no negatives: pull positives together."""
    del temperature
    return (1 - F.cosine_similarity(source, positive, dim=2)).mean()


LOSSES: dict[str, Callable[..., Tensor]] = {
    "both": contrastive_loss, "own": from_own, "other": from_other, "none": distance}
"""Losses of maps [1, N, K] by their negatives."""


@torch.no_grad()
def measure(heads: nn.Module, features: Features, setting: Setting) -> dict[str, float]:
    """Compare each test sheet with its own photograph and with the next one's, at 128 positions.

    Returns:
        ``aligned``: mean error against the own photograph; ``ratio``: that against the next one's, divided by it;
        ``nearer``: share of positions whose error against the own photograph is smaller; ``retrieval``: share of those
        whose row is most similar to the row of the same position of the photograph, among all.
    """
    generator, found = torch.Generator().manual_seed(1), []
    sheets, photographs = features.test
    for index, sheet in enumerate(sheets):
        seen = [heads(of[None].float()) for of in (
            sheet, photographs[index], photographs[(index + 1) % len(photographs)])]
        at = torch.randperm(seen[0].shape[2] * seen[0].shape[3], generator=generator)[:128]
        source, own, other = (self_similarity(of, at, patch_size=setting.patch_size, normalize=setting.normalize)
                              for of in seen)
        errors = [1 - structure_cosine(source, of) for of in (own, other)]
        similar = F.normalize(source[0], dim=1) @ F.normalize(own[0], dim=1).T
        right = similar.argmax(dim=1) == torch.arange(len(at))
        found.append(torch.stack([errors[0].mean(), errors[1].mean(), (errors[1] > errors[0]).float().mean(),
                                  right.float().mean()]))
    aligned, unaligned, nearer, retrieval = torch.stack(found).mean(dim=0).tolist()
    return {"ratio": unaligned / aligned, "nearer": nearer, "retrieval": retrieval, "aligned": aligned}


@dataclass(frozen=True)
class HeadSettingsFlags(BenchmarkFlags):
    """Train the heads of LSeSim in several ways, and compare how well their maps tell images apart."""

    rows: tuple[str, ...] = flag((), f"some of {'; '.join(SETTINGS)}", choices=tuple(SETTINGS), several=True,
                                 metavar="ROW", unset="all")
    dataroot: Path = flag(Path("datasets/atlas2satellite"), "data set with testA, testB, trainA, trainB and judgeA")
    limit: int | None = flag(None, "images of each folder", minimum=2, unset="all")
    records_dir: Path = flag(Path("results/heads"), "folder of the results, a file for each row")


def main(argv: Sequence[str] | None = None) -> None:
    """Train the rows that are missing, and print the table."""
    flags = parse_flags(HeadSettingsFlags, "python -m experiments.head_settings", argv)
    device = use_device("cpu", flags.threads)
    features, rows = Features(flags.dataroot, flags.limit), list[Row]()
    for name in flags.rows or SETTINGS:
        setting = SETTINGS[name]
        path = flags.records_dir / f"{name.replace(' ', '_').replace(',', '')}.json"
        if not path.is_file():
            path.parent.mkdir(parents=True, exist_ok=True)
            scores = measure(train(setting, features), features, setting)
            write_json(path, {"row": name, **scores, **asdict(setting), "limit": flags.limit,
                              "machine": describe_machine(device)})
            print(name, scores, flush=True)
        scores = read(path)
        rows.append({"heads": name, **{key: scores[key] for key in ("ratio", "nearer", "retrieval", "aligned")}})
    print(table(rows, markdown=flags.markdown))
    if flags.json:
        write_json(flags.json, {"rows": rows})


if __name__ == "__main__":
    run_program("experiments.head_settings", main)
