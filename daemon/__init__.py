"""Time, files, devices and state around :mod:`dustwatch.processing`; no arithmetic on pixels."""
