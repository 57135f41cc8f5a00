package relations

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ncruces/go-sqlite3"
)

func makeSQLite(t *testing.T, path, statements string) {
	t.Helper()
	db, err := sqlite3.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if err := db.Exec(statements); err != nil {
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

// TestSQLiteNumbers: values are text as sqlite3 prints them.
func TestSQLiteNumbers(t *testing.T) {
	path := filepath.Join(t.TempDir(), "db")
	makeSQLite(t, path, `CREATE TABLE aliases (address, target); INSERT INTO aliases VALUES ('i', 7), ('r', 1.5), ('b', x'6869'), ('e', ''), ('n', NULL), ('u', 'jöe')`)
	r := open(t, Spec{Type: "sqlite", File: path, Options: sqlOptions()})
	expect(t, r, "i", "7", "r", "1.5", "b", "hi", "e", "", "n", "-", "u", "jöe")
}

// TestSQLiteTakesNoLongerThanAllowed: a query without end, and a database that
// somebody keeps locked, end with the lookup.
func TestSQLiteTakesNoLongerThanAllowed(t *testing.T) {
	path := filepath.Join(t.TempDir(), "db")
	makeSQLite(t, path, schema)
	options := map[string]string{"timeout": "100ms",
		"query": "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x+1 FROM n) SELECT x FROM n WHERE :key = 'x' AND x < 0"}
	r, err := Env{}.Declare(Spec{Name: "endless", Type: "sqlite", File: path, Options: options})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if _, found, err := r.Lookup(t.Context(), "x"); found || err == nil {
		t.Errorf("endless query: %v, %v", found, err)
	}

	locker, err := sqlite3.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer locker.Close()
	if err := locker.Exec("BEGIN EXCLUSIVE"); err != nil {
		t.Fatal(err)
	}
	slow, err := Env{}.Declare(Spec{Name: "locked", Type: "sqlite", File: path, Options: with(sqlOptions(), "timeout", "100ms")})
	if err != nil {
		t.Fatal(err)
	}
	defer slow.Close()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if _, found, err := slow.Lookup(ctx, "joe"); found || err == nil {
		t.Errorf("locked database: %v, %v", found, err)
	}
	if err := locker.Exec("ROLLBACK"); err != nil {
		t.Fatal(err)
	}
	for { // it is not tried for a second after it was locked
		if _, found, err := slow.Lookup(ctx, "joe"); found && err == nil {
			break
		} else if ctx.Err() != nil {
			t.Fatal(err)
		}
	}
	expect(t, slow, "joe", "joe@example.org", "none", "-")
}

// TestSQLiteBesideWriter: while sqlite3 writes, with a rollback journal and with a
// write-ahead log, every lookup gives a value that was true once.
func TestSQLiteBesideWriter(t *testing.T) {
	tool, err := exec.LookPath("sqlite3")
	if err != nil {
		t.Skip("sqlite3 is not installed")
	}
	for _, mode := range []string{"delete", "wal"} {
		t.Run(mode, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "db")
			makeSQLite(t, path, "PRAGMA journal_mode="+mode+"; CREATE TABLE aliases (address PRIMARY KEY, target); INSERT INTO aliases VALUES ('joe', '0 0'), ('ann', '0 0')")
			r := open(t, Spec{Type: "sqlite", File: path, Options: sqlOptions()})
			var script strings.Builder
			script.WriteString(".timeout 10000\n")
			const writes = 100
			for i := range writes {
				fmt.Fprintf(&script, "UPDATE aliases SET target = '%d %d';\n", i+1, i+1)
			}
			cmd := exec.Command(tool, path)
			cmd.Stdin = strings.NewReader(script.String())
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			done := make(chan error, 1)
			go func() { done <- cmd.Wait() }()
			for running := true; running; {
				select {
				case err := <-done:
					if err != nil {
						t.Fatal(err)
					}
					running = false
				default:
				}
				v, found, err := r.Lookup(t.Context(), "joe")
				var a, b int
				if n, _ := fmt.Sscan(v, &a, &b); !found || err != nil || n != 2 || a != b || a > writes {
					t.Fatalf("%q, %v, %v", v, found, err)
				}
			}
			expect(t, r, "joe", fmt.Sprintf("%d %d", writes, writes))
		})
	}
}

// TestSQLiteWithoutRights asks a database in a directory that the process cannot
// write, as a confined router does. One with a write-ahead log cannot be asked then,
// which is an error and no miss.
func TestSQLiteWithoutRights(t *testing.T) {
	if path := os.Getenv("SQLITE_DATABASE"); path != "" {
		spec := Spec{Name: "table", Type: "sqlite", File: path, Options: sqlOptions()}
		if filepath.Base(path) == "delete" {
			expect(t, open(t, spec), "joe", "joe@example.org", "none", "-")
		} else if _, err := Open(spec); err == nil || strings.Contains(err.Error(), "\n") {
			t.Errorf("%v; want an error on one line", err)
		}
		return
	}
	dir, err := os.MkdirTemp("", "zm")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	for _, mode := range []string{"delete", "wal"} {
		makeSQLite(t, filepath.Join(dir, mode), "PRAGMA journal_mode="+mode+";"+schema)
	}
	if err := os.Chmod(dir, 0o555); err != nil {
		t.Fatal(err)
	}
	defer os.Chmod(dir, 0o755)
	d := newDaemon(t) // as somebody else, if this is root
	program, err := os.ReadFile(os.Args[0])
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(d.dir+"/test", program, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, mode := range []string{"delete", "wal"} {
		cmd := d.command(d.dir+"/test", "-test.run=^TestSQLiteWithoutRights$")
		cmd.Env = append(cmd.Env, "SQLITE_DATABASE="+filepath.Join(dir, mode))
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("%s: %v\n%s", mode, err, out)
		}
	}
}

func BenchmarkSQLite(b *testing.B) {
	path := filepath.Join(b.TempDir(), "db")
	db, err := sqlite3.Open(path)
	if err != nil {
		b.Fatal(err)
	}
	if err := db.Exec("CREATE TABLE aliases (address PRIMARY KEY, target); INSERT INTO aliases VALUES ('joe', 'joe@example.org')"); err != nil {
		b.Fatal(err)
	}
	db.Close()
	r, err := Open(Spec{Name: "t", Type: "sqlite", File: path, Options: sqlOptions()})
	if err != nil {
		b.Fatal(err)
	}
	defer r.Close()
	for b.Loop() {
		if _, found, err := r.Lookup(context.Background(), "joe"); !found || err != nil {
			b.Fatal(err)
		}
	}
}
