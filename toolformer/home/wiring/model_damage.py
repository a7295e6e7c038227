"""Whether the weights of a model are those that were written, down to the last bit.

`model_identity` reads weights once, so rows of weights that a disk damaged since would stand under
the fingerprint of sound ones.
"""

from pathlib import Path

from toolformer.base.kept_digests import DIGESTS_FILE, damaged_files, described
from toolformer.errors import DamagedModelError
from toolformer.forward.embedded_model import embedded_model_directory
from toolformer.home.home import Home

# So much of a model is read before it is loaded, its smallest files first, at one to three seconds
# per GiB. All of a large one would take a minute and more in every process: `toolformer doctor
# --full` reads that.
_MAX_BYTES_READ = 2**30
# The digests of the models that this process has compared, with the time they were written.
_compared: set[tuple[Path, int]] = set()


def _is_finetuned(directory: Path, home: Home) -> bool:
    """Whether a model was finetuned in this home."""
    first = home.finetuned_model(1).name
    is_named_so = directory.name == first or directory.name.startswith(f"{first}-")
    return directory.parent == home.models and is_named_so


def remedy_for_model(directory: Path, home: Home) -> str:
    """What to do about a damaged model."""
    if directory == embedded_model_directory(home.converted_models):
        return f"Remove {directory}; it is converted again at first use"
    if _is_finetuned(directory, home):
        return f"Remove {directory}; `toolformer train` makes it again"
    return (
        "Restore these files from where the model came from; if you replaced them on purpose, "
        f"delete {directory / DIGESTS_FILE}"
    )


def check_undamaged(directory: Path, home: Home) -> None:
    """Compare a model with its digests, once per process; one without digests is taken as it is.

    Raises:
        DamagedModelError: a file is missing or is not as it was; of files beyond the
            smallest ones of together 1 GiB only names and sizes are compared.
        OSError: a file cannot be read.
    """
    file = directory / DIGESTS_FILE
    compared = (file, file.stat().st_mtime_ns if file.exists() else 0)
    if compared in _compared:
        return
    damaged = damaged_files(directory, max_bytes=_MAX_BYTES_READ)
    if damaged:
        raise DamagedModelError(
            f"The model in {str(directory)!r} is damaged: {described(damaged)}. Expected the files "
            f"as they were written. {remedy_for_model(directory, home)}."
        )
    _compared.add(compared)
