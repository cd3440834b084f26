// Package schema has the SQL that makes the databases of a mailstore, for the lab and for mboxdbtest. It is written in our own words, and the
// lab's tests compare it with what Zimbra 10.1 makes.
package schema

import _ "embed"

// Zimbra makes the database zimbra and selects it: db.version 118, which is 10.0 GA to 10.1.3.
//
//go:embed zimbra.sql
var Zimbra string

// CreateDatabase is the template of a mailbox group, as a mailstore has it in create_database.sql: ${DATABASE_NAME} stands for its database.
//
//go:embed create_database.sql
var CreateDatabase string

// Config are the versions that mailboxd compares with its own at start (db/Versions.checkVersions).
const Config = `INSERT INTO zimbra.config (name, value, description) VALUES
  ('db.version', '118', 'db schema version'),
  ('index.version', '2', 'index version'),
  ('backup.version', '2', 'backup version'),
  ('redolog.version', '5', 'redolog version');
`
