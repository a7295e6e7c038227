"""What is wrong with the settings.

Loads nothing, so that a command that needs no settings begins without them.
"""


class SettingsError(ValueError):
    """A setting is misspelt or out of range."""
