"""Figures of a run: functions of a table that return a plotly Figure, for report and notebook."""

from reports.figures.breakdown import breakdown_bars, breakdown_icicle
from reports.figures.budget import knee_against_budget
from reports.figures.fidelity import miniature_against_checkpoint
from reports.figures.flips import flip_factors
from reports.figures.importance import importance_bars
from reports.figures.parallel import parallel_coordinates
from reports.figures.placement import digital_coverage, placement_map
from reports.figures.progress import hypervolume_progress, time_split
from reports.figures.roofline import roofline
from reports.figures.step import decode_timeline, step_timeline
from reports.figures.sweep import heat_map, lines, parts_bar
from reports.figures.theme import DARK, LIGHT, themed
from reports.figures.tornado import tornado_bars
from reports.figures.trade import accuracy_against_digital_share, pareto_front
from reports.figures.utilisation import tile_utilisation

__all__ = [
    "DARK",
    "LIGHT",
    "accuracy_against_digital_share",
    "knee_against_budget",
    "breakdown_bars",
    "breakdown_icicle",
    "decode_timeline",
    "digital_coverage",
    "flip_factors",
    "heat_map",
    "hypervolume_progress",
    "importance_bars",
    "lines",
    "miniature_against_checkpoint",
    "parallel_coordinates",
    "pareto_front",
    "parts_bar",
    "placement_map",
    "roofline",
    "step_timeline",
    "themed",
    "tile_utilisation",
    "time_split",
    "tornado_bars",
]
