"""What all commands share on a terminal: checked arguments, progress, how a command ends."""
