"""What all steps of a roll need to do their work."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from .film import Profile
    from .output import Output
    from .progress import Progress


@dataclass(frozen=True, slots=True)
class Workplace:
    """The profile of the film, where frames go, a `scratch` folder for files that do not last, and threads."""

    profile: Profile
    output: Output
    scratch: Path
    threads: int
    progress: Progress
