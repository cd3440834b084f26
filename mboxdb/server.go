package mboxdb

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// A Server describes a database server: which one it is, and what decides whether its rows fit another.
type Server struct {
	Identity       string `json:"identity"`   // another server has another one; the same after a restart
	Version        string `json:"version"`    // of the database server
	DBVersion      string `json:"db_version"` // of Zimbra's tables
	TimeZone       string `json:"time_zone"`  // the host's, as its offsets from UTC in January, on 20 March, in July and on 3 November
	SQLMode        string `json:"sql_mode"`   // what sessions get that do not choose
	Charset        string `json:"charset"`    // of the database zimbra
	MaxConnections int    `json:"max_connections"`
}

// serverNames are the variables that together name a server; which of them there are depends on its kind and version.
var serverNames = []string{"server_uuid", "hostname", "port", "datadir", "server_id"}

// Server reads what the server says about itself. It changes nothing.
func (d *DB) Server(ctx context.Context) (Server, error) {
	s, err := d.read(ctx)
	if err != nil {
		return Server{}, err
	}
	defer s.close()
	v, err := server(ctx, s)
	if err != nil {
		return Server{}, fmt.Errorf("server: %w", err)
	}
	return v, nil
}

func server(ctx context.Context, q querier) (Server, error) {
	variables := map[string]string{}
	err := each(ctx, q, sqlServerVariables, nil, func(rows *sql.Rows) error {
		var name, value string
		err := rows.Scan(&name, &value)
		variables[strings.ToLower(name)] = value
		return err
	})
	if err != nil {
		return Server{}, err
	}
	v := Server{Version: variables["version"], SQLMode: variables["sql_mode"]}
	if v.MaxConnections, err = strconv.Atoi(variables["max_connections"]); err != nil {
		return Server{}, errors.New("max_connections is not a number")
	}
	var names []string
	for _, name := range serverNames {
		if value := variables[name]; value != "" {
			names = append(names, name+"="+value)
		}
	}
	v.Identity = strings.Join(names, " ")
	if err := scan(ctx, q, sqlDBVersion, nil, &v.DBVersion); err != nil {
		return Server{}, fmt.Errorf("db.version in zimbra.config: %w", err)
	}
	if err := scan(ctx, q, sqlZimbraCharset, nil, &v.Charset); err != nil {
		return Server{}, fmt.Errorf("character set of zimbra: %w", err)
	}
	v.Charset = charsetSpelling(v.Charset)
	v.TimeZone, err = timeZone(ctx, q)
	return v, err
}

// timeZone compares truly where names do not: SYSTEM is another zone on another host, and one zone has many names. mailboxd writes
// DATETIME columns in the zone of its JVM, which is the host's, whatever the database server's own setting is. The four days tell apart
// zones that change their clocks on different dates.
func timeZone(ctx context.Context, q querier) (string, error) {
	if err := exec(ctx, q, sqlSystemZone); err != nil {
		return "", err
	}
	var seconds [4]int
	if err := scan(ctx, q, sqlZoneOffsets, nil, &seconds[0], &seconds[1], &seconds[2], &seconds[3]); err != nil {
		return "", fmt.Errorf("time zone: %w", err)
	}
	var offsets []string
	for _, n := range seconds {
		sign := '+'
		if n < 0 {
			sign, n = '-', -n
		}
		offsets = append(offsets, fmt.Sprintf("%c%02d:%02d", sign, n/3600, n/60%60))
	}
	return strings.Join(offsets, " "), nil
}
