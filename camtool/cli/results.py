"""Results of a command that explains images: draw and write them image by image, then report them."""

import errno
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import typer

from camtool.apis import ConceptExplanation, Explanation
from camtool.apis.figures import FigureOptions
from camtool.apis.outputs import Output, unique_stems
from camtool.cli import report
from camtool.cli.command import Session
from camtool.cli.positionals import ImageFiles
from camtool.cli.terminal import show
from camtool.errors import CamtoolError, OutputError


class ResultWriter:
    """Draws and writes explanations, image by image, and reports them."""

    def __init__(
        self,
        running: Session,
        files: ImageFiles,
        output: Output,
        options: FigureOptions,
        *,
        batch_size: int,
        strict: bool,
        show: bool,
        as_json: bool,
    ) -> None:
        self._running = running
        self._files = files
        self._output = output
        self._options = options
        self._batch_size = batch_size
        self._stops = strict or not files.several
        self._show = show
        self._as_json = as_json
        self._last: tuple[Explanation | ConceptExplanation, Sequence[Path]] | None = None
        self._rows: list[report.ImageRow] = []  # not the explanations: those of a large folder do not fit into memory
        self._failures: list[str] = []
        self._reports: list[dict[str, Any]] = []

    def write(
        self, results: Iterable[Explanation | ConceptExplanation | CamtoolError], progress: Callable[[str, int, int], None] | None
    ) -> None:
        """Write the figures and arrays of every image that could be explained.

        Raises:
            CamtoolError: the error of the first image that failed, if it is the only one, with `strict`, or if all images of the first
                batch have the same error, which is then not due to the images.
        """
        names = self._files.names
        for done, (name, stem, result) in enumerate(zip(names, unique_stems(names), results, strict=True), start=1):
            try:
                if isinstance(result, CamtoolError):
                    raise result
                self._write_one(name, stem, result)
            except OutputError as error:
                if _stops_all(error):
                    raise
                self._fail(name, error)
            except CamtoolError as error:
                self._fail(name, error)
            if progress is not None:
                progress("images", done, len(names))

    def _write_one(self, name: str, stem: str, explanation: Explanation | ConceptExplanation) -> None:
        figures = explanation.draw(self._options, single=self._output.one_a_map or self._show)
        written = self._output.write(explanation, figures, stem, self._options)
        self._last = explanation, written
        self._rows.append(report.image_row(name, explanation, written))
        self._reports.append({**explanation.to_dict(), "image": name, "outputs": [str(path) for path in written]})
        if self._show:
            by_caption = {" ".join(key).strip(): picture for key, picture in figures.single.items()}
            show(figures.whole, by_caption, sys.stderr if self._as_json else self._running.output)

    def _fail(self, name: str, error: CamtoolError) -> None:
        if self._stops:
            raise error
        self._failures.append(str(error))
        self._reports.append({"image": name, "error": str(error)})
        if not self._rows and len(self._failures) >= self._batch_size > 1 and len(set(self._failures)) == 1:
            raise error
        self._running.remark(f"Error: {name}: {error}")

    def report(self, loading: float, started: float) -> None:
        """Print the report; end with exit code 2 if an image failed."""
        seconds = time.perf_counter() - started
        if self._as_json:
            for entry in self._reports:
                if "error" not in entry:
                    entry["seconds"] = {**entry.get("seconds", {}), "load": round(loading, 4), "total": round(seconds, 4)}
            if self._files.several:
                report.print_json(self._running, self._reports)
            else:
                report.print_json(self._running, {**self._reports[0], "warnings": self._running.warnings})
        elif self._last is not None:
            explanation, paths = self._last
            if self._files.several:
                report.print_several(self._running, self._rows, explanation, seconds)
            elif isinstance(explanation, Explanation):
                report.print_explanation(self._running, explanation, paths, seconds)
            else:
                report.print_concepts(self._running, explanation, paths)
        if self._failures:
            self._running.remark(f"Error: {len(self._failures)} of {len(self._files.paths)} images could not be explained.")
            raise typer.Exit(2)


def _stops_all(error: OutputError) -> bool:
    """Return whether other images could not be written either: not where one image's name or size is the reason."""
    return isinstance(error.__cause__, OSError) and error.__cause__.errno != errno.ENAMETOOLONG
