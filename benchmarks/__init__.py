"""Every speed or quality claim of the docs, as a command: `python -m benchmarks.NAME`, or all with `make bench`."""
