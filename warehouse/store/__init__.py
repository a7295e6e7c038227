"""Where the published state of a home lies: in its folder, or in an object store.

`partition_store` says what the warehouse asks of either, and does it in the folder;
`mirrored_store` does it in an object store. `objects` speaks to such a store, `files` keeps copies
of files and folders that are published there, `sweep` removes what nothing refers to any more.
"""
