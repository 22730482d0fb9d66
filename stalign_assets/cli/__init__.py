"""The ``stalign`` command. Each command lives in its own file and imports what it needs when it runs."""
