"""What a simulation makes of the data that a site has: whose patients are its own, and by which scanner."""

from __future__ import annotations

from medfl.schema import Section
from medfl.study.run_settings import Simulation
from medfl.study.sections import NotNegative


class SimulatedSite(Section):
    """A hospital of a simulation, among those that one folder of data stands for."""

    simulation: Simulation
    number: NotNegative = 0  # which of the hospitals that a division by patient makes
    own_scanner: bool = False  # whether its images are changed as `scanner_strengths` says
