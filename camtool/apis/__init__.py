"""Public Python interface: an `Explainer` explains images by one network; an `Explanation` has an image's maps, classes and figures.

The command line is built on it; nothing here depends on a terminal.
"""

from camtool.apis.concepts import ConceptExplanation as ConceptExplanation
from camtool.apis.explainer import Explainer as Explainer
from camtool.apis.explanation import Explanation as Explanation
