"""The tags of runs that our code reads or sets, by what they say."""

import getpass
import os
import shlex
import sys
from collections.abc import Mapping

# Tags that begin so are not shown in the UI.
_HIDDEN = ".dagster/"
# Names the process of a command; the process holds the lock of that name while it lives.
PROCESS_TAG = f"{_HIDDEN}toolformer_process"
# Set by Dagster's launcher on runs that `dagster dev` started in a process of its own.
LAUNCHED_BY_UI_TAG = f"{_HIDDEN}grpc_info"
# Who started a run of a command, and by which; the UI shows both.
_USER_TAG, _COMMAND_TAG = "toolformer/user", "toolformer/command"
_LONGEST_COMMAND = 300
# The first and the last partition of a run over several.
RANGE_START_TAG = "dagster/asset_partition_range_start"
RANGE_END_TAG = "dagster/asset_partition_range_end"
# On the runs that a sensor requests: its name.
SENSOR_NAME_TAG = "dagster/sensor_name"
# How often Dagster retries a run whose process was lost, instead of what dagster.yaml says.
MAX_RETRIES_TAG = "dagster/max_retries"
# Of a run that does another one again: which.
_PARENT_TAG = "dagster/parent_run_id"


def tags_of_command() -> dict[str, str]:
    """Who runs this command, and the command itself."""
    try:
        user = getpass.getuser()
    except (ImportError, KeyError, OSError):
        # A container's user may have no name.
        user = str(os.getuid())
    command = shlex.join(["toolformer", *sys.argv[1:]])
    tags = {_USER_TAG: user, _COMMAND_TAG: command[:_LONGEST_COMMAND]}
    # Paths may be anything, and no database takes what is no UTF-8.
    return {name: text.encode(errors="backslashreplace").decode() for name, text in tags.items()}


def process_of(tags: Mapping[str, str]) -> str | None:
    """The process of the command that does a run; None where the UI or its daemon started it.

    These do a command's run again with its tags.
    """
    return None if _PARENT_TAG in tags else tags.get(PROCESS_TAG)
