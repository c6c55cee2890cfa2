"""A training that is killed over and over, at random moments, ends at the weights of one that never was."""

from __future__ import annotations

import logging
import random
import signal
import time
from pathlib import Path

import pytest
from states import content, differing, exports_are_those_of_the_state
from tiny import save_folders
from trainings import FLAGS, Forked, lines, wait_until

from util.state_dicts import LATEST, state_path

LOG = logging.getLogger(__name__)  # --log-cli-level=INFO shows it
SAVING = (f"{FLAGS} --model sc --learned_attn --augment --pool_size 4 --ema 0.9 --lr_policy plateau --print_freq 1 "
          "--save_latest_freq 1 --save_epoch_freq 2 --keep_last 2 --n_epochs 1000")


@pytest.mark.slow
@pytest.mark.parametrize("kills", [50])
def test_a_run_that_is_killed_at_random_moments_ends_like_one_that_is_not(tmp_path: Path, kills: int) -> None:
    root = save_folders(tmp_path, counts=(5, 7))
    flags = f"{SAVING} --max_iters {12 * kills}"
    log = tmp_path / "log"
    assert Forked(root, f"{flags} --name whole", log).end() == 0, log.read_text()
    folder, rng = root / "checkpoints" / "killed", random.Random(kills)
    begun = 0  # runs that had a checkpoint to go on from
    for _ in range(kills):
        again = " --continue_train" * state_path(folder, LATEST).exists()
        process = Forked(root, f"{flags} --name killed{again}", log)
        seen = content(folder)["state.progress.images"] if begun else 0
        # Killed after a few steps of its own, and anywhere in the step and save that follow.
        target = seen + rng.randint(1, 6)
        wait_until(lambda target=target: lines(root, "killed") > target, process)
        time.sleep(rng.uniform(0, 0.06))
        assert process.kill() == -signal.SIGKILL, f"it ended before it was killed: {log.read_text()}"
        assert content(folder)["state.progress.images"] >= target  # loads, whole, and nothing was lost but a step
        begun += 1
    assert Forked(root, f"{flags} --name killed --continue_train", log).end() == 0, log.read_text()
    different = differing(content(root / "checkpoints" / "whole"), content(folder))
    LOG.info("%d of %d kills resumed; %d of %d values differ from the uninterrupted run's", begun, kills,
             len(different), len(content(folder)))
    assert different == []
    assert (folder / "latest_net_G_ema.pth").is_file()
    assert exports_are_those_of_the_state(folder)
    assert not list(folder.glob(".*.tmp"))
