"""The error of the settings, in a module that imports nothing."""


class SettingsError(ValueError):
    """A setting is misspelt or invalid."""
