"""A data set explained into a store: resumable, in as many processes as there are."""

from camtool.runs.ray_engine import RayEngine as RayEngine
from camtool.runs.run import RunReport as RunReport
from camtool.runs.run import run as run

__all__ = ["RayEngine", "RunReport", "run"]
