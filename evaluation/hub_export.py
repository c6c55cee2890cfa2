"""``export.py --format hub``: a generator as a folder to share."""

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from inference import Translator, load
from inference.hub import require_client, upload
from models import MODELS
from options import EXPORT, DataFlags, ExportFlags, HubFlags, Options, RunFlags, TestFlags, recorded_flags
from util.errors import UserError
from util.files import replace, sha256
from util.hub_folders import CARD, is_hub_folder, write_generator
from util.state_dicts import AVERAGE, BEST, LATEST, has_network, read_network, unwrapped, weights_path

from .model_card import example_files, model_card, save_pictures, stored_scores, training_commands
from .reports import warn

MOST = {False: 0.0, True: 0.05}
"""The difference in [-1, 1] that translations may have: with float32, and with float16."""


def export_hub_folder(options: Options, translator: Translator) -> None:
    """Write the generator, its options and its card as a hub folder; upload the folder if the options say so.

    Args:
        options: of ``export.py``.
        translator: the generator, in evaluation mode on the CPU.

    Raises:
        UserError: the folder holds something else, the weights exceed float16, an example image cannot be read, a
            package is missing, or the upload fails.
    """
    run, flags = options[RunFlags], options[HubFlags]
    if flags.push:
        require_client()
    folder = Path(options[ExportFlags].output or Path("hub", run.name))
    if folder.exists() and not (folder.is_dir() and (is_hub_folder(folder) or not any(folder.iterdir()))):
        raise UserError(f"{folder} is there, and is no folder of an earlier export: choose another --output")
    if folder.resolve() == run.folder.resolve():
        raise UserError(f"{folder} would replace itself, and its model card would lose the training and the scores: "
                        "choose another --output")
    average = AVERAGE if options[TestFlags].use_ema else ""
    networks = {name.removesuffix(AVERAGE): network.state_dict() for name, network in translator.networks.items()}
    for name in MODELS[run.model].shared:
        if name not in networks and has_network(run.folder, run.tag, name + average):
            networks[name] = unwrapped(read_network(run.folder, run.tag, name + average))
    recorded, values = recorded_flags(run.folder) or {}, options.as_dict()
    inherited = {name: values[name] for name in (*EXPORT.inherited, *MODELS[run.model].inherited)}
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".", suffix=".tmp") as temporary:
        place = Path(temporary) / folder.name
        place.mkdir()
        write_generator(place, networks, model=str(recorded.get("model", run.model)), flags=inherited, half=flags.half)
        difference = compare(options, translator, place)
        print(f"largest difference from test.py --eval: {difference:.2g} in [-1, 1]")
        if not difference <= MOST[flags.half]:
            raise UserError(f"{folder} was not written: translations would differ by {difference:.2g} in [-1, 1], and "
                            f"{MOST[flags.half]} is the most" + "; leave --half out" * flags.half)
        write_card(options, place, sorted(name for name in networks if name.startswith("G")), recorded)
        folder.mkdir(exist_ok=True)
        for file in place.iterdir():
            replace(file, folder / file.name)
    print(f"{folder}: {', '.join(networks)}")
    if flags.push:
        print(upload(folder, flags.push))


@torch.inference_mode()
def compare(options: Options, translator: Translator, folder: Path) -> float:
    """Return the largest difference between translations by a generator and by the one in a hub folder."""
    written = Translator(options.replacing({"use_ema": False}), torch.device("cpu"))
    written.load(folder, LATEST)
    images = torch.rand(1, translator.channels, 50, 70, generator=torch.Generator().manual_seed(0)) * 2 - 1
    expected = translator.translate(images)
    return max((found - expected[name]).abs().max().item() for name, found in written.translate(images).items())


def write_card(options: Options, folder: Path, generators: Sequence[str], recorded: Mapping[str, Any]) -> None:
    """Write the model card and its pictures into a hub folder with these generators."""
    run, data, flags, results = options[RunFlags], options[DataFlags], options[HubFlags], options[TestFlags].results_dir
    method, average = str(recorded.get("model", run.model)), AVERAGE if options[TestFlags].use_ema else ""
    facts = {
        "method": f"`--model {method}`",
        "training images": flags.dataset or Path(str(recorded.get("dataroot", ""))).name or "not stated",
        "licence": flags.license or "not stated", "channels": f"{data.input_nc} to {data.output_nc}",
        **{f"values of {domain}": f"{of[0]:g} to {of[1]:g}" for domain, of in (("A", data.range_A), ("B", data.range_B))
           if of},
        "checkpoint": run.tag + ", moving average" * bool(average)}
    pictures, calls = [], []
    for name in generators:
        half = name.removeprefix("G")
        translator = load(folder, model_suffix=half, device="-1")
        network = translator.networks[name]
        count = sum(parameter.numel() for parameter in network.parameters())
        facts[name] = f"{type(network).__name__}, {count / 1e6:.3g} M parameters"
        calls.append(f'load("{flags.push or folder.name}"' + f', model_suffix="{half}"' * bool(half) + ")")
        if files := example_files(example_places(options, half, recorded)):
            pictures.append(f"pictures{half}.jpg")
            save_pictures(translator, files, folder / pictures[-1])
    if not pictures:
        warn("the model card has no pictures: name a folder of images by --dataroot")
    if not flags.license:
        warn("the model card states no licence: name one by --license")
    digests = {name + average: sha256(weights_path(run.folder, run.tag, name + average)) for name in generators}
    scores, scored = stored_scores(Path(results, run.name), run.folder / f"{BEST}.json" if run.tag == BEST else None,
                                   digests)
    card = model_card(
        folder.name, license_id=flags.license, method=method, facts=facts, pictures=pictures, calls=calls,
        scores=scores, scored=scored, commands=training_commands(run.folder))
    (folder / CARD).write_text(card, encoding="utf-8")


def example_places(options: Options, half: str, recorded: Mapping[str, Any]) -> list[Path]:
    """List the places of images to translate: --dataroot, or else results of test.py and the training's data set."""
    run, data = options[RunFlags], options[DataFlags]
    domain = "B" if (data.direction == "BtoA") != (half == "_B") else "A"
    typed, trained = data.dataroot, str(recorded.get("dataroot", ""))
    subfolders = [Path(typed or trained, f"{phase}{domain}") for phase in (data.phase, "train") if typed or trained]
    results = Path(options[TestFlags].results_dir, run.name, f"{data.phase}_{run.tag}{half}", "images", "real_A")
    return [*subfolders, Path(typed)] if typed else [results, *subfolders]
