package relations

import (
	"database/sql"
	"os"
	"path/filepath"
	"testing"
)

func makeSQLite(t *testing.T, path, statements string) {
	t.Helper()
	db, err := sql.Open("sqlite", path)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if _, err := db.Exec(statements); err != nil {
		t.Fatal(err)
	}
}

func TestSQLite(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a b?c#d%41.db")
	spec := Spec{Name: "t", Type: "sqlite", File: path, Options: sqlOptions()}
	if _, err := Open(spec); err == nil {
		t.Error("no file is no error")
	}
	if _, err := os.Stat(path); err == nil {
		t.Error("a lookup made the file")
	}
	made := filepath.Join(t.TempDir(), "db")
	makeSQLite(t, made, schema)
	if err := os.Rename(made, path); err != nil {
		t.Fatal(err)
	}
	brokenQuery(t, spec)
	battery(t, spec, nil, nil)
	r := open(t, spec)
	expect(t, r, "joe", "joe@example.org", "nothing", "-")
	next := filepath.Join(t.TempDir(), "next")
	makeSQLite(t, next, `CREATE TABLE aliases (address, target); INSERT INTO aliases VALUES ('joe', 7)`)
	if err := os.Rename(next, path); err != nil {
		t.Fatal(err)
	}
	expect(t, r, "joe", "7", "list", "-")
	if err := os.WriteFile(path+".new", []byte("this is no database, and long enough to be looked at"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		t.Fatal(err)
	}
	if _, found, err := r.Lookup(t.Context(), "joe"); found || err == nil {
		t.Errorf("nonsense in the file: %v, %v", found, err)
	}
}
