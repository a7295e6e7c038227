"""`toolformer cluster`: what the machines that share a home agreed on, shown and recorded anew.

Does not compare or write; `dagster_project.cluster` does.
"""

from dagster_project.cluster import Cluster, differences, read_record, renew
from dagster_project.commands import console
from dagster_project.home import Home


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


def _show(recorded: Cluster) -> None:
    console.say(f"cluster          {recorded.id}, of toolformer {recorded.version}")
    console.say(f"precision: auto  {recorded.precision}")
    console.say(f"locks            {', '.join(map(str, recorded.locks.values()))}")
