"""Download a generator that its authors have published, to where test.py finds it.

    python -m models.pretrained --list
    python -m models.pretrained horse2zebra        # checkpoints/horse2zebra_pretrained/latest_net_G.pth

A broken download goes on where it stopped when the command is run again. Nobody has published checksums; nothing in
the files is executed. Where PRETRAINED_URL is set, it stands in the place of the server's address.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from options.parser import Parser
from util.download import download, part_of, unpack
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
"""What there is, and where on the server; CUT's come together."""
BY_HAND = ("Weights of F-LSeSim are on Google Drive, linked from https://github.com/lyndonzheng/F-LSeSim: download "
           "them in a browser and put the generator at checkpoints/NAME/latest_net_G.pth")
FILE = "latest_net_G.pth"


def main(argv: Sequence[str] | None = None) -> None:
    """Read the flags and download."""
    parser = Parser(
        prog="python -m models.pretrained", allow_abbrev=False,
        description="Download a generator of CycleGAN, CUT or pix2pix to where test.py finds it.")
    parser.add_argument("name", nargs="?", metavar="NAME", help="which one; --list names them")
    parser.add_argument("--list", action="store_true", help="list them and end")
    parser.add_argument("--checkpoints_dir", type=Path, default=Path("checkpoints"), metavar="DIR",
                        help="it becomes NAME_pretrained in this folder (default: checkpoints)")
    flags = parser.parse_args(argv)
    if flags.list:
        print("\n".join([*PATHS, BY_HAND]))
        return
    if flags.name not in PATHS:
        raise UserError(f"there is no published generator '{flags.name or ''}'; name one of {', '.join(PATHS)}. "
                        f"{BY_HAND}")
    folder = flags.checkpoints_dir / f"{flags.name}_pretrained"
    path = folder / FILE
    if path.exists():
        print(f"{path} is there already; remove it to download it anew")
    else:
        fetch(flags.name, folder)
    print(f"{path}: {described(path)}\n"
          f"python test.py --dataroot IMAGES --checkpoints_dir {flags.checkpoints_dir} --name {folder.name}")


def fetch(name: str, folder: Path) -> None:
    """Download the generator ``name`` into ``folder``, and what comes with it beside that.

    Raises:
        UserError: it cannot be had, or is no generator.
    """
    from tqdm import tqdm  # noqa: PLC0415 - a progress bar, where the output is a terminal

    address = f"{os.environ.get('PRETRAINED_URL', SERVER).rstrip('/')}/{PATHS[name]}"
    print(f"from {address}", flush=True)
    arrived = folder.parent / PATHS[name].replace("/", "_")  # CycleGAN and pix2pix both have a sat2map.pth
    part = part_of(arrived, address)
    with tqdm(initial=part.stat().st_size if part.exists() else 0, unit="B", unit_scale=True, disable=None) as bar:
        try:
            download(address, arrived, None, bar.update)
        except UserError as error:
            raise UserError(f"{error}. Where this machine has no network, download it elsewhere and put the generator "
                            f"at {folder / FILE}") from None
    try:
        if arrived.suffix == ".tar":
            place_all(arrived, folder)
        else:
            described(arrived)
            folder.mkdir(parents=True, exist_ok=True)
            replace(arrived, folder / FILE)
    finally:
        arrived.unlink(missing_ok=True)  # what is no generator must not be found next time


def place_all(archive: Path, folder: Path) -> None:
    """Move every experiment of an archive to where ``folder`` shall be, which is one of them.

    Raises:
        UserError: the archive is damaged, or does not hold it.
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
    """The flags of a generator's architecture.

    Raises:
        UserError: the file holds none.
    """
    if (found := recognize_generator(load_file(path), path)) is None:
        raise UserError(f"{path} holds no generator; the server has sent something else")
    return " ".join(f"--{name} {value}" for name, value in {**found.certain, **found.likely}.items())


if __name__ == "__main__":
    run_program("models.pretrained", lambda: main(sys.argv[1:]))
