/* MariaDB Connector/C reads server-side cursors, with other statements of the connection in between.
   Prints what it saw as JSON. Usage: cursor PORT */
#include <mysql.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static MYSQL *connection;

static void say(const char *sql)
{
    if (mysql_query(connection, sql)) {
        fprintf(stderr, "%s: %s\n", sql, mysql_error(connection));
        exit(1);
    }
}

static void must(int failed, MYSQL_STMT *statement)
{
    if (failed) {
        fprintf(stderr, "%s\n", mysql_stmt_error(statement));
        exit(1);
    }
}

static MYSQL_STMT *opened(unsigned long prefetch, int *id, char *body, unsigned long *length)
{
    const char *sql = "SELECT id, body FROM c_rows ORDER BY id";
    unsigned long kind = CURSOR_TYPE_READ_ONLY;
    MYSQL_STMT *statement = mysql_stmt_init(connection);
    MYSQL_BIND columns[2];
    memset(columns, 0, sizeof columns);
    columns[0].buffer_type = MYSQL_TYPE_LONG;
    columns[0].buffer = id;
    columns[1].buffer_type = MYSQL_TYPE_STRING;
    columns[1].buffer = body;
    columns[1].buffer_length = 256;
    columns[1].length = length;
    must(mysql_stmt_prepare(statement, sql, strlen(sql)), statement);
    mysql_stmt_attr_set(statement, STMT_ATTR_CURSOR_TYPE, &kind);
    mysql_stmt_attr_set(statement, STMT_ATTR_PREFETCH_ROWS, &prefetch);
    must(mysql_stmt_execute(statement), statement);
    must(mysql_stmt_bind_result(statement, columns), statement);
    return statement;
}

int main(int argc, char **argv)
{
    int id[2], rows = 0, others = 0, end;
    char body[2][256], sql[80];
    unsigned long length[2], bytes = 0;
    MYSQL_STMT *one, *two;
    MYSQL_RES *result;
    connection = mysql_init(NULL);
    if (argc < 2 || !mysql_real_connect(connection, "127.0.0.1", "demo", "demo", "plain", atoi(argv[1]), NULL, 0)) {
        fprintf(stderr, "%s\n", mysql_error(connection));
        return 1;
    }
    say("DROP TABLE IF EXISTS c_rows");
    say("CREATE TABLE c_rows (id INT PRIMARY KEY, body VARCHAR(200))");
    for (int i = 1; i <= 500; i++) {
        snprintf(sql, sizeof sql, "INSERT INTO c_rows VALUES (%d, REPEAT('x', %d))", i, i % 190);
        say(sql);
    }
    one = opened(7, &id[0], body[0], &length[0]);
    two = opened(100, &id[1], body[1], &length[1]);
    while ((end = mysql_stmt_fetch(one)) == 0) {
        rows++;
        bytes += length[0];
        if (rows % 50 == 0) {
            say("SELECT COUNT(*) FROM c_rows");
            result = mysql_store_result(connection);
            others += atoi(mysql_fetch_row(result)[0]);
            mysql_free_result(result);
            must(mysql_stmt_fetch(two) != 0, two);
        }
    }
    must(end != MYSQL_NO_DATA, one);
    mysql_stmt_close(two);
    must(mysql_stmt_execute(one), one);
    must(mysql_stmt_fetch(one) != 0, one);
    printf("{\"rows\": %d, \"bytes\": %lu, \"others\": %d, \"second\": %d, \"again\": %d}\n", rows, bytes, others, id[1], id[0]);
    mysql_stmt_close(one);
    say("DROP TABLE c_rows");
    mysql_close(connection);
    return 0;
}
