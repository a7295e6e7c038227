"""Rows must be those that their partition's fingerprint stands for.

The references are homes built alone, one for each choice of settings that crossed; a partition of
the home in question carries the fingerprint of one of them, and must have its rows.
"""

import json
from collections.abc import Collection, Sequence

from assets.inputs import merged_part
from tests.faults.comparison import Address, Damage, partitions_of
from tests.homes import SmallHome
from toolformer.home.fingerprints import FINGERPRINT, PARTS

_MERGED_CALLS = merged_part("filtered_calls", "")


def damage_of_fingerprints(
    home: SmallHome, references: Sequence[SmallHome], *, may_be_unknown: Collection[str] = ()
) -> Damage:
    """Partitions whose rows are not those of any reference with the same fingerprint.

    Args:
        home: in question.
        references: homes built alone.
        may_be_unknown: tables in which other fingerprints are fine: something that they name was
            changed.
    """
    known: dict[tuple[Address, str | None], list] = {}
    for reference in references:
        for address, rows in partitions_of(reference).items():
            fingerprint = _stored(reference, address).get(FINGERPRINT)
            known.setdefault((address, fingerprint), []).append(rows)
    damage = Damage()
    for address, rows in partitions_of(home).items():
        stored = _stored(home, address)
        expected = known.get((address, stored.get(FINGERPRINT)))
        if expected is None:
            if address[0] in may_be_unknown:
                continue
            if address[0] == "augmented_texts":
                damage.add(_damage_of_merge(address, rows, json.loads(stored[PARTS]), known))
            else:
                damage.wrong += 1
                damage.remarks.append(f"{'/'.join(address)} has a fingerprint of no settings")
        elif not any(rows.equals(each, null_equal=True) for each in expected):
            damage.wrong += rows.height
            damage.remarks.append(f"{'/'.join(address)}: wrong rows under a right fingerprint")
    return damage


def _damage_of_merge(address: Address, rows, parts: dict[str, str], known: dict) -> Damage:
    """A merge of decisions of several settings: its calls are kept where its parts say so."""
    kept: set[tuple[str, float]] = set()
    for name, part in parts.items():
        if not name.startswith(_MERGED_CALLS):
            continue
        tool = name.removeprefix(_MERGED_CALLS)
        for decided in known.get((("filtered_calls", address[1], tool), json.loads(part)), []):
            kept |= set(decided.filter("is_kept").select("call_id", "loss_reduction").iter_rows())
    merged = {
        (call["call_id"], call["loss_reduction"]) for calls in rows["calls"] for call in calls
    }
    if merged <= kept:
        return Damage()
    return Damage(
        wrong=len(merged - kept),
        remarks=[f"{'/'.join(address)} has calls that the decisions it names do not keep"],
    )


def _stored(home: SmallHome, address: Address) -> dict[str, str]:
    return home.warehouse.partition_metadata(*address) or {}
