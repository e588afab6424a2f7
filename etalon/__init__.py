"""The Python side of Etalon: the client of the REST API, and the ``etalon`` command."""
