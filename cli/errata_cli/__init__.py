"""The `errata` command: starts the processes of a service and looks after its home folder."""
