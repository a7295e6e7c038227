"""Whether the weights of a model are those that were written, down to the last bit.

`model_identity` reads a part of the weights, so rows of damaged weights would stand under the
fingerprint of sound ones.
"""

from pathlib import Path

from dagster_project.home import Home
from toolformer.errors import DamagedModelError
from toolformer.forward.embedded_model import embedded_model_directory
from toolformer.ground.digests import hex_digest
from toolformer.ground.kept_digests import DIGESTS_FILE, damaged_files, described

# Models up to this are read whole before they are loaded, at one to three seconds per GiB. A larger
# one would take a minute and more in every process: `toolformer doctor --full` reads it.
_MOST_BYTES_READ = 2**30
# The digests of the models that this process has compared, with the time they were written.
_compared: set[tuple[Path, int]] = set()


def is_made_here(directory: Path, home: Home) -> bool:
    """Whether it is the converted model of a home, or one that was finetuned in it."""
    first = home.finetuned_model(1).name
    is_finetuned = directory.name == first or directory.name.startswith(f"{first}-")
    return directory == embedded_model_directory(home.converted_models) or (
        directory.parent == home.models and is_finetuned
    )


def digests_file(directory: Path, home: Home) -> Path:
    """Where the digests of a model are kept: beside its weights, or apart for a user's own.

    A user's own may have been made in another home, and bring its digests along.
    """
    beside = directory / DIGESTS_FILE
    if is_made_here(directory, home) or beside.is_file():
        return beside
    place = hex_digest(directory.absolute(), size=4)
    return home.digests / f"{directory.name}-{place}"


def check_undamaged(directory: Path, home: Home) -> None:
    """Compare a model with its digests, once per process; one without digests is taken as it is.

    Raises:
        DamagedModelError: a file is missing or is not as it was; of models over 1 GiB only names
            and sizes are compared.
        OSError: a file cannot be read.
    """
    file = digests_file(directory, home)
    compared = (file, file.stat().st_mtime_ns if file.exists() else 0)
    if compared in _compared:
        return
    damaged = damaged_files(directory, file, most_bytes=_MOST_BYTES_READ)
    if damaged:
        remedy = (
            "Run `toolformer doctor --full --repair`: it puts the model aside, and the embedded "
            "model is then converted again at first use, a finetuned one by `toolformer train`."
            if is_made_here(directory, home)
            else "Restore these files from where the model came from; if you replaced them on "
            f"purpose, delete {str(file)!r}."
        )
        raise DamagedModelError(
            f"The model in {str(directory)!r} is damaged: {described(damaged)}. Expected the files "
            f"as they were written. {remedy}"
        )
    _compared.add(compared)
