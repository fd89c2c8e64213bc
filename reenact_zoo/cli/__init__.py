from reenact_zoo.cli.commands import app, main

__all__ = ["app", "main"]
