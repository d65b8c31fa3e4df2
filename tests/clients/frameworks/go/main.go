// go-sql-driver through database/sql: connect, inspect, transact, prepare, insert in bulk, stream, cancel. Prints JSON.
//
//	tour PORT
package main

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/go-sql-driver/mysql"
)

var found = map[string]interface{}{}

func must(err error) {
	if err != nil {
		panic(err)
	}
}

func number(err error) interface{} {
	var server *mysql.MySQLError
	if errors.As(err, &server) {
		return server.Number
	}
	return fmt.Sprint(err)
}

func main() {
	db, err := sql.Open("mysql", "demo:demo@tcp(127.0.0.1:"+os.Args[1]+")/plain?parseTime=true&loc=UTC")
	must(err)
	defer db.Close()
	db.SetMaxOpenConns(4)
	must(db.Ping())
	_, err = db.Exec("DROP TABLE IF EXISTS parcels")
	must(err)
	_, err = db.Exec("CREATE TABLE parcels (id BIGINT AUTO_INCREMENT PRIMARY KEY, label VARCHAR(40) UNIQUE, weight DOUBLE, sent DATETIME)")
	must(err)
	inspect(db)
	work(db)
	bulk(db)
	cancel(db)
	_, err = db.Exec("DROP TABLE parcels")
	must(err)
	must(json.NewEncoder(os.Stdout).Encode(found))
}

func inspect(db *sql.DB) {
	rows, err := db.Query("SELECT * FROM parcels WHERE id = ?", 0)
	must(err)
	defer rows.Close()
	types, err := rows.ColumnTypes()
	must(err)
	var told []string
	for _, one := range types {
		nullable, _ := one.Nullable()
		told = append(told, fmt.Sprint(one.Name(), one.DatabaseTypeName(), nullable))
	}
	found["columns"] = told
}

func work(db *sql.DB) {
	sent := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	insert, err := db.Prepare("INSERT INTO parcels (label, weight, sent) VALUES (?, ?, ?)")
	must(err)
	defer insert.Close()
	result, err := insert.Exec("one", 1.5, sent)
	must(err)
	id, _ := result.LastInsertId()
	affected, _ := result.RowsAffected()
	found["inserted"] = []int64{id, affected}
	_, err = insert.Exec("one", nil, nil)
	found["duplicate"] = number(err)
	transaction, err := db.Begin()
	must(err)
	_, err = transaction.Stmt(insert).Exec("two", 2, nil)
	must(err)
	must(transaction.Rollback())
	transaction, err = db.BeginTx(context.Background(), &sql.TxOptions{Isolation: sql.LevelReadCommitted})
	must(err)
	_, err = transaction.Stmt(insert).Exec("three", nil, nil)
	must(err)
	must(transaction.Commit())
	reading, err := db.BeginTx(context.Background(), &sql.TxOptions{ReadOnly: true})
	must(err)
	_, err = reading.Exec("DELETE FROM parcels")
	found["read only"] = number(err)
	must(reading.Rollback())
	var label string
	var weight sql.NullFloat64
	var when sql.NullTime
	must(db.QueryRow("SELECT label, weight, sent FROM parcels WHERE id = ?", id).Scan(&label, &weight, &when))
	found["row"] = fmt.Sprint(label, weight, when)
	_, err = db.Exec("SELEC 1")
	found["syntax"] = number(err)
}

func bulk(db *sql.DB) {
	var places []string
	var values []interface{}
	for n := 0; n < 3000; n++ {
		places = append(places, "(?, ?)")
		values = append(values, fmt.Sprintf("parcel %d", n), n)
	}
	result, err := db.Exec("INSERT INTO parcels (label, weight) VALUES "+strings.Join(places, ","), values...)
	must(err)
	affected, _ := result.RowsAffected()
	rows, err := db.Query("SELECT weight FROM parcels WHERE label LIKE ?", "parcel %")
	must(err)
	defer rows.Close()
	total := 0.0
	for rows.Next() {
		var weight float64
		must(rows.Scan(&weight))
		total += weight
	}
	must(rows.Err())
	found["bulk"] = []interface{}{affected, total}
}

// cancel gives up a statement that would last: the driver closes its connection.
func cancel(db *sql.DB) {
	limited, stop := context.WithTimeout(context.Background(), 200*time.Millisecond)
	defer stop()
	_, err := db.ExecContext(limited, "DO SLEEP(20)")
	found["cancelled"] = fmt.Sprint(err)
	var one int
	must(db.QueryRow("SELECT 1").Scan(&one))
	found["after"] = one
}
