"""Hub datasets, downloaded as Parquet files.

The Hub converts every public dataset to Parquet and keeps the result on a branch of its
repository, `refs/convert/parquet`, as `CONFIG/SPLIT/0000.parquet` and so on
(https://huggingface.co/docs/dataset-viewer/parquet). Fetching these files needs
only `huggingface_hub`, which the worker has anyway, and runs no code of the dataset.
"""

from __future__ import annotations

import re
from collections import defaultdict
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from sentq_worker.training.errors import TrainingDataError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

__all__ = ["DatasetId", "fetch_dataset"]

_BRANCH = "refs/convert/parquet"
_DEFAULT_CONFIG = "default"

#: CONFIG/SPLIT/0000.parquet
_PATH_PARTS = 3

_URL = re.compile(
    r"hf://datasets/(?P<repo>[\w.-]+/[\w.-]+)(?:/(?P<config>[\w.-]+))?(?::(?P<split>[\w.-]+))?"
)

#: NAME, NAME:SPLIT or NAME:CONFIG:SPLIT
_MAX_PARTS = 3


@dataclass(frozen=True, slots=True)
class DatasetId:
    """A split of a dataset; a part that is None is chosen if there is only one."""

    repo: str
    config: str | None = None
    split: str | None = None

    @classmethod
    def parse(cls, argument: str) -> DatasetId | None:
        """Parse `owner/name`, `owner/name:split` or `owner/name:config:split`; else return None.

        Only the form is checked. The Hub tells whether the dataset exists.
        """
        repo, *parts = argument.split(":")
        owner, slash, name = repo.partition("/")
        is_id = bool(slash and owner and name) and "/" not in name and owner not in (".", "..", "~")
        if not is_id or len(parts) >= _MAX_PARTS or not all(parts):
            return None
        config = parts[0] if len(parts) > 1 else None
        return cls(repo, config, parts[-1] if parts else None)

    @classmethod
    def parse_url(cls, url: str) -> DatasetId | None:
        """Parse `hf://datasets/owner/name[/config][:split]`; return None for anything else."""
        found = _URL.fullmatch(url)
        return None if found is None else cls(found["repo"], found["config"], found["split"])


def fetch_dataset(dataset: DatasetId) -> list[Path]:
    """Fetch the files of one split, in order; from the cache if the Hub is unavailable.

    Raises:
        TrainingDataError: The Hub has no such dataset, config or split, or several (the message
            lists them), or it cannot be reached and nothing is cached.
    """
    from huggingface_hub.utils import disable_progress_bars

    disable_progress_bars()
    repo = dataset.repo
    with _translated_errors(repo):
        names = _file_names(repo)
        is_unavailable = names is None
        if names is None:
            cached = _snapshot(repo, [], offline=True)
            names = [file.relative_to(cached).as_posix() for file in cached.rglob("*")]
        chosen = _choose(dataset, names)
        folder = _snapshot(repo, chosen, offline=is_unavailable)
    return [folder / name for name in chosen]


def _file_names(repo: str) -> list[str] | None:
    """Return the files of the branch, or None if the Hub is unavailable or answers with 5xx."""
    from huggingface_hub import HfApi, constants
    from huggingface_hub.errors import HfHubHTTPError
    from huggingface_hub.utils import httpx

    try:
        info = HfApi().dataset_info(repo, revision=_BRANCH, timeout=constants.HF_HUB_ETAG_TIMEOUT)
    except HfHubHTTPError as error:
        if error.response.is_server_error:
            return None
        raise
    except (httpx.HTTPError, OSError):
        return None
    return [file.rfilename for file in info.siblings or ()]


def _snapshot(repo: str, names: list[str], *, offline: bool) -> Path:
    from huggingface_hub import snapshot_download

    return Path(
        snapshot_download(
            repo,
            repo_type="dataset",
            revision=_BRANCH,
            allow_patterns=names,
            local_files_only=offline,
        )
    )


@contextmanager
def _translated_errors(repo: str) -> Iterator[None]:
    """Translate errors of the Hub into errors that say what to do."""
    from huggingface_hub.errors import (
        GatedRepoError,
        HfHubHTTPError,
        HFValidationError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )
    from huggingface_hub.utils import httpx

    no_file = f"there is no file {repo}, and"
    try:
        yield
    except HFValidationError as error:
        raise TrainingDataError(
            f"{no_file} it is not a valid dataset id either: {error}"
        ) from error
    except GatedRepoError as error:
        raise TrainingDataError(f"{repo} is gated: accept its terms, then set HF_TOKEN") from error
    except RevisionNotFoundError as error:
        raise TrainingDataError(
            f"the Hub has no Parquet form of {repo}: download it, and give its files instead"
        ) from error
    except RepositoryNotFoundError as error:
        raise TrainingDataError(
            f"{no_file} the Hub has no such dataset (a private one needs HF_TOKEN)"
        ) from error
    except LocalEntryNotFoundError as error:
        raise TrainingDataError(
            f"{no_file} the Hub cannot be reached, and nothing of it is cached"
        ) from error
    except (HfHubHTTPError, httpx.HTTPError, OSError) as error:
        raise TrainingDataError(f"the Hub did not serve {repo}: {type(error).__name__}") from error


def _choose(dataset: DatasetId, names: Iterable[str]) -> list[str]:
    """Return the files of the one split that the id names."""
    splits = _splits(names)
    repo = dataset.repo
    if not splits:
        raise TrainingDataError(f"the Hub has no Parquet form of {repo}")
    config = dataset.config or _only_choice(
        sorted(splits), f"{repo} has several configs", f"{repo}:CONFIG:SPLIT", _DEFAULT_CONFIG
    )
    if config not in splits:
        raise TrainingDataError(f"{repo} has no config {config}: {_listed(splits)}")
    known = splits[config]
    split = dataset.split or _only_choice(
        sorted(known), f"{repo} has several splits", f"{repo}:SPLIT"
    )
    if split not in known:
        raise TrainingDataError(f"{repo} has no split {split}: {_listed(known)}")
    return sorted(known[split])


def _splits(names: Iterable[str]) -> dict[str, dict[str, list[str]]]:
    splits: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for name in names:
        path = PurePosixPath(name)
        if path.suffix == ".parquet" and len(path.parts) == _PATH_PARTS:
            config, split, _ = path.parts
            splits[config][split].append(name)
    return splits


def _only_choice(names: list[str], problem: str, form: str, default: str | None = None) -> str:
    if default in names:
        return str(default)
    if len(names) > 1:
        raise TrainingDataError(f"{problem}; say which, as {form}: {_listed(names)}")
    return names[0]


def _listed(names: Iterable[str]) -> str:
    return f"it has {', '.join(sorted(names))}"
