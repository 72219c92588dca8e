"""Run `python -m export_engine.service serve` and the like: `export-engine` with the service's commands."""

from export_engine import cli
from export_engine.service.commands import COMMANDS

if __name__ == "__main__":
    for command in COMMANDS:
        cli.commands.add_command(command)
    cli.main()
