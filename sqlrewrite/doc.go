// Package sqlrewrite replaces the values of chosen columns in a dump of a MySQL or MariaDB database, and no other byte.
package sqlrewrite
