"""Ablation-CAM: Desai & Ramaswamy 2020, "Visual Explanations for Deep Convolutional Network via Gradient-free Localization"."""

from camtool.methods._base import BaseMethod, Evidence, Needs
from camtool.methods.perturbation._ablations import OneChannelZero
from camtool.registry import METHODS
from camtool.types import Maps


@METHODS.register_module()
class AblationCAM(BaseMethod):
    """Weights each channel by how far the score falls when the channel is set to zero.

    Differs from the paper: the fall is not divided by the score, a constant that normalising cancels, and that inverts the map where
    the score is negative. Extra tokens (class, distillation) keep the channel.
    """

    name = "ablationcam"
    paper = "doi:10.1109/WACV45572.2020.9093360"
    cost = "C tails"
    needs = Needs(replay=True, same_queries_for_all_targets=True)

    def contributions(self, evidence: Evidence) -> Maps:
        activations, queries = evidence.activations, evidence.queries(self.name)
        without = queries.scores_of_activations(activations.shape[1], OneChannelZero(activations))
        weights = queries.scores.unsqueeze(1) - without  # (n, c)
        return weights.reshape(*weights.shape, *[1] * (activations.ndim - 2)) * activations
