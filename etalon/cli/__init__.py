"""The command line: a client of the REST API, the offline fit, and the supervisor of one machine."""
