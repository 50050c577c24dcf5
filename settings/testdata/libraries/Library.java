import java.sql.DriverManager;

/** Signs in with the settings in the environment, and prints tls or clear. Status 3: the library is not installed. */
public class Library {
    public static void main(String[] args) throws Exception {
        try {
            Class.forName("org.postgresql.Driver");
        } catch (ClassNotFoundException e) {
            System.err.println(e.getMessage());
            System.exit(3);
        }
        try (var c = DriverManager.getConnection(System.getenv("AZURE_POSTGRESQL_CONNECTIONSTRING"));
                var rows = c.createStatement().executeQuery("select ssl from pg_stat_ssl where pid = pg_backend_pid()")) {
            rows.next();
            System.out.println(rows.getBoolean(1) ? "tls" : "clear");
        } catch (Exception e) {
            System.err.println(e.getMessage());
            System.exit(1);
        }
    }
}
