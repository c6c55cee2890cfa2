"""Generators by name: bundled ones, and models on the Hugging Face Hub, from which they are loaded and sent there."""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from util.errors import UserError
from util.hub_folders import CONFIG, WEIGHTS, folder_of

BUNDLED = Path(__file__).resolve().parent.parent / "generators"
"""Folder of the bundled generators."""
NAME = r"[\w.-]+/[\w.-]+"


def find(place: str | os.PathLike[str]) -> Path:
    """Find the folder or file of a generator; download it if it is a model on the Hub.

    Args:
        place: a path; the name of a bundled generator; or ``owner/name``, unless there is a folder ``owner``.

    Raises:
        UserError: there is no such generator, or the Hub cannot be reached.
    """
    path = Path(place)
    if path.exists():
        return folder_of(path)
    if (bundled := BUNDLED / path).is_dir() and path.name == str(place):
        return bundled
    if isinstance(place, str) and re.fullmatch(NAME, place) and not path.parent.exists():
        return download(place)
    raise UserError(f"there is no {path}: name the folder of an experiment, a hub folder, the .pth file of a "
                    "generator, or owner/name of a model on the Hugging Face Hub")


def download(name: str) -> Path:
    """Download a generator from the Hub into the client's cache, or find it there.

    Returns:
        A hub folder. Without a network, it is the one of an earlier download.

    Raises:
        UserError: there is no such model, it is no generator of this project, or the Hub cannot be reached.
    """
    hub = require_client(f"there is no {name} here; to load it from the Hugging Face Hub")
    with _for_users(name):
        config = Path(hub.hf_hub_download(name, CONFIG))
        hub.hf_hub_download(name, WEIGHTS, revision=config.parent.name)  # of the same commit
    return config.parent


def require_client(why: str = "--push needs the package huggingface_hub") -> Any:
    """Import huggingface_hub.

    Raises:
        UserError: the package is not installed; ``why`` it is needed, and how to install it.
    """
    try:
        import huggingface_hub  # noqa: PLC0415 - optional
    except ImportError:
        raise UserError(f"{why}: pip install huggingface_hub") from None
    return huggingface_hub


def upload(folder: Path, name: str) -> str:
    """Send a hub folder to the Hub as the model ``name``, which is made if there is none; returns its address.

    Raises:
        UserError: the user is not logged in or may not write there, the Hub refuses the model card, or it cannot be
            reached.
    """
    hub = require_client()
    with _for_users(name):
        address = hub.create_repo(name, exist_ok=True)
        hub.upload_folder(repo_id=name, folder_path=folder, commit_message="Add the generator")
    return str(address)


@contextmanager
def _for_users(name: str) -> Iterator[None]:
    """Raise a `UserError` in place of the client's errors."""
    from huggingface_hub import constants, errors  # noqa: PLC0415 - optional

    place = f"{constants.ENDPOINT}/{name}"
    login = "log in by hf auth login, or set HF_TOKEN"
    try:
        yield
    except errors.GatedRepoError as error:
        raise UserError(f"{place} is open only to those who accept its conditions there; then {login}") from error
    except errors.RepositoryNotFoundError as error:
        raise UserError(f"there is no {name}, neither here nor at {place}; check the name, or if the model is private "
                        f"{login}") from error
    except errors.LocalEntryNotFoundError as error:
        raise UserError(f"there is no {name} here, and {constants.ENDPOINT} cannot be reached ({error.__cause__}); "
                        "check the network, or name a folder") from error
    except errors.EntryNotFoundError as error:
        raise UserError(f"{place} is no generator of this project, for it lacks {CONFIG} or {WEIGHTS}") from error
    except errors.HfHubHTTPError as error:
        denied = f": {login}, with the right to write there" * (error.response.status_code in (401, 403))
        raise UserError(f"{place} answers {error.response.status_code}{denied}") from error
    except errors.HFValidationError as error:
        raise UserError(f"{name} is no name of a model on the Hugging Face Hub; it should be owner/name") from error
    except Exception as error:  # refused cards and connections are errors of several libraries
        raise UserError(f"{place}: {error}") from error
