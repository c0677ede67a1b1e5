"""What a program calls: `Explainer(config, checkpoint)` explains images; an `Explanation` has maps, classes, figures and files.

The command line, data set runs and notebooks stand on it; nothing of it knows a terminal.
"""

from camtool.apis.concepts import ConceptExplanation as ConceptExplanation
from camtool.apis.explainer import Explainer as Explainer
from camtool.apis.explanation import Explanation as Explanation
