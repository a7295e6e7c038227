"""Run tags that this project reads or sets."""

import getpass
import os
import shlex
import sys
from collections.abc import Mapping

# The UI hides tags with this prefix.
_HIDDEN = ".dagster/"
# Name of the command's process, which holds a lock of the same name while it is alive.
PROCESS_TAG = f"{_HIDDEN}toolformer_process"
# Dagster's launcher sets this tag on runs that `dagster dev` starts in a separate process.
LAUNCHED_BY_UI_TAG = f"{_HIDDEN}grpc_info"
# User and command line that started the run; the UI shows both.
_USER_TAG, _COMMAND_TAG = "toolformer/user", "toolformer/command"
_MAX_COMMAND_CHARACTERS = 300
# First and last partition of a run over a range of partitions.
RANGE_START_TAG = "dagster/asset_partition_range_start"
RANGE_END_TAG = "dagster/asset_partition_range_end"
# Name of the sensor that requested the run.
SENSOR_NAME_TAG = "dagster/sensor_name"
# How often Dagster retries the run if its process dies; overrides dagster.yaml.
MAX_RETRIES_TAG = "dagster/max_retries"
# Id of the run that this run executes again.
_PARENT_TAG = "dagster/parent_run_id"


def tags_of_command() -> dict[str, str]:
    try:
        user = getpass.getuser()
    except (ImportError, KeyError, OSError):
        # A container's user may have no name.
        user = str(os.getuid())
    command = shlex.join(["toolformer", *sys.argv[1:]])
    tags = {_USER_TAG: user, _COMMAND_TAG: command[:_MAX_COMMAND_CHARACTERS]}
    # A path may contain bytes that are not UTF-8, which databases reject.
    return {name: text.encode(errors="backslashreplace").decode() for name, text in tags.items()}


def process_of(tags: Mapping[str, str]) -> str | None:
    """Return the process of the command that executes a run, or None if Dagster executes it.

    When Dagster executes a command's run again, it copies the tags of the first run.
    """
    return None if _PARENT_TAG in tags else tags.get(PROCESS_TAG)
