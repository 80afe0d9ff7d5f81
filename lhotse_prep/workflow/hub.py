"""Folders of models of transformers: on this machine, or on the Hugging Face hub by their names."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from lhotse_prep.workflow.errors import DataError

SMALL_FILES = ["*.json", "*.spm", "*.model", "*.txt", "*.jinja", "*.tiktoken"]  # configuration and tokenizer
WEIGHTS = (".safetensors", ".bin")  # the first of the two that a model has is downloaded
_NAME = re.compile(r"[\w.-]+(/[\w.-]+)?")  # of a model on the hub


def model_folder(name: str, what: str, check: Callable[[Path], None] = lambda folder: None) -> Path:
    """The folder of a model: `name` itself, or else that of the hub's model of this name, downloaded if need be.

    Args:
      what: what the user gave the name as, such as `--mt`, for messages.
      check: raises DataError if a folder with the files other than weights is no model of the wanted kind.
    Raises:
      DataError: name is neither a folder nor a model that the hub gives.
    """
    folder = Path(name).expanduser()
    if folder.is_dir():
        check(folder)
        return folder
    if folder.is_file():
        raise DataError(f"{what} {name} is a file; name the folder of a model, or a model on the hub")
    if not _NAME.fullmatch(name) or name[0] in ".-" or ".." in name:
        raise DataError(f"{what} {name} is not a folder, and it is not the name of a model on the hub (OWNER/MODEL)")
    from huggingface_hub import list_repo_files, snapshot_download

    def download() -> Path:
        folder = Path(snapshot_download(name, allow_patterns=SMALL_FILES))
        check(folder)
        try:
            files = list_repo_files(name)
        except Exception:  # no network: what an earlier download left
            return folder
        weights = _weights(files)
        return Path(snapshot_download(name, allow_patterns=[*SMALL_FILES, *weights])) if weights else folder

    return from_hub(download, name, what)


def _weights(files: list[str]) -> list[str]:
    """The files of a model's weights: in one format, in no subfolder, and not Mistral's second copy of them."""
    top = [f for f in files if "/" not in f and not f.startswith(("consolidated", "training_args"))]
    for suffix in WEIGHTS:
        if weights := [f for f in top if f.endswith(suffix)]:
            return weights
    return []


def from_hub(download: Callable[[], Path], name: str, what: str) -> Path:
    """What `download` returns for a name on the hub.

    Raises:
      DataError: the hub refuses it, does not answer, or the download fails; `what` precedes the name in the message.
    """
    from huggingface_hub.errors import GatedRepoError, LocalEntryNotFoundError, RepositoryNotFoundError

    refused = f"{what} {name} is not a folder and cannot be downloaded from the hub: "
    try:
        return download()
    except DataError:
        raise
    except GatedRepoError as e:
        raise DataError(
            f"{refused}its owner asks for consent first; accept the terms on https://huggingface.co/{name} and log in "
            "with `hf auth login`"
        ) from e
    except RepositoryNotFoundError as e:
        raise DataError(f"{refused}it has no such model, or a private one (`hf auth login`)") from e
    except LocalEntryNotFoundError as e:
        raise DataError(f"{refused}it does not answer, and no earlier download is complete; is there a network?") from e
    except Exception as e:  # of the network, the disk, or the hub
        reason = str(e).strip() or type(e).__name__
        raise DataError(refused + reason.splitlines()[0]) from e
