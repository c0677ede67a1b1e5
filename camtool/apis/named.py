"""Named: what an image, a volume and a signal are called in reports and file names."""

from pathlib import Path

from camtool.io.names import stem_of


class Named:
    """Base class of samples with a name."""

    name: str
    """The file's path; without a file a word and a number, such as "image_0"."""

    @property
    def file_name(self) -> str:
        """The name without folders."""
        return Path(self.name).name

    @property
    def stem(self) -> str:
        """The name without folders and suffix."""
        return stem_of(Path(self.name))
