"""What tests of others' servers share."""

import pytest
import servers


@pytest.fixture(scope="session")
def postgres():
    """A function from the name of a new database to host, port and owner as part of a URL."""
    with servers.postgres() as database:
        yield database
