"""XML read without what makes it dangerous: no document types, so no entities, nothing from elsewhere, bounded size and depth."""

from dataclasses import dataclass, field
from pathlib import Path
from xml.parsers import expat

from camtool.errors import DataError, closest, some

MOST_BYTES = 10_000_000
MOST_DEPTH = 32


@dataclass
class Element:
    """An element: its name, its text and the elements in it."""

    name: str
    line: int
    text: str = ""
    children: list["Element"] = field(default_factory=list)

    def all(self, name: str) -> list["Element"]:
        """Return the elements of this name that are directly in this one."""
        return [child for child in self.children if child.name == name]

    def one(self, name: str) -> "Element":
        """Return the element of this name that is directly in this one.

        Raises:
            DataError: if there is none, or several; line and names are in it.
        """
        found = self.all(name)
        if len(found) != 1:
            names = sorted({child.name for child in self.children})
            near = f"{closest(name, names)}; it has {some(names) or 'none'}" if not found else ""
            raise DataError(f"line {self.line}: expected one <{name}> in <{self.name}>, got {len(found)}{near}")
        return found[0]

    def number(self, name: str) -> float:
        """Return the number in the element of this name; DataError if it is none."""
        element = self.one(name)
        try:
            value = float(element.text)
        except ValueError:
            value = float("nan")
        if not -1e9 < value < 1e9:
            raise DataError(f"line {element.line}: expected a number in <{name}>, got '{element.text[:40]}'")
        return value


def read_xml(path: Path) -> Element:
    """Return the root of an XML file.

    Raises:
        DataError: if the file is missing, too large, not well formed, too deep, or has a document type; the line is named.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> from camtool.datasets.annotations.xml_tree import read_xml
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder) / "a.xml"
        ...     _ = path.write_text("<annotation><size><width>4</width></size></annotation>")
        ...     read_xml(path).one("size").number("width")
        4.0
    """
    try:
        with path.open("rb") as file:
            content = file.read(MOST_BYTES + 1)
    except OSError as error:
        raise DataError(f"'{path}' cannot be read: {error.strerror}; expected an XML file.") from error
    if len(content) > MOST_BYTES:
        raise DataError(f"'{path}' has more than {MOST_BYTES} bytes; expected the annotations of one picture.")
    parser = expat.ParserCreate()
    root = Element("", 0)
    open_elements = [root]

    def starts(name: str, _: dict[str, str]) -> None:
        if len(open_elements) > MOST_DEPTH:
            raise DataError(f"line {parser.CurrentLineNumber}: elements are deeper than {MOST_DEPTH}")
        element = Element(name, parser.CurrentLineNumber)
        open_elements[-1].children.append(element)
        open_elements.append(element)

    def ends(name: str) -> None:
        element = open_elements.pop()
        element.text = element.text.strip()

    def says(text: str) -> None:
        open_elements[-1].text += text

    def declares(*_: object) -> None:
        # A document type may define entities: small files that become huge, or that read others.
        raise DataError(f"line {parser.CurrentLineNumber}: a document type is not read")

    parser.buffer_text = True
    parser.StartElementHandler, parser.EndElementHandler, parser.CharacterDataHandler = starts, ends, says
    parser.StartDoctypeDeclHandler = declares
    try:
        parser.Parse(content, True)
    except expat.ExpatError as error:
        raise DataError(f"'{path}', line {error.lineno}: {expat.ErrorString(error.code)}; expected well-formed XML.") from error
    except DataError as error:
        raise DataError(f"'{path}', {error}; expected elements and text alone.") from error
    return root.children[0]
