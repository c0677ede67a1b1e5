"""Build networks: from config and checkpoint to model, preprocessing and class names. The only room that imports model libraries."""

from camtool.models.loading import Network as Network
from camtool.models.loading import load_network as load_network
