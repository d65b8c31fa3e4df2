SET autocommit = 1
SET autocommit = 0
SET autocommit = TRUE
SET NAMES latin1
SET NAMES utf8mb4 COLLATE utf8mb4_bin
SET NAMES utf8
SET character_set_client = utf8, character_set_results = 'LATIN1'
SET character_set_connection = utf8mb4
SET collation_connection = utf8mb4_bin
SET character_set_results = NULL
SET NAMES utf8mb4
SET time_zone = '+01:00', autocommit = 1, time_zone = '+02:00'
SET autocommit = 1, time_zone = 'system', NAMES latin1
SET time_zone = DEFAULT
SET time_zone = '+99:00', autocommit = 1
SET autocommit = 1, time_zone = '+99:00'
SET sql_mode = ''
SET wait_timeout = 100
SET NAMES utf8mb4, wait_timeout = 100, autocommit = 1
USE plain
SELECT 1
SET @x = 1
SET @x = 1, autocommit = 1
INSERT INTO n VALUES (1)
BEGIN
SET time_zone = '+03:00'
SELECT a FROM n LIMIT 1
SET time_zone = '+04:00', autocommit = 1
INSERT INTO n VALUES (2)
COMMIT
COMMIT
BEGIN
ROLLBACK
BEGIN
BEGIN
INSERT INTO n VALUES (3)
BEGIN
INSERT INTO n VALUES (4)
CREATE TABLE IF NOT EXISTS noted (a INT)
BEGIN
SELECT absent
INSERT INTO n VALUES (5)
ROLLBACK
START TRANSACTION READ ONLY
SELECT a FROM n LIMIT 1
COMMIT AND CHAIN
COMMIT
START TRANSACTION WITH CONSISTENT SNAPSHOT
COMMIT
SAVEPOINT a
BEGIN
SAVEPOINT a
RELEASE SAVEPOINT a
COMMIT
SET autocommit = 0
INSERT INTO n VALUES (6)
COMMIT
BEGIN
COMMIT
BEGIN
SET autocommit = 1
SET autocommit = 0
BEGIN
SET NAMES utf8mb3, autocommit = 1
SELECT a FROM n LIMIT 1
BEGIN
DROP TABLE IF EXISTS noted
SET TRANSACTION READ ONLY
SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED
CALL zones()
CALL begins()
SET group_concat_max_len = 1
SHOW WARNINGS
SELECT @@group_concat_max_len
SET session_track_system_variables = 'autocommit,sql_mode'
SET sql_mode = 'ANSI', autocommit = 1
SET sql_mode = '', time_zone = '+01:00'
SET session_track_system_variables = 'autocommit,group_concat_max_len,long_query_time,optimizer_switch,timestamp'
SET optimizer_switch = 'index_merge=off'
SET timestamp = 5
SET timestamp = DEFAULT
SET autocommit = DEFAULT, long_query_time = 2, sql_mode = DEFAULT
SET group_concat_max_len = 2000
SET session_track_system_variables = DEFAULT
SET autocommit = 1
SET session_track_system_variables = ''
SET autocommit = 1
SET session_track_system_variables = NULL
SET autocommit = 1
SET session_track_state_change = 1
SET autocommit = 1
SET @x = 2
USE plain
SELECT 1
CREATE TEMPORARY TABLE tt (a INT)
INSERT INTO tt VALUES (1)
DROP TEMPORARY TABLE tt
PREPARE p FROM 'SELECT 1'
EXECUTE p
DEALLOCATE PREPARE p
BEGIN
INSERT INTO n VALUES (7)
SET session_track_schema = 0
COMMIT
USE plain
SET session_track_schema = ON
SET session_track_state_change = OFF
USE plain
SET session_track_transaction_info = OFF
SET session_track_system_variables = 'session_track_state_change'
SET session_track_state_change = 1
SET session_track_state_change = 0, session_track_schema = 1
