// MariaDB Connector/J: connect, inspect, transact, prepare on the server, insert in batches, stream, cancel. Prints JSON.
//     java -cp mariadb-java-client.jar Tour.java PORT
import java.sql.*;
import java.util.ArrayList;
import java.util.List;

public class Tour {
    static final List<String> found = new ArrayList<>();

    static void tell(String name, Object value) {
        found.add("\"" + name + "\": \"" + String.valueOf(value).replace("\\", "\\\\").replace("\"", "\\\"") + "\"");
    }

    static String all(ResultSet rows, String... columns) throws SQLException {
        StringBuilder text = new StringBuilder();
        while (rows.next()) for (String column : columns) text.append(rows.getString(column)).append(' ');
        return text.toString();
    }

    interface Work { void run() throws SQLException; }

    static String error(Work work) {
        try { work.run(); return "no error"; } catch (SQLException error) { return error.getErrorCode() + " " + error.getSQLState(); }
    }

    public static void main(String[] arguments) throws Exception {
        String url = "jdbc:mariadb://127.0.0.1:" + arguments[0] + "/plain?user=demo&password=demo&allowPublicKeyRetrieval=true";
        for (String more : new String[] {"", "&useServerPrepStmts=true", "&useCompression=true&allowMultiQueries=true"}) {
            try (Connection connection = DriverManager.getConnection(url + more)) {
                tour(connection);
            }
        }
        System.out.println("{" + String.join(", ", found) + "}");
    }

    static void tour(Connection connection) throws Exception {
        try (Statement statement = connection.createStatement()) {
            statement.execute("DROP TABLE IF EXISTS barrels");
            statement.execute("CREATE TABLE barrels (id INT AUTO_INCREMENT PRIMARY KEY, label VARCHAR(40) UNIQUE, litres DECIMAL(9,2), filled DATETIME)");
            DatabaseMetaData look = connection.getMetaData();
            tell("tables", all(look.getTables("plain", null, "%", new String[] {"TABLE"}), "TABLE_NAME"));
            tell("columns", all(look.getColumns("plain", null, "barrels", "%"), "COLUMN_NAME", "TYPE_NAME", "COLUMN_SIZE", "IS_NULLABLE"));
            tell("key", all(look.getPrimaryKeys("plain", null, "barrels"), "COLUMN_NAME"));
            tell("indexes", all(look.getIndexInfo("plain", null, "barrels", false, false), "INDEX_NAME", "COLUMN_NAME", "NON_UNIQUE"));
            work(connection);
            stream(connection);
            cancel(connection, statement);
            statement.execute("DROP TABLE barrels");
        }
    }

    static void work(Connection connection) throws SQLException {
        try (PreparedStatement insert = connection.prepareStatement("INSERT INTO barrels (label, litres, filled) VALUES (?, ?, ?)", Statement.RETURN_GENERATED_KEYS)) {
            insert.setString(1, "one");
            insert.setBigDecimal(2, new java.math.BigDecimal("1.50"));
            insert.setTimestamp(3, Timestamp.valueOf("2026-01-02 03:04:05"));
            insert.executeUpdate();
            try (ResultSet keys = insert.getGeneratedKeys()) { keys.next(); tell("id", keys.getInt(1)); }
            tell("duplicate", error(insert::executeUpdate));
            connection.setAutoCommit(false);
            insert.setString(1, "two");
            insert.executeUpdate();
            Savepoint point = connection.setSavepoint("here");
            insert.setString(1, "three");
            insert.executeUpdate();
            connection.rollback(point);
            connection.commit();
            connection.setAutoCommit(true);
            for (int n = 0; n < 500; n++) {
                insert.setString(1, "barrel " + n);
                insert.setInt(2, n);
                insert.setNull(3, Types.TIMESTAMP);
                insert.addBatch();
            }
            tell("batch", insert.executeBatch().length);
        }
        connection.setTransactionIsolation(Connection.TRANSACTION_READ_COMMITTED);
        connection.setReadOnly(true);
        connection.setReadOnly(false);
        tell("isolation", connection.getTransactionIsolation());
        try (PreparedStatement select = connection.prepareStatement("SELECT label, litres, filled FROM barrels WHERE id = ?")) {
            for (int id = 1; id <= 2; id++) {
                select.setInt(1, id);
                tell("row", all(select.executeQuery(), "label", "litres", "filled"));
            }
        }
    }

    static void stream(Connection connection) throws SQLException {
        try (Statement statement = connection.createStatement(ResultSet.TYPE_FORWARD_ONLY, ResultSet.CONCUR_READ_ONLY)) {
            statement.setFetchSize(10);
            int length = 0;
            try (ResultSet rows = statement.executeQuery("SELECT label FROM barrels")) { while (rows.next()) length += rows.getString(1).length(); }
            tell("streamed", length);
        }
    }

    // setQueryTimeout and cancel() send KILL QUERY on a connection of their own.
    static void cancel(Connection connection, Statement statement) throws Exception {
        Thread canceller = new Thread(() -> {
            try { Thread.sleep(300); statement.cancel(); } catch (Exception error) { tell("cancel failed", error); }
        });
        canceller.start();
        tell("cancelled", error(() -> statement.execute("SELECT COUNT(*) FROM barrels a, barrels b, barrels c, barrels d")));
        canceller.join();
        try (ResultSet rows = statement.executeQuery("SELECT 1")) { tell("after", all(rows, "1")); }
    }
}
