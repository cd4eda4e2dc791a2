"""Figures of matplotlib, made without its global state, so that any thread can draw."""

from io import BytesIO
from pathlib import Path
from typing import Any

from swarm.errors import UserError
from swarm.storage.files import write_whole


def figure_of(**settings: Any) -> Any:
    """A new figure with matplotlib's settings; ImportError where it is not installed."""
    from matplotlib.figure import Figure

    return Figure(**settings)


def needed_figure(**settings: Any) -> Any:
    """`figure_of`, or a UserError where matplotlib is not installed."""
    try:
        return figure_of(**settings)
    except ImportError as error:
        raise UserError("a picture needs matplotlib, which is not installed: pip install matplotlib") from error


def picture_of(figure: Any, kind: str, dots: int = 100) -> bytes:
    """A figure with tight margins in a format such as png or svg; ValueError for one that matplotlib has not."""
    drawn = BytesIO()
    figure.savefig(drawn, format=kind, dpi=dots, bbox_inches="tight")
    return drawn.getvalue()


def save_picture(figure: Any, path: Path, dots: int) -> None:
    """Saves a figure with tight margins. Raises UserError where it cannot be written."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, picture_of(figure, path.suffix.removeprefix(".") or "png", dots), flush=False)
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be written ({error}); name another file, such as picture.png") from error
