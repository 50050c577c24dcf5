package external

import (
	"context"
	"crypto/tls"
	"database/sql"
	sqldriver "database/sql/driver"
	"errors"
	"fmt"
	"net"

	"github.com/go-sql-driver/mysql"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	mssql "github.com/microsoft/go-mssqldb"
	"github.com/microsoft/go-mssqldb/msdsn"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
)

// Neither reads anything of this process's environment.
const plainPostgres = "host=localhost port=5432 user=x password=x database=x sslmode=disable sslnegotiation=postgres target_session_attrs=any connect_timeout=0"

func probePostgres(ctx context.Context, s *session) error {
	c, err := pgx.ParseConfig(plainPostgres)
	if err != nil {
		return patchbay.Errorf(patchbay.Internal, "the environment has PostgreSQL settings that can't be used")
	}
	host, _, _ := net.SplitHostPort(s.at)
	c.Host, c.Database, c.User, c.Password = host, s.value("database"), s.value("username"), s.value("password")
	c.TLSConfig, c.Fallbacks, c.ValidateConnect, c.AfterConnect = s.tls, nil, nil, nil
	c.RuntimeParams = map[string]string{"application_name": "patchbay probe"}
	c.DialFunc = s.DialContext
	c.LookupFunc = func(_ context.Context, host string) ([]string, error) { return []string{host}, nil }
	c.KerberosSrvName, c.KerberosSpn, c.RequireAuth, c.SSLCertMode, c.ChannelBinding = "", "", "", "allow", "prefer"
	if s.tls == nil || !s.secure().Verified() {
		c.RequireAuth = "!password" // nobody is told the password itself unless it is known who asks
	}
	conn, err := pgx.ConnectConfig(ctx, c)
	if err == nil {
		defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
		s.seen(conn.PgConn().Conn())
		_, err = conn.Exec(ctx, "select 1")
	}
	var said *pgconn.PgError
	if !errors.As(err, &said) {
		if err != nil && s.tls != nil && says(err, "server refused tls") {
			return s.fault(ctx, tls.RecordHeaderError{Msg: "no TLS"})
		}
		if err != nil && says(err, "authentication method requirement") {
			return patchbay.Errorf(patchbay.CertificateInvalid, "%s asks for the password in the clear, and nothing proves that it is the server; nothing was sent", s.asked).
				WithFix("register it with the value sslmode=verify-full, and its authority as the property tls.ca; or have it ask by scram-sha-256 (pg_hba.conf)")
		}
		return err
	}
	switch said.Code {
	case "28P01", "28000", "42501":
		return s.refused(said)
	case "3D000":
		return missing("database", c.Database)
	}
	return busy(s, driver.SQLState(said.Code))
}

// busy is an answer that is about the moment, or about nothing known.
func busy(s *session, what string) error {
	return patchbay.Errorf(patchbay.TargetUnreachable, "%s answers with an error (%s)", s.asked, what).AsTransient()
}

func probeMySQL(ctx context.Context, s *session) error {
	c := mysql.NewConfig()
	c.User, c.Passwd, c.DBName, c.Net, c.Addr = s.value("username"), s.value("password"), s.value("database"), "tcp", s.at
	c.DialFunc = s.DialContext
	c.TLS = s.tls
	c.AllowNativePasswords, c.AllowCleartextPasswords = true, false
	c.Logger = silent{}
	connector, err := mysql.NewConnector(c)
	if err != nil {
		return invalid("the login can't be one of MySQL")
	}
	err = ask(ctx, connector)
	var said *mysql.MySQLError
	switch {
	case errors.Is(err, mysql.ErrNoTLS):
		return s.fault(ctx, tls.RecordHeaderError{Msg: "no TLS"})
	case !errors.As(err, &said):
		if err == nil && s.tls != nil {
			s.protocol = "TLS"
		}
		return err
	}
	switch said.Number {
	case 1045, 1044, 1698, 1251, 3118, 1820, 4151: // access denied, to the database too; locked, expired
		return s.refused(said)
	case 1049:
		return missing("database", c.DBName)
	}
	return busy(s, fmt.Sprintf("error %d of MySQL", said.Number))
}

func probeSQLServer(ctx context.Context, s *session) error {
	c, err := msdsn.Parse("sqlserver://localhost")
	if err != nil {
		return patchbay.Errorf(patchbay.Internal, "the client of SQL Server can't be set up")
	}
	host, _, _ := net.SplitHostPort(s.at)
	c.Host, c.Database, c.User, c.Password = host, s.value("database"), s.value("username"), s.value("password")
	c.Port, c.Instance, c.Protocols, c.DisableRetry, c.AppName = portOf(s.at), "", []string{"tcp"}, true, "patchbay probe"
	c.Encryption, c.TLSConfig = msdsn.EncryptionDisabled, nil
	if s.tls != nil {
		c.Encryption, c.TLSConfig, c.HostInCertificateProvided = msdsn.EncryptionRequired, s.tls, true
	}
	connector := mssql.NewConnectorConfig(c)
	connector.Dialer = s
	err = ask(ctx, connector)
	var said mssql.Error
	if !errors.As(err, &said) {
		if err == nil && s.tls != nil {
			s.protocol = "TLS"
		}
		if err != nil && says(err, "login error", "login failed") {
			return s.refused(err)
		}
		return err
	}
	switch said.Number {
	case 18456, 18452, 18470, 18487, 18488, 40532:
		return s.refused(said)
	case 4060, 911:
		return missing("database, or no right to it:", c.Database)
	}
	return busy(s, fmt.Sprintf("error %d of SQL Server", said.Number))
}

// ask signs in and has the server count to one.
func ask(ctx context.Context, connector sqldriver.Connector) error {
	db := sql.OpenDB(connector)
	defer func() { _ = db.Close() }()
	db.SetMaxOpenConns(1)
	var one int
	return db.QueryRowContext(ctx, "select 1").Scan(&one)
}

// silent is for a library that would write to standard error.
type silent struct{}

func (silent) Print(...any) {}
