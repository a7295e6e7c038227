"""`toolformer cluster`: what the machines that share a home agreed on, and their object store.

Does not compare or write; `dagster_project.cluster` does.
"""

from dagster_project.cluster import Cluster, differences, read_record, renew
from dagster_project.commands import console
from dagster_project.home import Home
from dagster_project.shared_files import seed, shared_store
from warehouse.store.sweep import sweep


def show_cluster() -> bool:
    """Show the record; returns whether this machine fits."""
    place = Home.find().place
    recorded = read_record(place)
    if recorded is None:
        told = (
            "the next command that opens it writes one"
            if place.is_shared
            else "it belongs to one machine"
        )
        console.say(f"The home {place.root} has no cluster.json: {told}.")
        return True
    _show(recorded)
    wrong = list(differences(recorded, place))
    for why in wrong:
        console.error(why)
    if not wrong:
        console.say("This machine fits.")
    return not wrong


def renew_cluster() -> None:
    """Record what holds on this machine for all of them."""
    _show(renew(Home.find().place))


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


def _show(recorded: Cluster) -> None:
    console.say(f"cluster  {recorded.id}, of toolformer {recorded.version}")
    console.say(f"locks    {', '.join(map(str, recorded.locks.values()))}")
