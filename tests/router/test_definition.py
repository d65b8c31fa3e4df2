"""Table definitions compared and copied: what SHOW CREATE TABLE prints."""

from __future__ import annotations

from router.definition import column_lines, comparable, copy_of, unique_without

CREATED = """CREATE TABLE `ord``ers` (
  `customer_id` bigint(20) NOT NULL COMMENT 'a, `b` (c)',
  `Id` bigint(20) NOT NULL AUTO_INCREMENT,
  `email` varchar(190) NOT NULL,
  PRIMARY KEY (`Id`,`customer_id`),
  UNIQUE KEY `mail` (`email`(10),`customer_id`),
  KEY `id` (`Id`),
  CONSTRAINT `whose` FOREIGN KEY (`customer_id`) REFERENCES `customers` (`id`)
) ENGINE=InnoDB AUTO_INCREMENT=17 DEFAULT CHARSET=utf8mb4"""


def test_counters_and_foreign_keys_do_not_count() -> None:
    definition = comparable(CREATED)
    assert "AUTO_INCREMENT=17" not in definition and "FOREIGN" not in definition
    assert definition.split("\n")[-2] == "  KEY `id` (`Id`)"
    assert comparable(CREATED.replace("=17", "=18")) == definition
    assert comparable(definition) == definition


def test_a_copy_lies_in_another_database() -> None:
    copy = copy_of(comparable(CREATED), "trial", "ord`ers")
    assert copy.startswith("CREATE TABLE `trial`.`ord``ers` (\n")


def test_columns_are_found_in_any_case() -> None:
    assert column_lines(CREATED, ("id", "customer_id")) == [
        "  `customer_id` bigint(20) NOT NULL COMMENT 'a, `b` (c)'",
        "  `Id` bigint(20) NOT NULL AUTO_INCREMENT",
    ]


def test_new_unique_keys_are_looked_at_and_old_ones_are_not() -> None:
    definition = comparable(CREATED)
    assert not unique_without(definition, None, ("customer_id",))
    assert unique_without(definition, None, ("customer_id", "email"))
    assert not unique_without(definition, definition, ("customer_id", "email"))
    wider = definition.replace("  KEY `id` (`Id`)", "  UNIQUE KEY `id` (`Id`)")
    assert unique_without(wider, definition, ("customer_id",))
