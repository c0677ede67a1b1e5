"""Statistics over a store: maps on one scale, importance of channels, agreement with scores, clusters of maps."""

from camtool.analysis.normaliser import Normaliser as Normaliser
