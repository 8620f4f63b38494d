"""Models: sizes from the data, a task and a recipe; layers, attention, schedules."""

from kindling.models.muon import Muon as Muon
