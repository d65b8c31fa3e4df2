"""The `mariadb` and `mysql` command-line clients, with what they send unasked."""

from __future__ import annotations

import pytest

from loadtest.world.layout import region_id
from loadtest.world.shop import Shop
from tests.clients.conftest import DIRECT, Way
from tests.clients.drivers import CommandLine, Failure
from tests.servers import BOTH_SERVERS

pytestmark = BOTH_SERVERS

ER_NO_SUCH_TABLE = 1146
SCRIPT = """
CREATE TABLE notes (id INT PRIMARY KEY, body TEXT);
START TRANSACTION;
INSERT INTO notes VALUES (1, 'eins'), (2, 'zwei 🚢');
ROLLBACK;
START TRANSACTION;
INSERT INTO notes VALUES (3, 'drei; -- not a comment'), (4, NULL);
COMMIT;
SELECT id, body FROM notes ORDER BY id;
USE shop;
SELECT DATABASE();
USE plain;
SELECT COUNT(*) FROM notes;
"""


def test_a_script_with_transactions_and_use(command_line: CommandLine, way: Way) -> None:
    printed = command_line.run(way.target, SCRIPT).splitlines()
    assert printed == ["3\tdrei; -- not a comment", "4\tNULL", "shop", "2"]


def test_prepare_and_execute_in_sql(command_line: CommandLine, way: Way) -> None:
    script = """
        CREATE TABLE pairs (id INT PRIMARY KEY, body VARCHAR(20));
        INSERT INTO pairs VALUES (1, 'one'), (2, 'two');
        PREPARE find FROM 'SELECT body FROM pairs WHERE id = ?';
        SET @id = 2;
        EXECUTE find USING @id;
        DEALLOCATE PREPARE find;
        """
    assert command_line.run(way.target, script) == "two\n"


def test_errors_name_the_server_s_number(command_line: CommandLine, way: Way) -> None:
    with pytest.raises(Failure) as failure:
        command_line.run(way.target, "SELECT * FROM absent")
    assert failure.value.errno == ER_NO_SUCH_TABLE


def test_completion_is_read_without_harm(command_line: CommandLine, way: Way) -> None:
    """An interactive client asks for all column names with COM_FIELD_LIST; refused, it goes on without."""
    assert command_line.run(way.target, "SELECT 1", "--auto-rehash") == "1\n"


@pytest.mark.skipif(DIRECT, reason="needs routing")
def test_statements_are_routed(command_line: CommandLine, way: Way) -> None:
    identifier = region_id("eu", 5)
    name = next(row[1] for row in Shop().all_customers(way.world.shape) if row[0] == identifier)
    target = way.target.with_database("shop")
    assert command_line.run(target, f"SELECT name FROM customers WHERE id = {identifier}") == f"{name}\n"
