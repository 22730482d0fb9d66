"""Engines that carry out a run's steps: this machine, a Dask cluster, Kubernetes."""
