<?php
// Signs in with the settings in the environment, as an application would, and
// prints tls or clear. Status 3: the library is not installed.
function lacking(string $extension): void {
    if (!extension_loaded($extension)) {
        fwrite(STDERR, $extension);
        exit(3);
    }
}
try {
    if ($argv[1] === 'pg') {
        lacking('pgsql');
        $c = @pg_connect(getenv('AZURE_POSTGRESQL_CONNECTIONSTRING'));
        if (!$c) {
            throw new Exception(error_get_last()['message']);
        }
        $secure = pg_fetch_result(pg_query($c, 'select ssl from pg_stat_ssl where pid = pg_backend_pid()'), 0, 0) === 't';
    } else {
        lacking('mysqli');
        mysqli_report(MYSQLI_REPORT_ERROR | MYSQLI_REPORT_STRICT);
        $of = fn(string $name) => getenv("AZURE_MYSQL_$name");
        $c = mysqli_init();
        // Azure writes the constant of libmysqlclient; mysqli's is MYSQLI_CLIENT_SSL.
        $flag = $of('FLAG') === 'MySQL_CLIENT_SSL' ? MYSQLI_CLIENT_SSL : 0;
        if ($of('SSLCA')) {
            $c->ssl_set(null, null, $of('SSLCA'), null, null);
        }
        @$c->real_connect($of('HOST'), $of('USERNAME'), $of('PASSWORD'), $of('DBNAME'), (int) $of('PORT'), null, $flag);
        $secure = $c->query("show status like 'Ssl_cipher'")->fetch_row()[1] !== '';
    }
} catch (Throwable $e) {
    fwrite(STDERR, strtok($e->getMessage(), "\n"));
    exit(1);
}
echo $secure ? "tls\n" : "clear\n";
