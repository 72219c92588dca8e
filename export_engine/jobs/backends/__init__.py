"""The real parts of an export job behind the protocols of `jobs.ports`."""
