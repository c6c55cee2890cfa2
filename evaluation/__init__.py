"""The subcommands of evaluate.py, a file each: ``SUMMARY``, ``add_flags(parser)`` and ``run(flags)``."""
