"""Measurements of this package against its peers, side by side in one run, as ratios.

`python -m benchmarks` prints the table and writes the JSON. `core` has what a benchmark
is and how it is measured, `report` how it is shown, `peers` the ways without this package;
every other module is one family of rows. `children` are programs that are measured from
outside. Nothing here is imported by the package.
"""
