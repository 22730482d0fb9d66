"""What Dagster does unattended: sensors and a schedule, each with the reason why it is shaped as it is.

What is to be done decides `stalign_assets.unattended`, from the same plans that ``stalign run`` follows; here the
decisions become ticks and requests for runs.
"""
