"""A run's own page, `report.html`: all that its folder says, in one file that needs no network."""
