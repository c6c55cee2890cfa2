"""The event handlers of the page of ``app.py``, with the values that Gradio passes and expects."""

import tempfile
from collections.abc import Callable
from functools import wraps
from html import escape
from pathlib import Path
from typing import Any

from util.errors import UserError, explain
from util.image_files import BadImage
from util.images import image_size
from util.rasters import read_raster

from .checkpoints import Checkpoint, find_checkpoints
from .examples import copied, examples, reader, thumbnails
from .jobs import Cancelled
from .pictures import Shown, Studio
from .similarity import feature_names

INPUT = "the input"
Point = tuple[float, float]


class Events:
    """Event handlers, with the values that Gradio passes and expects."""

    def __init__(self, root: Path, studio: Studio) -> None:
        self.root, self.studio = root, studio

    def open(self, request: Any) -> tuple[Any, Any, Any]:
        """List the checkpoints for a new page, whose address may name the choice: ``?checkpoint=...&compared=...``."""
        asked = request.query_params
        return self.refresh(asked.get("checkpoint"), asked.get("compared"))

    def refresh(self, chosen: str | None, compared: str | None) -> tuple[Any, Any, Any]:
        """List the checkpoints, and keep the choice; without checkpoints, give advice."""
        import gradio  # noqa: PLC0415 - optional

        found = list(find_checkpoints(self.root))
        first = found[0] if found else None
        return (gradio.Dropdown(choices=found, value=chosen if chosen in found else first),
                gradio.Dropdown(choices=[INPUT, *found], value=compared if compared in found else INPUT),
                gradio.HTML(f"<strong>{escape(no_checkpoints(self.root))}</strong>", visible=not found))

    def translate(  # noqa: PLR0917 - the page's parts, in their order
        self, request: Any, upload: str | None, label: str | None, compared: str, style: float, side: float,
        features: str,
    ) -> tuple[Any, ...]:
        """Translate an image, and update the pictures and lists; if it was cancelled, leave them."""
        import gradio  # noqa: PLC0415

        if upload is None:
            return (None, None, None, None, captions(), "", gradio.DownloadButton(value=None, interactive=False),
                    gradio.skip(), gradio.skip())
        checkpoint = self._find(label)
        other = None if compared == INPUT else self._find(compared)
        into = Path(tempfile.mkdtemp(dir=self.studio.folder))
        try:
            shown = self.studio.translate(Path(upload), into, checkpoint, other, style=int(style), side=int(side),
                                          page=request.session_hash)
        except Cancelled:
            return tuple(gradio.skip() for _ in range(9))
        seen = feature_names(checkpoint)
        return (
            shown, *map(str, shown.views), (str(shown.other), str(shown.output)),
            captions(other.label if other else INPUT, checkpoint.label), shown.note,
            gradio.DownloadButton(value=str(shown.output), interactive=True),
            gradio.Slider(visible=shown.styles > 1),
            gradio.Dropdown(choices=seen, value=features if features in seen else seen[0]))

    def translate_now(self, request: Any, upload: str | None, *rest: Any) -> tuple[Any, ...]:
        """Translate, with a warning if there is no image: the handler of the button."""
        import gradio  # noqa: PLC0415

        if upload is None:
            gradio.Warning("Choose an image first: drop one, click its field, or take an example")
        return self.translate(request, upload, *rest)

    def cancel(self, request: Any) -> None:
        """Cancel the translation of the page."""
        self.studio.jobs.cancel(request.session_hash)

    def note(self, upload: str | None, label: str | None, side: float) -> str:
        """Describe the image before it is translated."""
        try:
            checkpoint = find_checkpoints(self.root).get(label or "")
            return self.studio.note(Path(upload), checkpoint, int(side)) if upload else ""
        except UserError:
            return ""  # the translation tells

    def examples(self, label: str | None) -> tuple[Any, Any, list[str]]:
        """Show images of the test set of a checkpoint; returns their part of the page, the gallery and the files."""
        import gradio  # noqa: PLC0415

        checkpoint = find_checkpoints(self.root).get(label or "")
        found = thumbnails(examples(checkpoint), self.studio.folder, reader(checkpoint)) if checkpoint else []
        gallery = gradio.Gallery([str(thumbnail) for thumbnail, _ in found], selected_index=None)
        return gradio.Column(visible=bool(found)), gallery, [str(file) for _, file in found]

    def clear_broken(self, upload: str | None) -> Any:
        """Clear the upload after a failure if it is no image, so that the button does not fail again."""
        import gradio  # noqa: PLC0415

        if upload is not None:
            try:
                read_raster(Path(upload))
            except BadImage:
                return None
        return gradio.skip()

    def maps(self, shown: Shown | None, point: Point | None, features: str, label: str | None) -> tuple[Any, ...]:
        """Ring the clicked point in input and output, and draw its self-similarity, if there is one."""
        import gradio  # noqa: PLC0415

        if shown is None or point is None:
            return gradio.skip(), gradio.skip(), None, None
        maps = self.studio.maps(shown, point, features, self._find(label))
        return tuple(map(str, [*self.studio.ringed(shown, point), *maps]))

    def _find(self, label: str | None) -> Checkpoint:
        found = find_checkpoints(self.root)
        if not found:
            raise UserError(no_checkpoints(self.root))
        if label not in found:
            raise UserError(f"{label or 'no checkpoint'} is not there: refresh the list and choose one")
        return found[label]


def no_checkpoints(root: Path) -> str:
    """Return advice if there is no checkpoint."""
    return f"there is no checkpoint in {root}: train a model, or start app.py with another --checkpoints_dir"


def captions(left: str = "the comparison", right: str = "the output") -> str:
    """Return the captions of the slider's sides, as HTML."""
    return f'<div class="sides"><span>Left: {escape(left)}</span><span>Right: {escape(right)}</span></div>'


def of_page(event: Callable[..., Any]) -> Callable[..., Any]:
    """Wrap a handler so that its first argument is Gradio's request, which identifies the page."""
    import gradio  # noqa: PLC0415

    def handler(request: Any, *values: Any) -> Any:
        return event(request, *values)

    handler.__annotations__["request"] = gradio.Request  # tells Gradio to pass it
    return handler


def with_messages(event: Callable[..., Any]) -> Callable[..., Any]:
    """Wrap a handler so that errors that a user can mend become messages on the page."""
    import gradio  # noqa: PLC0415

    @wraps(event)
    def answer(*values: Any) -> Any:
        try:
            return event(*values)
        except (UserError, OSError, MemoryError, RuntimeError) as error:
            if (reason := explain(error)) is None:
                raise
            raise gradio.Error(reason, duration=None, print_exception=False) from error

    return answer


def clicked_point() -> Callable[..., Point | None]:
    """Return the handler that gives the clicked point, as fractions of height and width."""
    import gradio  # noqa: PLC0415

    def clicked(shown: Shown | None, event: Any) -> Point | None:
        if shown is None:
            return None
        height, width = image_size(shown.views[0])
        x, y = event.index
        down, right = ((min(max(at, 0), side - 1) + 0.5) / side for at, side in ((y, height), (x, width)))
        return down, right

    clicked.__annotations__["event"] = gradio.SelectData  # tells Gradio which event to pass
    return clicked


def chosen_example(folder: Path) -> Callable[..., str]:
    """Return the handler that gives a copy of the chosen example, in ``folder``."""
    import gradio  # noqa: PLC0415

    def chosen(files: list[str], event: Any) -> str:
        return str(copied(Path(files[event.index]), folder))

    chosen.__annotations__["event"] = gradio.SelectData
    return chosen
