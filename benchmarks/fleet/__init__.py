"""A simulation of many workers, with the costs that were measured of one: `python -m benchmarks.fleet`."""
