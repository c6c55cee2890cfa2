"""Train a model for unpaired image translation.

    python train.py --dataroot datasets/lineart2color --name colours --model sc --learned_attn --augment

Everything of the run goes to checkpoints/NAME: options, losses, sample page, checkpoints. ``--continue_train`` resumes
it, to the same weights as an uninterrupted run. SIGTERM, SIGINT (Ctrl-C), SIGHUP and SIGUSR1 save first.
On several devices, each with its own batches:

    torchrun --nproc_per_node=8 train.py ...

`training.train` is the same from Python.
"""

import sys

from data import DATASETS
from models import MODELS
from options import TRAIN, parse
from training.job import train
from util.errors import run_program


def main() -> None:
    sys.exit(train(parse(TRAIN, MODELS, DATASETS)))


if __name__ == "__main__":
    run_program("train.py", main, outlives_output=True)
