"""Signs in with the settings in the environment, as an application would, and
prints tls or clear. Status 3: the library is not installed."""
import importlib
import os
import sys
import urllib.parse

library, how = sys.argv[1:]
env = os.environ
try:
    module = importlib.import_module(library)
except ImportError as e:
    print(e, file=sys.stderr)
    sys.exit(3)


def psycopg2():
    if how == "keys":
        p = "AZURE_POSTGRESQL_"
        c = module.connect(dbname=env[p + "NAME"], host=env[p + "HOST"], port=env.get(p + "PORT", 5432), user=env[p + "USER"], password=env[p + "PASSWORD"])
    else:
        c = module.connect(env[how])
    with c.cursor() as cursor:
        cursor.execute("select ssl from pg_stat_ssl where pid = pg_backend_pid()")
        return cursor.fetchone()[0]


def mysql():
    if how == "keys":
        p = "AZURE_MYSQL_"
        options = dict(host=env[p + "HOST"], port=int(env.get(p + "PORT", 3306)), user=env[p + "USER"], password=env[p + "PASSWORD"], database=env[p + "NAME"])
    else:  # as SQLAlchemy and dj-database-url take a URL apart
        u = urllib.parse.urlsplit(env["DATABASE_URL"])
        options = dict(host=u.hostname, port=u.port, user=u.username, password=urllib.parse.unquote(u.password), database=u.path[1:])
        for name, value in urllib.parse.parse_qsl(u.query):
            if name in ("ssl_ca", "ssl-ca"):
                options["ssl"] = {"ca": value}
            else:
                options[name] = value
    c = module.connect(**options)
    cursor = c.cursor()
    cursor.execute("show status like 'Ssl_cipher'")
    return cursor.fetchone()[1] != ""


def redis():
    c = module.Redis.from_url(env[how])
    c.ping()
    return env[how].startswith("rediss:")


def mongo():
    c = module.MongoClient(env[how], serverSelectionTimeoutMS=2000)
    c.get_default_database()["things"].find_one()
    return "tls=true" in env[how]


try:
    secure = {"psycopg2": psycopg2, "MySQLdb": mysql, "pymysql": mysql, "redis": redis, "pymongo": mongo}[library]()
except Exception as e:
    sys.exit(f"{type(e).__name__}: {e}".splitlines()[0])
print("tls" if secure else "clear")
