# Signs in with the settings in the environment, as an application would, and
# prints tls or clear. Status 3: the library is not installed.
require "uri"

library, how = ARGV
begin
  require library
rescue LoadError => e
  warn e.message
  exit 3
end

def pg(_how)
  c = PG.connect(ENV["AZURE_POSTGRESQL_CONNECTIONSTRING"])
  c.exec("select ssl from pg_stat_ssl where pid = pg_backend_pid()").getvalue(0, 0) == "t"
end

def mysql2(how)
  options =
    if how == "url" # as Active Record takes it apart
      u = URI(ENV["DATABASE_URL"])
      { host: u.host, port: u.port, username: u.user, password: u.password, database: u.path[1..] }
        .merge(URI.decode_www_form(u.query).to_h.transform_keys(&:to_sym))
    else
      of = ->(name) { ENV["AZURE_MYSQL_#{name}"] }
      { host: of["HOST"], port: of["PORT"]&.to_i, username: of["USERNAME"], password: of["PASSWORD"], database: of["DATABASE"],
        ssl_mode: of["SSLMODE"], sslca: of["SSLCA"] }.compact
    end
  Mysql2::Client.new(options).query("show status like 'Ssl_cipher'").first["Value"] != ""
end

begin
  puts send(library, how) ? "tls" : "clear"
rescue StandardError => e
  warn e.message.lines.first
  exit 1
end
