"""Errors of the settings, importable without the settings themselves."""


class SettingsError(ValueError):
    """A setting is misspelt or out of range."""
