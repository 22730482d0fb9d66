"""``stalign doctor``: what dead processes and broken files left in a study, found and put right.

Each file here looks at one part of a study and yields what it finds; `examination` goes through them in order.
"""
