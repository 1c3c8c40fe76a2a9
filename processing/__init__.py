"""Pixels and numbers: learning the dirt on the glass and taking it off. Knows no daemon, clock, log or config file."""
