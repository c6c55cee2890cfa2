"""Download a published generator to the place where test.py finds it.

    python -m models.pretrained --list
    python -m models.pretrained horse2zebra        # checkpoints/horse2zebra_pretrained/latest_net_G.pth

A broken download resumes, at once or when the command is run again. No checksums are published; nothing in the files is
executed. PRETRAINED_URL in the environment replaces the server's address.
"""

import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from options import flag, parse_flags
from util.download import download, unpack
from util.errors import UserError, run_program
from util.files import replace, temporary_in
from util.state_dicts import load_file

from .networks.recognition import recognize_generator

SERVER = "https://efrosgans.eecs.berkeley.edu"
CYCLEGAN = (
    "apple2orange", "orange2apple", "summer2winter_yosemite", "winter2summer_yosemite", "horse2zebra", "zebra2horse",
    "monet2photo", "style_monet", "style_cezanne", "style_ukiyoe", "style_vangogh", "sat2map", "map2sat",
    "cityscapes_photo2label", "cityscapes_label2photo", "facades_photo2label", "facades_label2photo",
    "iphone2dslr_flower",
)
PIX2PIX = ("edges2shoes", "sat2map", "map2sat", "facades_label2photo", "day2night")
CUT = ("cityscapes_cut", "cityscapes_fastcut", "horse2zebra_cut", "horse2zebra_fastcut", "cat2dog_cut",
       "cat2dog_fastcut")
PATHS = {
    **{name: f"cyclegan/pretrained_models/{name}.pth" for name in CYCLEGAN},
    **{f"{name}_pix2pix": f"pix2pix/models-pytorch/{name}.pth" for name in PIX2PIX},
    **dict.fromkeys(CUT, "CUT/pretrained_models.tar"),
}
"""Names and paths on the server; CUT's generators come in one archive."""
BY_HAND = ("Weights of F-LSeSim are on Google Drive, linked from https://github.com/lyndonzheng/F-LSeSim: download "
           "them in a browser and put the generator at checkpoints/NAME/latest_net_G.pth")
FILE = "latest_net_G.pth"


@dataclass(frozen=True)
class PretrainedFlags:
    """Download a generator of CycleGAN, CUT or pix2pix to where test.py finds it."""

    name: str = flag("", "the generator; --list names all", positional=True)
    list: bool = flag(False, "list the generators and exit")
    checkpoints_dir: Path = flag(Path("checkpoints"), "folder of all experiments; it gets NAME_pretrained")


def main(argv: Sequence[str] | None = None) -> None:
    """Read the flags and download."""
    flags = parse_flags(PretrainedFlags, "python -m models.pretrained", argv)
    if flags.list:
        print("\n".join([*PATHS, BY_HAND]))
        return
    if flags.name not in PATHS:
        raise UserError(f"there is no published generator '{flags.name}'; name one of {', '.join(PATHS)}. "
                        f"{BY_HAND}")
    folder = flags.checkpoints_dir / f"{flags.name}_pretrained"
    path = folder / FILE
    if path.exists():
        print(f"{path} is there already; remove it to download it again")
    else:
        fetch(flags.name, folder)
    print(f"{path}: {described(path)}\n"
          f"python test.py --dataroot IMAGES --checkpoints_dir {flags.checkpoints_dir} --name {folder.name}")


def fetch(name: str, folder: Path) -> None:
    """Download the generator ``name`` into ``folder``; others of the same archive are placed beside it.

    Raises:
        UserError: it is not available, or is no generator.
    """
    address = f"{os.environ.get('PRETRAINED_URL', SERVER).rstrip('/')}/{PATHS[name]}"
    print(f"from {address}", flush=True)
    arrived = folder.parent / PATHS[name].replace("/", "_")  # CycleGAN and pix2pix both have a sat2map.pth
    try:
        download(address, arrived, None)
    except UserError as error:
        raise UserError(f"{error}. Without a network, download it elsewhere and put the generator at "
                        f"{folder / FILE}") from None
    try:
        if arrived.suffix == ".tar":
            place_all(arrived, folder)
        else:
            described(arrived)
            folder.mkdir(parents=True, exist_ok=True)
            replace(arrived, folder / FILE)
    finally:
        arrived.unlink(missing_ok=True)  # or a file that is no generator would be used again


def place_all(archive: Path, folder: Path) -> None:
    """Move every generator of an archive beside ``folder``, which is one of them.

    Raises:
        UserError: the archive is damaged, or lacks ``folder``.
    """
    with temporary_in(folder.parent) as temporary:
        try:
            found = sorted(unpack(archive, temporary).rglob(FILE))
            if folder.name not in {path.parent.name for path in found}:
                raise UserError(f"{archive} holds no {folder.name}/{FILE}; it is another archive")
            for path in found:
                described(path)
                if not (place := folder.with_name(path.parent.name)).exists():
                    path.parent.rename(place)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)


def described(path: Path) -> str:
    """Return the flags of a generator's architecture.

    Raises:
        UserError: the file holds no generator.
    """
    if (found := recognize_generator(load_file(path), path)) is None:
        raise UserError(f"{path} holds no generator; the server has sent another file")
    return " ".join(f"--{name} {value}" for name, value in {**found.certain, **found.likely}.items())


if __name__ == "__main__":
    run_program("models.pretrained", main)
