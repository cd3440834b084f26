package sqlrewrite

// Dumps of Percona Server prepare statements that switch its RocksDB to bulk loading, where it has that. Nothing else is ever prepared in what
// is let through, so that whatever is executed is one of these statements.

// bulkLoads are the expressions whose values they prepare.
var bulkLoads = []string{
	`IF (@is_rocksdb_supported, 'SET @old_rocksdb_bulk_load = @@rocksdb_bulk_load', 'SET @dummy_old_rocksdb_bulk_load = 0')`,
	`IF (@is_rocksdb_supported, 'SET SESSION rocksdb_bulk_load = 1', 'SET @dummy_rocksdb_bulk_load = 0')`,
	`IF (@is_rocksdb_supported, 'SET SESSION rocksdb_bulk_load = @old_rocksdb_bulk_load', 'SET @dummy_rocksdb_bulk_load = 0')`,
}

// bulkLoad stands for the value of such an expression, which is no sql_mode and no charset.
const bulkLoad = "SET rocksdb_bulk_load"

// prepare passes over PREPARE, which is t, when the statement is one of these.
func (s *scanner) prepare(t token) {
	at := t.from
	s.statementName(at, s.next())
	if t = s.next(); !s.is(t, "FROM") {
		s.unexpected(t, "PREPARE")
	}
	var a assignment
	if t = s.next(); isMark(t, '@') {
		t = s.variable(t, &a)
	}
	if a.scope != user || s.user[a.name] != bulkLoad || t.kind != delimiter {
		s.fail(at, "PREPARE is not understood")
	}
}

// execute passes over EXECUTE, at this offset, when it is of a statement that was prepared.
func (s *scanner) execute(at int64) {
	s.statementName(at, s.next())
	if t := s.next(); t.kind != delimiter {
		s.fail(at, "EXECUTE is not understood")
	}
	for _, name := range []string{"old_rocksdb_bulk_load", "dummy_old_rocksdb_bulk_load", "dummy_rocksdb_bulk_load"} {
		delete(s.user, name) // one of them is assigned
	}
}

// deallocate passes over DEALLOCATE PREPARE, behind its first word.
func (s *scanner) deallocate(at int64) {
	if t := s.next(); !s.is(t, "PREPARE") {
		s.unexpected(t, "DEALLOCATE")
	}
	s.statementName(at, s.next())
	s.endsHere("DEALLOCATE")
}

// statementName passes over the name of a prepared statement.
func (s *scanner) statementName(at int64, t token) {
	if t.kind != word || s.is(t, "IMMEDIATE") {
		s.fail(at, "no name of a prepared statement")
	}
}
