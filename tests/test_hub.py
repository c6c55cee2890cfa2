"""Models of the Hugging Face Hub: huggingface_hub itself talks to a local server that speaks the Hub's protocol."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from cli import ROOT, Outcome, run, run_process
from PIL import Image
from tiny import save_folders, save_noise, train_options

from inference import load
from models import MODELS
from training.checkpoints import save_checkpoint
from util.errors import UserError

pytest.importorskip("huggingface_hub")
from hub_server import Hub, running_hub

PAGE = (ROOT / "docs" / "export.md").read_text(encoding="utf-8").replace("OWNER", "owner")
SNIPPET, = re.findall(r"```python unchecked\n(.*owner/mine.*?)```", PAGE, re.DOTALL)
LOADS = """
import json, sys
sys.path.insert(0, {root!r})
from inference import load
from util.errors import UserError
{snippet}
found = {{}}
for name in {names!r}:
    try:
        load(name, device="-1")("photo.jpg").save(name.replace("/", "_") + ".png")
    except UserError as error:
        found[name] = str(error)
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An experiment in ``checkpoints/mine``, and a photograph."""
    root = save_folders(tmp_path_factory.mktemp("hub"), "test")
    save_noise(root / "photo.jpg", 0, (37, 26))
    torch.manual_seed(1)
    options = train_options(root, "--name mine --init_gain 0.2")
    save_checkpoint(root / "checkpoints" / "mine", "latest", MODELS["sc"](options, training=True), {})
    options.save(root / "checkpoints" / "mine", "train_opt")
    return root


def export(hub: Hub, root: Path, *flags: str, **variables: str) -> Outcome:
    return run_process(ROOT / "export.py", "--checkpoints_dir", root / "checkpoints", "--name", "mine", "--format",
                       "hub", "--push", "owner/mine", "--output", root / "hub" / "mine", *flags,
                       cwd=root, env={**hub.environment(root / "home"), **variables})


def loads(hub: Hub, root: Path, *names: str, **variables: str) -> dict[str, str]:
    """Run the lines of the page and load models, in a process, since the client reads its variables once.

    Returns:
        The errors by name.
    """
    outcome = run_process("-c", LOADS.format(root=str(ROOT), names=names, snippet=SNIPPET), cwd=root,
                          env={**hub.environment(root / "home"), "CUDA_VISIBLE_DEVICES": "", **variables})
    assert outcome.code == 0, outcome.err
    errors: dict[str, str] = json.loads(outcome.out.splitlines()[-1])
    return errors


@pytest.mark.slow
def test_a_model_is_uploaded_downloaded_and_found_without_a_network(root: Path) -> None:
    with running_hub() as hub:
        outcome = export(hub, root, "--license", "mit")
        assert outcome.code == 0, outcome.err
        assert outcome.out.endswith(f"{hub.url}/owner/mine\n")
        files = hub.models["owner/mine"]
        assert set(files) == {"README.md", "config.json", "model.safetensors", "pictures.jpg"}
        assert files["model.safetensors"] == (root / "hub" / "mine" / "model.safetensors").read_bytes()
        assert b'load("owner/mine")' in files["README.md"]
        hub.models["owner/bert"] = {"config.json": b'{"model_type": "bert"}',
                                    "model.safetensors": files["model.safetensors"]}
        hub.models["owner/empty"] = {"README.md": b""}
        errors = loads(hub, root, "owner/mine", "owner/bert", "owner/empty", "owner/none", "owner/gated",
                       "checkpoints/none")
    assert "owner/mine" not in errors, errors
    expected = load(root / "checkpoints" / "mine", device="-1")(root / "photo.jpg")
    for made in ("owner_mine.png", "painting.png"):
        with Image.open(root / made) as picture:
            assert np.array_equal(picture, expected)
    for name, words in (
        ("owner/bert", "config.json describes no generator of this project"),
        ("owner/empty", f"{hub.url}/owner/empty is no generator of this project, for it lacks config.json or model"),
        ("owner/none", f"there is no owner/none, neither here nor at {hub.url}/owner/none; check the name"),
        ("owner/gated", f"{hub.url}/owner/gated is open only to those who accept its conditions there"),
        ("checkpoints/none", "there is no checkpoints/none: name the folder of an experiment"),
    ):
        assert words in errors.pop(name)
    assert not errors
    (root / "owner_mine.png").unlink()
    errors = loads(hub, root, "owner/mine", "owner/other", HF_HUB_OFFLINE="1")
    assert list(errors) == ["owner/other"]
    assert f"there is no owner/other here, and {hub.url} cannot be reached (" in errors["owner/other"]
    assert (root / "owner_mine.png").is_file(), "the earlier download"


@pytest.mark.slow
def test_what_the_hub_refuses_is_one_sentence(root: Path) -> None:
    with running_hub() as hub:
        outcome = export(hub, root, "--license", "unheard-of")
        assert outcome.code == 2
        assert f'export.py: error: {hub.url}/owner/mine: Invalid metadata in README.md. - "license" ' in outcome.err
        outcome = export(hub, root, HF_TOKEN="hf_wrong")
    assert outcome.code == 2
    assert f"error: {hub.url}/owner/mine answers 401: log in by hf auth login, or set HF_TOKEN" in outcome.err
    assert (root / "hub" / "mine" / "config.json").is_file(), "the folder is there all the same"


def test_without_the_package_the_error_says_what_to_install(
    root: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path,
) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=r"there is no owner/mine here; to load it .*: pip install huggingface_hub"):
        load("owner/mine")
    outcome = run("export.py", "--checkpoints_dir", root / "checkpoints", "--name", "mine", "--format", "hub",
                  "--push", "owner/mine")
    assert outcome.code == 2
    assert "--push needs the package huggingface_hub: pip install huggingface_hub" in outcome.err
    assert not (tmp_path / "hub").exists(), "that is checked first"
