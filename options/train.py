"""Flags of ``train.py``."""

from dataclasses import dataclass

from util.errors import UserError
from util.loggers.registry import LOGGERS

from .common import DataFlags, NetworkFlags, RunFlags, SpeedFlags
from .flag import comma_list, count_or_all, flag, plain_name, regular_expression
from .options import Options
from .precedence import Program

GAN_MODES = ("lsgan", "vanilla", "hinge", "nonsaturating", "wgangp")
POLICIES = ("color", "translation", "cutout")


@dataclass(frozen=True)
class TrainFlags:
    """Length, optimizers and adversarial objective."""

    n_epochs: int = flag(200, "epochs at the initial learning rate", minimum=0)
    n_epochs_decay: int = flag(200, "epochs over which the linear policy brings the rate down to zero", minimum=0)
    max_iters: int | None = flag(None, "stop after this many images, counted over all resumed runs", minimum=1)
    lr: float = flag(0.0001, "initial learning rate of Adam", above=0)
    beta1: float = flag(0.5, "first momentum of Adam", minimum=0, maximum=0.9999)
    beta2: float = flag(0.999, "second momentum of Adam", minimum=0, maximum=0.999999)
    lr_policy: str = flag("linear", "schedule of the learning rate; cosine reaches zero after n_epochs and rises again "
                          "in n_epochs_decay", choices=("linear", "step", "plateau", "cosine"))
    lr_decay_iters: int = flag(50, "epochs between two steps of the step policy", minimum=1)
    schedule_by: str = flag("epochs", "lower the learning rate at the end of each epoch, or before each step by the "
                            "images seen: the same rates at the ends of epochs; for linear and cosine",
                            choices=("epochs", "images"))
    gan_mode: str = flag("lsgan", "adversarial objective", choices=GAN_MODES)
    grad_accum: int = flag(1, "batches whose gradients are added up for one step: a batch this many times larger, in "
                           "the memory of one", minimum=1)
    cuda_graph: str = flag("auto", "capture the step as a CUDA graph and replay it, which launches all its kernels at "
                           "once; auto: on one CUDA device, with images of one size, without --compile",
                           choices=("auto", "on", "off"))
    pool_size: int = flag(50, "past translations that the discriminator sees again; 0: none", minimum=0)
    diff_augment: tuple[str, ...] = flag(
        (), "change real and generated images at random before the discriminator: some of color,translation,cutout; "
        "for few images", parse=lambda text: () if text.strip() == "none" else comma_list(text, POLICIES))
    ema: float = flag(0.0, "decay per step of a moving average of the generator's weights, saved as "
                      "EPOCH_net_G_ema.pth; 0: none, 0.999 is usual in long trainings", minimum=0, maximum=0.999999)
    init_from: str = flag("", "start from the weights of another training: its --name, its folder, or a .pth file, "
                          "also of CycleGAN, CUT or F-LSeSim. Epochs, optimizers and averages begin anew")
    identity_first: int = flag(0, "images with which a new training first teaches its generators to return their "
                               "input, of either domain, so that colours start as they are; only they learn so far",
                               minimum=0)
    freeze: str = flag("", "do not train the parameters whose names (NETWORK.PARAMETER, as in G.model.1.weight) begin "
                       "with a match of this regular expression: 'D\\.' is all of D, 'G\\.model\\.(1|4)\\.' two layers "
                       "of G", parse=regular_expression)
    on_nan: str = flag("stop", "what to do with a step whose loss or gradient is not finite, which never reaches the "
                       "weights: stop, or skip it until ten come in a row. Its batch is saved in "
                       "checkpoints_dir/name/nonfinite_IMAGES.pth", choices=("skip", "stop"))
    continue_train: bool = flag(False, "resume from a saved state, by default the latest")
    epoch_count: int = flag(1, "number of the first epoch, unless a saved state has it", minimum=1)


@dataclass(frozen=True)
class LoadingFlags:
    """Loading of images."""

    cache: str = flag("none", "ram: decode and scale every image once, before training begins, into memory that all "
                      "workers share; each process of a torchrun job has its own", choices=("ram", "none"))
    max_bad_images: int = flag(10, "largest number of unreadable images: each is named and replaced; one more ends the "
                               "training", minimum=0)
    augment_on: str = flag("auto", "where to convert, flip and jitter images: in the workers, or batch by batch on the "
                           "training device; auto: on the device unless it is the CPU",
                           choices=("workers", "device", "auto"))

    def finished_by_workers(self, device: str) -> bool:
        """Return whether the workers finish batches, in a training on ``device`` (``cpu``, ``cuda``, ...)."""
        return self.augment_on == "workers" or (self.augment_on == "auto" and device == "cpu")


@dataclass(frozen=True)
class DisplayFlags:
    """Display and saving; frequencies count images, not steps."""

    loggers: tuple[str, ...] = flag(
        ("terminal", "json", "html"), "where losses, speed, gradients and samples go: some of "
        f"{','.join(LOGGERS)}; --display_id adds visdom, --no_html removes html",
        parse=lambda text: comma_list(text, LOGGERS))
    print_freq: int = flag(100, "images between two lines of losses", minimum=1)
    display_freq: int = flag(400, "images between two reports of samples", minimum=1)
    sample_images: int = flag(4, "images of the test set (or without one of the training set) that each report of "
                              "samples translates: always the same ones; 0: none", minimum=0, maximum=1024)
    update_html_freq: int = flag(1000, "images between two updates of the web page", minimum=1)
    no_html: bool = flag(False, "do not write the web page checkpoints_dir/name/web/index.html")
    save_latest_freq: int = flag(5000, "images between two saves of the latest state", minimum=1)
    save_epoch_freq: int = flag(10, "epochs between two saves under the number of the epoch", minimum=1)
    save_by_iter: bool = flag(False, "also keep each save of save_latest_freq, as iter_N")
    keep_last: int = flag(0, "number of newest saves to keep, by epoch and by iteration separately; 0: all", minimum=0)
    display_winsize: int = flag(256, "width of an image on pages and in visdom, in pixels", minimum=1)
    display_ncols: int = flag(4, "images in a row in visdom; 0: one window an image", minimum=0)
    display_id: int | None = flag(None, "number of the first visdom window; above 0 it adds visdom to --loggers")
    display_server: str = flag("http://localhost", "address of the visdom server")
    display_port: int = flag(8097, "port of the visdom server", minimum=1, maximum=65535)
    display_env: str = flag("main", "visdom environment")
    wandb_project_name: str = flag("spatially-correlative", "project of the run in Weights & Biases")
    wandb_mode: str | None = flag(None, "send to the server of Weights & Biases at once, or keep in files for wandb "
                                  "sync; without it: WANDB_MODE of the environment, or online",
                                  choices=("online", "offline"))

    def chosen(self) -> tuple[str, ...]:
        """Return the loggers that the flags choose together."""
        names = (*self.loggers, *(("visdom",) if self.display_id and self.display_id > 0 else ()))
        return tuple(name for name in dict.fromkeys(names) if not (name == "html" and self.no_html))


@dataclass(frozen=True)
class EvalFlags:
    """Scores of a test set during training; the best generator is saved as best_net_G.pth."""

    eval_freq: int = flag(0, "images between two scores of the test set: its Fréchet distance in VGG16 features (lower "
                          "is better) and, for true pairs, line IoU and colour error; 0: never. With --ema the moving "
                          "average is scored", minimum=0)
    eval_dataroot: str = flag("", "folder of the test set (with testA and testB, say); without it: --dataroot")
    eval_phase: str = flag("test", "part of the test set: the prefix of its folders", parse=plain_name)
    eval_num: int | None = flag(100, "translate at most this many images; inf: all", parse=count_or_all, unset="inf")
    eval_load_size: int = flag(0, "scale test images to squares of this side; 0: their own size", minimum=0,
                               maximum=65536)


class TrainProgram(Program):
    """``train.py``."""

    name = "train.py"
    description = "Train a model for unpaired image translation."
    training = True
    flags = (RunFlags, DataFlags, NetworkFlags, TrainFlags, SpeedFlags, LoadingFlags, DisplayFlags, EvalFlags)

    @classmethod
    def check(cls, options: Options) -> None:
        """Refuse flags of the projected discriminator beside another one, which a user may take for it."""
        flags, defaults = options[NetworkFlags], NetworkFlags()
        for name in ("D_feature_net", "D_layers", "D_weights"):
            if flags.netD != "projected" and getattr(flags, name) != getattr(defaults, name):
                raise UserError(f"--{name} is for --netD projected, not for --netD {flags.netD}: add --netD projected, "
                                "or leave it out")


TRAIN = TrainProgram()
