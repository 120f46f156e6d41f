"""The `diglot` command: one module per sub-command, imported when it is the one to run."""
