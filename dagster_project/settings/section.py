"""What all sections of the settings have in common."""

from pydantic import BaseModel, ConfigDict


class Section(BaseModel):
    """A group of settings: unchangeable, and without room for names that nobody defined."""

    model_config = ConfigDict(extra="forbid", frozen=True)
