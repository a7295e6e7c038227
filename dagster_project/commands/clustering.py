"""`toolformer cluster`: the object store of the machines that share a home."""

from dagster_project.commands import console
from dagster_project.home import Home
from dagster_project.shared_files import seed, shared_store
from warehouse.store.sweep import sweep


def seed_store() -> None:
    """Put what the home holds into its object store."""
    home = Home.find()
    slices, others = seed(home)
    console.say(
        f"{home.store} has {slices} slices and {others} other files and folders of {home.root} "
        "now. The home is this machine's copy of it from here on."
    )


def sweep_store() -> None:
    """Remove what nothing in the object store refers to any more."""
    removed, freed = sweep(shared_store(Home.find()))
    console.say(f"Removed {removed} objects of {freed / 2**20:.1f} MiB that nothing names.")
