"""What every table of the config has in common."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Table(BaseModel):
    """A table of the file: a key that it does not know is an error, and nothing changes once it is read.

    A field whose default depends on another has the default None, which TOML cannot say, and a validator that
    puts the real one in its place.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
