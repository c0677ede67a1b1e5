"""Networks: config and checkpoint to a model, its preprocessing and its class names. The only room that imports model libraries."""

from camtool.models.loading import Network as Network
from camtool.models.loading import load_network as load_network
