"""Where the published state of a home lies: in its folder, or in an object store.

`slice_store` says what the warehouse asks of either. `objects` speaks to a store of objects,
`mirror` keeps a copy of what is published there in the layout of a home, `sweep` removes what
nothing refers to any more.
"""
