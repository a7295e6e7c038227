"""The shards that a build is said to cut."""

import pytest

from dagster_project.runs.expected_shards import expected_shards
from toolformer.home.settings.sections import Settings
from toolformer.sources.manifest import Manifest, ShardEntry
from toolformer.sources.source import Source


@pytest.mark.parametrize(
    ("stored", "every", "keys", "held_out"),
    [
        ([], 2, [1, 2], [True, False]),
        ([1], 2, [2, 3], [False, True]),
        ([2], 3, [1, 3], [False, False]),
        ([0, 1, 2, 5], 4, [3, 4], [True, False]),
        ([], 0, [1, 2], [False, False]),
    ],
)
def test_expected_shards_have_the_keys_of_those_that_are_cut(
    tmp_path, stored, every, keys, held_out
):
    file = tmp_path / "a.jsonl"
    file.write_text('{"text": "One."}\n' * 6)
    # As somebody edits it: the number of the first shard is given again.
    manifest = Manifest(0, {}, [ShardEntry("shard-00000", "/other", 0, 3, "x", False)])
    settings = Settings.model_validate({"corpus": {"held_out_every": every}})
    stored_keys = [f"shard-{number:05d}" for number in stored]
    source = Source(str(file), shard_size=3)
    found = expected_shards([source], manifest, stored_keys, settings).entries
    assert [entry.key for entry in found] == [f"shard-{number:05d}" for number in keys]
    assert [entry.is_held_out for entry in found] == held_out
    assert manifest.next_number == 0
