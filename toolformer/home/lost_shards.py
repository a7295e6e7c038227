"""Warns of shards without a catalogue, since queries would silently skip their rows."""

import logging

from toolformer.home.home import Home
from toolformer.sources.errors import ManifestError
from toolformer.sources.manifest import Manifest
from warehouse.catalogue import shards_in
from warehouse.layout import CATALOGUE_FOLDER

_LOGGER = logging.getLogger(__name__)
_MAX_NAMED = 5


def log_lost_shards(home: Home) -> None:
    try:
        active = {entry.key for entry in Manifest.load(home.sources).active_shards}
    except ManifestError as error:
        _LOGGER.warning("Cannot check whether rows of shards are missing. %s", error)
        return
    if lost := sorted(active.difference(shards_in(home.warehouse))):
        named = ", ".join(lost[:_MAX_NAMED]) + (", …" if len(lost) > _MAX_NAMED else "")
        _LOGGER.warning(
            "The rows of %d of %d shards are left out, since the shards have no catalogue: %s. "
            "Expected one file per shard in '%s'. Restore these files from a backup, or run "
            "`toolformer build`, which computes the rows again.",
            len(lost),
            len(active),
            named,
            home.warehouse / CATALOGUE_FOLDER,
        )
