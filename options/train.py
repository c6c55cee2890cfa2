"""Flags of ``train.py``."""

from __future__ import annotations

from dataclasses import dataclass

from util.loggers.registry import LOGGERS

from .common import DataFlags, NetworkFlags, RunFlags, SpeedFlags, stylegan2_size
from .flag import comma_list, count_or_all, flag, plain_name
from .parser import Program

GAN_MODES = ("lsgan", "vanilla", "hinge", "nonsaturating", "wgangp")
POLICIES = ("color", "translation", "cutout")


def some_policies(text: str) -> tuple[str, ...]:
    """``"color,cutout"`` to ``("color", "cutout")``; ``none`` to no policy."""
    policies = () if text.strip() == "none" else comma_list(text)
    if unknown := [policy for policy in policies if policy not in POLICIES]:
        raise ValueError(f"'{unknown[0]}' is neither none nor a list of some of {', '.join(POLICIES)}")
    return policies


def some_loggers(text: str) -> tuple[str, ...]:
    """``"json,html"`` to ``("json", "html")``."""
    names = comma_list(text)
    if unknown := [name for name in names if name not in LOGGERS]:
        raise ValueError(f"'{unknown[0]}' is none of {', '.join(LOGGERS)}")
    return names


@dataclass(frozen=True)
class TrainFlags:
    """How long, how fast, with which adversarial objective."""

    n_epochs: int = flag(200, "epochs at the initial learning rate", minimum=0)
    n_epochs_decay: int = flag(200, "epochs over which the linear policy brings the rate down to zero", minimum=0)
    max_iters: int | None = flag(None, "stop after this many images seen, counted over all resumed runs", minimum=1)
    lr: float = flag(0.0001, "initial learning rate of Adam", above=0)
    beta1: float = flag(0.5, "first momentum of Adam", minimum=0, maximum=0.9999)
    beta2: float = flag(0.999, "second momentum of Adam", minimum=0, maximum=0.999999)
    lr_policy: str = flag("linear", "how the rate changes; cosine reaches zero after n_epochs and climbs again in "
                          "n_epochs_decay", choices=("linear", "step", "plateau", "cosine"))
    lr_decay_iters: int = flag(50, "epochs between two steps of the step policy", minimum=1)
    gan_mode: str = flag("lsgan", "adversarial objective", choices=GAN_MODES)
    grad_accum: int = flag(1, "batches whose gradients add up to one step, as of a batch so many times larger, in the "
                           "memory of one", minimum=1)
    pool_size: int = flag(50, "how many past translations the discriminator is shown again; 0: none", minimum=0)
    diff_augment: tuple[str, ...] = flag(
        (), "change at random, differentiably, what discriminators see, real and generated: some of color,translation,"
        "cutout; for few images", parse=some_policies)
    ema: float = flag(0.0, "decay a step of a moving average of the generator's weights, saved as EPOCH_net_G_ema.pth; "
                      "0: none, 0.999 is usual in long trainings", minimum=0, maximum=0.999999)
    on_nan: str = flag("stop", "what to do about a step with a loss or gradient that is not finite, which never "
                       "reaches the weights: stop, or skip it, until ten come in a row. Its batch is kept in "
                       "checkpoints_dir/name/nonfinite_IMAGES.pth", choices=("skip", "stop"))
    continue_train: bool = flag(False, "go on from the saved state, by default the latest one")
    epoch_count: int = flag(1, "number of the first epoch, where no saved state tells it", minimum=1)


@dataclass(frozen=True)
class LoadingFlags:
    """How images get from files to the device."""

    cache: str = flag("none", "ram: decode and scale every image once, before training begins, into memory that all "
                      "workers share; each process of a torchrun job has its own", choices=("ram", "none"))
    max_bad_images: int = flag(10, "largest number of unreadable images: each is named and replaced; one more ends the "
                               "training", minimum=0)
    augment_on: str = flag("auto", "where to convert, flip and jitter images: in the workers, or batch by batch on the "
                           "training device; auto: on the device unless it is the CPU",
                           choices=("workers", "device", "auto"))

    def finished_by_workers(self, device: str) -> bool:
        """Whether --augment_on means the workers, for a training on ``device`` (``cpu``, ``cuda``, ...)."""
        return self.augment_on == "workers" or (self.augment_on == "auto" and device == "cpu")


@dataclass(frozen=True)
class DisplayFlags:
    """What a run shows and saves on its way. Frequencies count images, not steps."""

    loggers: tuple[str, ...] = flag(
        ("terminal", "json", "html"), f"where losses, speed, gradients and samples go: a list of some of "
        f"{','.join(LOGGERS)}; --display_id adds visdom, --no_html takes html away", parse=some_loggers)
    print_freq: int = flag(100, "images between two lines of losses", minimum=1)
    display_freq: int = flag(400, "images between two sample grids", minimum=1)
    update_html_freq: int = flag(1000, "images between two updates of the web page", minimum=1)
    no_html: bool = flag(False, "do not write the web page checkpoints_dir/name/web/index.html")
    save_latest_freq: int = flag(5000, "images between two saves of the latest state", minimum=1)
    save_epoch_freq: int = flag(10, "epochs between two saves under the epoch's number", minimum=1)
    save_by_iter: bool = flag(False, "keep every save_latest_freq save as iter_N, too")
    keep_last: int = flag(0, "keep the newest so many of the saves by epoch, and of those by iteration; 0: all",
                          minimum=0)
    display_winsize: int = flag(256, "width of an image on pages and in visdom, in pixels", minimum=1)
    display_ncols: int = flag(4, "images in a row in visdom; 0: one window an image", minimum=0)
    display_id: int | None = flag(None, "number of the first visdom window; above 0 it adds visdom to --loggers")
    display_server: str = flag("http://localhost", "address of the visdom server")
    display_port: int = flag(8097, "port of the visdom server", minimum=1, maximum=65535)
    display_env: str = flag("main", "visdom environment")
    wandb_project_name: str = flag("spatially-correlative", "project of Weights & Biases that the run belongs to")
    wandb_mode: str | None = flag(None, "send to the server of Weights & Biases at once, or keep in files for wandb "
                                  "sync; left out: WANDB_MODE of the environment, or online",
                                  choices=("online", "offline"))

    def chosen(self) -> tuple[str, ...]:
        """The loggers that all flags together mean."""
        names = (*self.loggers, *(("visdom",) if self.display_id and self.display_id > 0 else ()))
        return tuple(name for name in dict.fromkeys(names) if not (name == "html" and self.no_html))


@dataclass(frozen=True)
class EvalFlags:
    """Scores of a test set during training. The best generator is kept as best_net_G.pth: test.py --epoch best."""

    eval_freq: int = flag(0, "images between two scores of the test set: its Fréchet distance in VGG16 features (lower "
                          "is better) and, of true pairs, line IoU and colour error; 0: never. With --ema it is the "
                          "moving average that is scored", minimum=0)
    eval_dataroot: str = flag("", "folder of the test set (testA and testB, say); left out: --dataroot")
    eval_phase: str = flag("test", "which part of it: the folders' prefix", parse=plain_name)
    eval_num: int | None = flag(100, "translate at most this many images; inf: all", parse=count_or_all)
    eval_load_size: int = flag(0, "scale the test set's images to squares of this side; 0: their own size, as test.py",
                               minimum=0, maximum=65536)


TRAIN = Program(
    name="train.py",
    description="Train a model for unpaired image translation.",
    groups=(RunFlags, DataFlags, NetworkFlags, TrainFlags, SpeedFlags, LoadingFlags, DisplayFlags, EvalFlags),
    training=True,
    settled=stylegan2_size,
)
