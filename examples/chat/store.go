package main

import (
	"context"
	"database/sql"
	_ "embed"
	"encoding/json"
	"errors"
	"net/url"
	"time"

	_ "modernc.org/sqlite"
)

//go:embed schema.sql
var schema string

// A message is a row, and the event that tells of it.
type message struct {
	ID   int64  `json:"id"`
	User string `json:"user"`
	Key  string `json:"key"`
	Text string `json:"text"`
	At   int64  `json:"at"`
}

// A store is the database, which several callees may have open.
type store struct{ *sql.DB }

func openStore(ctx context.Context, path string) (store, error) {
	db, err := sql.Open("sqlite", "file:"+url.PathEscape(path)+"?_pragma=busy_timeout(10000)&_pragma=journal_mode(WAL)")
	if err != nil {
		return store{}, err
	}
	if _, err := db.ExecContext(ctx, schema); err != nil {
		return store{}, errors.Join(err, db.Close())
	}
	return store{db}, nil
}

// add returns the message with its number, which it may have had before.
func (s store) add(ctx context.Context, room string, m message) (message, error) {
	err := s.QueryRowContext(ctx, `INSERT INTO messages (room, user, key, text, at) VALUES (?, ?, ?, ?, ?)
		ON CONFLICT DO UPDATE SET key = key RETURNING id, text, at`,
		room, m.User, m.Key, m.Text, time.Now().UnixMilli()).Scan(&m.ID, &m.Text, &m.At)
	return m, err
}

// newest returns up to n messages of a room, the oldest of them first.
func (s store) newest(ctx context.Context, room string, n int) ([]message, error) {
	return queryJSON[[]message](ctx, s.DB, `SELECT json_group_array(
		json_object('id', id, 'user', user, 'key', key, 'text', text, 'at', at) ORDER BY id) FROM
		(SELECT * FROM messages WHERE room = ? ORDER BY id DESC LIMIT ?)`, room, n)
}

// setRead stores how far a user has read a room: never back.
func (s store) setRead(ctx context.Context, user, room string, id int64) error {
	_, err := s.ExecContext(ctx, `INSERT INTO reads (user, room, id) VALUES (?, ?, ?)
		ON CONFLICT DO UPDATE SET id = max(id, excluded.id)`, user, room, id)
	return err
}

// reads returns how far a user has read each room.
func (s store) reads(ctx context.Context, user string) (map[string]int64, error) {
	return queryJSON[map[string]int64](ctx, s.DB, `SELECT json_group_object(room, id) FROM reads WHERE user = ?`, user)
}

// queryJSON returns what a query makes of its rows: one JSON value.
func queryJSON[T any](ctx context.Context, db *sql.DB, query string, args ...any) (v T, err error) {
	var text []byte
	if err = db.QueryRowContext(ctx, query, args...).Scan(&text); err == nil {
		err = json.Unmarshal(text, &v)
	}
	return v, err
}
