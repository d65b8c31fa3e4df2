"""The gate: families, and administration wherever it hides."""

from __future__ import annotations

import pytest

from _speedups import lexer
from router.gate import Family, gate
from router.tokens import decode, tokenize


def gated(sql: str) -> tuple[Family, str, str | None]:
    found = gate(tokenize(decode(lexer.lex(sql.encode(), 0).norm)))
    return found.family, found.verb, found.administration


@pytest.mark.parametrize(
    ("sql", "family"),
    [
        ("select 1", Family.SELECT),
        ("(select 1) union (select 2)", Family.SELECT),
        ("((select 1))", Family.SELECT),
        ("with x as (select 1) select 1", Family.SELECT),
        ("with x as (select 1) update t set a = 1", Family.UPDATE),
        ("with x as (select 1) delete from t", Family.DELETE),
        ("with recursive x as (select 1 union select 2) select 1", Family.SELECT),
        ("table t", Family.SELECT),
        ("values row(1)", Family.SELECT),
        ("replace into t values (1)", Family.INSERT),
        ("begin", Family.TRANSACTION),
        ("begin not atomic select 1", Family.PROGRAM),
        ("start transaction", Family.TRANSACTION),
        ("desc t", Family.EXPLAIN),
        ("analyze table t", Family.MAINTENANCE),
        ("analyze select 1", Family.EXPLAIN),
        ("analyze format=json select 1", Family.EXPLAIN),
        ("create table t (a int)", Family.DDL),
        ("create procedure p() select 1", Family.PROGRAM),
        ("create or replace function f() returns int return 1", Family.PROGRAM),
        ("alter event e disable", Family.PROGRAM),
        ("drop procedure p", Family.DDL),
        ("drop prepare s", Family.PREPARED),
        ("execute immediate 'select 1'", Family.PREPARED),
        ("deallocate prepare s", Family.PREPARED),
        ("lock tables t read", Family.LOCK_TABLES),
        ("do 1", Family.DO),
        ("xa begin 'x'", Family.XA),
        ("frobnicate", Family.UNKNOWN),
        ("(", Family.UNKNOWN),
    ],
)
def test_families(sql: str, family: Family) -> None:
    assert gated(sql)[0] is family


@pytest.mark.parametrize(
    ("sql", "verb"),
    [
        ("create unique index i on t (a)", "CREATE INDEX"),
        ("create temporary table t (a int)", "CREATE TABLE"),
        ("create or replace algorithm = merge view v as select 1", "CREATE VIEW"),
        ("create procedure p() select 1", "CREATE PROCEDURE"),
        ("truncate t", "TRUNCATE TABLE"),
        ("drop schema x", "DROP DATABASE"),
        ("(select 1)", "SELECT"),
    ],
)
def test_verbs(sql: str, verb: str) -> None:
    assert gated(sql)[1] == verb


@pytest.mark.parametrize(
    "sql",
    [
        "/*!99999 shutdown */",
        "/* x */ shutdown",
        "lock instance for backup",
        "create user if not exists x",
        "create or replace user x",
        "drop role if exists x",
        "alter user current_user() identified by 'x'",
        "create spatial reference system 1 name 'x' definition 'y'",
        "create aggregate function f returns int soname 'x'",
        "create sql security definer definer = x@y view v as select 1",
        "load data concurrent infile 'x' into table t",
        "load xml infile 'x' into table t",
        "select a from t into dumpfile 'x'",
        "select mysql.user.host from mysql.user",
        "insert into `mysql`.`user` values (1)",
        "update performance_schema.setup_consumers set enabled = 1",
        "create trigger g before insert on t for each row set global read_only = 1",
        "create procedure p() begin set @a = 1, global read_only = 1; end",
        "create procedure p() begin set @@global.read_only = 1; end",
        "create procedure p() begin select 1; flush tables; end",
        "create procedure p() if 1 then create user x; end if",
        "create event e on schedule every 1 day do kill 5",
        "create procedure p() begin xa start 'x'; end",
        "begin not atomic shutdown; end",
        "create table t (a int) engine = spider comment 'x'",
        "create table t (a int) index directory = '/x'",
        "select master_pos_wait('x', 1), load_file('y')",
    ],
)
def test_administration(sql: str) -> None:
    assert gated(sql)[2] is not None


@pytest.mark.parametrize(
    "sql",
    [
        "select 'shutdown'",
        "select shutdown from kill",
        "select * from t where a = 'into outfile'",
        "insert into t (global, reset) values (1, 2)",
        "create table t (a int) engine=innodb data_free = 1",
        "create definer = current_user() trigger g before insert on t for each row set new.a = 1",
        "create sql security definer view v as select 1",
        "create procedure p() begin declare continue handler for not found set @a = 1; show warnings; end",
        "drop table t",
        "alter table t add index i (a)",
        "select mysql from t",
        "select a.sys from t a",
        "load data local infile 'x' into table t",
    ],
)
def test_no_administration(sql: str) -> None:
    assert gated(sql)[2] is None
