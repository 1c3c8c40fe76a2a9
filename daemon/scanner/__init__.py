"""Driving scanners through SANE: devices, options, slots of a holder, and rows that go into a file as they come."""
