"""The export job: trigger, validate, resolve the channel, run, tell, expire. Rules first, then parts behind protocols.

Nothing of the archive generator imports this.
"""
