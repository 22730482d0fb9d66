"""The computations of a variant's assets, one file per step of the chain."""
