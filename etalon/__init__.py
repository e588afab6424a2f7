"""What people import and type: the client of the REST API, and the ``etalon`` command."""
