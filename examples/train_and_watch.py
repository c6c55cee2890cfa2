"""Train from Python: watch the losses, stop, resume, and translate. A minute on a CPU, with the bundled drawings.

    python examples/train_and_watch.py
"""

import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
from inference import load
from training import Report, train

IMAGES = int(sys.argv[1]) if len(sys.argv) > 1 else 400
DRAWINGS = ROOT / "datasets" / "lineart2color"
FOLDER = Path(tempfile.mkdtemp())  # its content is yours to remove
FLAGS = {
    "dataroot": DRAWINGS, "checkpoints_dir": FOLDER, "name": "colours", "model": "sc", "learned_attn": True,
    "augment": True, "attn_layers": ["relu3_1"], "netG": "resnet_6blocks", "ngf": 8, "ndf": 8, "load_size": 72,
    "crop_size": 64, "batch_size": 4, "lr": 5e-4, "print_freq": IMAGES // 4, "max_iters": IMAGES, "loggers": ["json"],
    "seed": 1}


def watch(report: Report) -> bool:
    """Print the losses; stop after half of the images."""
    print(f"{report.images}/{report.total} images, G {report.losses['G']:.2f}, D {report.losses['D_real']:.2f}")
    print("the pictures of this step:", {name: list(image.shape) for name, image in report.pictures().items()})
    return report.images == IMAGES // 2


train(**FLAGS, on_report=watch)
folder = train(**FLAGS, continue_train=True, on_report=lambda report: print(f"again, {report.images} images"))
translator = load(folder)
translator(next(DRAWINGS.glob("testA/*.png"))).save(FOLDER / "translation.png")
print("the translation of a drawing is", FOLDER / "translation.png")
